"""The storage layout: every key is built and parsed here, and nowhere else.

Temporary bucket (`{ab}` = first two hex digits of sha256(owner), so that no directory grows without bound)::

    uploads/{ab}/{owner}/{filename}/=record
    chunks/{ab}/{owner}/{filename}/={session}/{part:05d}/{start:016d}-{length:08d}-{sha256[:16]}

Permanent bucket::

    files/{owner}/{filename}
    partials/{owner}/{filename}/={session}/{start:016d}-{length}-{random}
    rejected/{owner}/{filename}/={session}/{start:016d}-{length}-{random}

A segment that begins with `=` is the protocol's own. No filename has such a segment, so `/=` ends the filename.
"""

import secrets
from typing import NamedTuple

from libs.common.extents import Extent
from libs.common.layout import FileId, fanout

MIN_PART_SIZE = 8 * 1024 * 1024  # bytes
UNKNOWN_PART_SIZE = 64 * 1024 * 1024  # bytes, of a file whose length is not known yet
MAX_PARTS = 10_000  # of a multipart upload, by the S3 API
RECORD = "=record"


class ChunkKey(NamedTuple):
    """What the key of a stored extent says. `digest`: the first 16 hex digits of its SHA-256."""

    file: FileId
    session: str
    part: int
    extent: Extent
    digest: str


class RunKey(NamedTuple):
    """What the key of a run, or of rejected bytes, says."""

    file: FileId
    session: str
    extent: Extent


def part_size(total_size: int | None) -> int:
    """Bytes in each part but the last: 8 MiB, doubled until the file has at most 10,000 parts; 64 MiB while the
    length is unknown."""
    if total_size is None:
        return UNKNOWN_PART_SIZE
    size = MIN_PART_SIZE
    while total_size > size * MAX_PARTS:
        size *= 2
    return size


def new_session() -> str:
    """The id of one upload of a name: random, and never used again."""
    return secrets.token_hex(8)


def new_version() -> str:
    """The version of a record: new in every write, so that no etag comes back."""
    return secrets.token_hex(12)


# -- records


def records_root(ab: str = "", owner: str = "") -> str:
    return _root("uploads", ab, owner)


def record_key(file: FileId) -> str:
    return f"uploads/{fanout(file.owner)}/{file.owner}/{file.filename}/{RECORD}"


def parse_record_key(key: str) -> FileId:
    """Raises ValueError for what is no record's key."""
    root, _, owner, rest = key.split("/", 3)
    filename, _, last = rest.rpartition("/")
    if root != "uploads" or last != RECORD or not filename:
        raise ValueError(key)
    return FileId(owner, filename)


# -- chunks


def chunks_root(ab: str = "", owner: str = "") -> str:
    return _root("chunks", ab, owner)


def chunks_prefix(file: FileId, session: str) -> str:
    return f"chunks/{fanout(file.owner)}/{file.owner}/{file.filename}/={session}/"


def part_prefix(file: FileId, session: str, part: int) -> str:
    return f"{chunks_prefix(file, session)}{part:05d}/"


def chunk_key(file: FileId, session: str, part: int, extent: Extent, sha256_hex: str) -> str:
    name = f"{extent.start:016d}-{extent.length:08d}-{sha256_hex[:16]}"
    return f"{part_prefix(file, session, part)}{name}"


def parse_chunk_key(key: str) -> ChunkKey:
    """Raises ValueError for what is no chunk's key."""
    _, _, owner, rest = key.split("/", 3)
    filename, _, tail = rest.rpartition("/=")
    session, part, name = tail.split("/")
    start, length, digest = name.split("-")
    extent = Extent(int(start), int(start) + int(length))
    return ChunkKey(FileId(owner, filename), session, int(part), extent, digest)


# -- permanent storage


def files_prefix(owner: str) -> str:
    return f"files/{owner}/"


def file_key(file: FileId) -> str:
    return f"files/{file.owner}/{file.filename}"


def partials_root(owner: str = "") -> str:
    return _root("partials", owner)


def rejected_root(owner: str = "") -> str:
    return _root("rejected", owner)


def run_key(file: FileId, session: str, extent: Extent) -> str:
    """A new key for a run; never used again."""
    return f"partials/{file.owner}/{file.filename}/={session}/{_run(extent)}"


def runs_prefix(file: FileId, session: str) -> str:
    return f"partials/{file.owner}/{file.filename}/={session}/"


def rejected_key(file: FileId, session: str, extent: Extent) -> str:
    """A new key for bytes that are kept of a rejected upload."""
    return f"{rejected_prefix(file)}={session}/{_run(extent)}"


def rejected_prefix(file: FileId) -> str:
    return f"rejected/{file.owner}/{file.filename}/"


def parse_run_key(key: str) -> RunKey:
    """Raises ValueError for what is no run's key."""
    _, owner, rest = key.split("/", 2)
    filename, _, tail = rest.rpartition("/=")
    session, name = tail.split("/")
    start, length, _ = name.split("-")
    return RunKey(FileId(owner, filename), session, Extent(int(start), int(start) + int(length)))


def _run(extent: Extent) -> str:
    return f"{extent.start:016d}-{extent.length}-{secrets.token_hex(4)}"


def _root(*segments: str) -> str:
    return "/".join(segment for segment in segments if segment) + "/"
