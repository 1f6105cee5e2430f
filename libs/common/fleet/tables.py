"""How a table of the fleet is written: lines of JSON, compressed, to be read by hand with zcat.

The first line is the header: the format and its version, the store's time, and the names of the columns. Every other
line is one row. A reader ignores columns that it does not know, and a column that is missing has its default: so a new
column keeps the version.
"""

import gzip
import json
import sys
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from types import NoneType
from typing import Generic, TypeVar

from libs.common.fleet.rows import DeviceRow, UploadRow
from libs.common.uploads.layout import FLEET_DEVICES, FLEET_UPLOADS

R = TypeVar("R", UploadRow, DeviceRow)
FORMAT, VERSION = "hiper-fleet", 1
_written = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode
_read = json.JSONDecoder().decode
_LEVEL = 1  # of gzip: six times the speed of the default for a tenth more bytes


class UnreadableTable(ValueError):
    """The object is no table of this format, or is damaged. The next one replaces it."""


@dataclass(frozen=True)
class Kind(Generic[R]):
    """A kind of table: its key in the permanent bucket, and its rows. `types`: of each column.
    `shared`: the columns of text that many rows have in common."""

    name: str
    key: str
    row: type[R]
    types: tuple[tuple[type, ...], ...]
    shared: tuple[int, ...]


@dataclass(frozen=True)
class Table(Generic[R]):
    """`at`: the store's time before the look that it tells of, in seconds since the epoch. `counted_at`: when the
    stored bytes were last counted; 0 where they never were."""

    at: float
    rows: list[R]
    counted_at: float = 0.0


def encode(kind: Kind[R], table: Table[R]) -> bytes:
    """A table as an object. It takes about 1 s for 100,000 rows: call it in a thread."""
    head = {
        "format": FORMAT,
        "version": VERSION,
        "table": kind.name,
        "at": table.at,
        "counted_at": table.counted_at,
        "rows": len(table.rows),
        "columns": list(kind.row._fields),
    }
    lines = "\n".join([_written(head), *map(_written, table.rows), ""])
    return gzip.compress(lines.encode(), _LEVEL, mtime=0)


def decode(kind: Kind[R], data: bytes) -> Table[R]:
    """The table of an object. Call it in a thread, as `encode`. Raises UnreadableTable."""
    try:
        lines = iter(gzip.decompress(data).decode().removesuffix("\n").split("\n"))
        head = json.loads(next(lines, ""))
        if (head["format"], head["version"], head["table"]) != (FORMAT, VERSION, kind.name):
            raise UnreadableTable(f"it is of the format {head['format']!r}, version {head['version']!r}")
        rows = list(_rows(kind, head["columns"], lines))
        if len(rows) != head["rows"]:
            raise UnreadableTable(f"it has {len(rows)} rows and says {head['rows']}")
        return Table(float(head["at"]), rows, float(head["counted_at"]))
    except UnreadableTable:
        raise
    except (OSError, EOFError, zlib.error, ValueError, KeyError, TypeError, RecursionError) as error:
        raise UnreadableTable(f"{type(error).__name__}: {error}"[:200]) from None


def _rows(kind: Kind[R], columns: list[str], lines: Iterator[str]) -> Iterator[R]:
    fields, types = list(kind.row._fields), kind.types
    at = [(columns.index(name) if name in columns else None, kind.row._field_defaults.get(name)) for name in fields]
    for line in lines:
        row = _read(line)
        if columns != fields:
            row = [default if place is None else row[place] for place, default in at]
        if len(row) != len(types) or not all(map(isinstance, row, types)):
            raise UnreadableTable(f"a row does not have these columns: {line[:100]}")
        for place in kind.shared:
            row[place] = sys.intern(row[place])
        yield kind.row._make(row)


_TEXT, _TIME = (str,), (int, float)
UPLOADS = Kind(
    "uploads",
    FLEET_UPLOADS,
    UploadRow,
    (_TEXT, _TEXT, _TEXT, (int, NoneType), (int,), (int,), _TIME, (bool,), (dict,), _TEXT, _TIME),
    shared=(0, 9),
)
DEVICES = Kind("devices", FLEET_DEVICES, DeviceRow, (_TEXT, _TIME, _TIME, _TEXT, _TEXT, (int,), (int, NoneType)), (4,))
