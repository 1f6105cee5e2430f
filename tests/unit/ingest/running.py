"""The embedded process that the tests talk to."""

import os
import time
from pathlib import Path
from typing import Any

from libs.common.files.extents import Extent
from libs.common.security.tokens import TokenIssuer
from libs.common.settings import Settings
from libs.common.storage.filesystem import FilesystemStore
from libs.common.uploads.layout import (
    FileId,
    new_session,
    new_version,
    part_size,
    record_key,
    rejected_key,
    run_key,
)
from libs.common.uploads.record import Record
from tests.unit.ingest.talk import until
from tests.unit.keyrings import SECRET, plain_settings

OWNER = "car-7"
ADMIN_SECRET = "admin secret of the tests, long enough"


def make_settings(directory: Path, **values: Any) -> Settings:
    return plain_settings(
        secret_key=SECRET,
        admin_secret=ADMIN_SECRET,
        temp_upload_dir=directory / "temp",
        perm_upload_dir=directory / "perm",
        auth_dir=directory / "auth",
        **values,
    )


def token_for(settings: Settings, subject: str = OWNER, scopes: str = "files:read files:write") -> str:
    return TokenIssuer(settings).issue(subject, scopes.split()).encoded


def stored(settings: Settings) -> dict[str, bytes]:
    """Every file below both directories, the stores' own included, but their locks and what is shown of the fleet,
    which the janitor puts by its own clock. Nothing may be under way."""
    files = (file for root in (settings.temp_upload_dir, settings.perm_upload_dir) for file in files_below(root))
    tables = {settings.perm_upload_dir / "fleet", settings.perm_upload_dir / ".hiper" / "meta" / "fleet"}
    kept = (file for file in files if not file.name.endswith("lock") and tables.isdisjoint(file.parents))
    return {str(file): file.read_bytes() for file in kept}


def payloads(settings: Settings) -> dict[str, bytes]:
    """Every stored byte of a file or an upload, by its path; records hold none."""
    roots = [settings.temp_upload_dir / "chunks"]
    roots += [settings.perm_upload_dir / kind for kind in ("files", "partials", "rejected")]
    return {str(file): file.read_bytes() for root in roots for file in files_below(root)}


def files_below(root: Path) -> list[Path]:
    """Unlike rglob, does not mind that directories vanish meanwhile."""
    return [Path(folder, name) for folder, _, names in os.walk(root) for name in names]


async def settled(settings: Settings) -> None:
    """Wait until every upload is complete or closed, and its chunks are gone."""

    def is_settled() -> bool:
        records = [file.read_bytes() for file in files_below(settings.temp_upload_dir / "uploads")]
        closed = all(Record.model_validate_json(record).state == "closed" for record in records)
        return closed and not files_below(settings.temp_upload_dir / "chunks")

    await until(is_settled)


async def park(settings: Settings, filename: str, content: bytes, *runs: tuple[int, int]) -> None:
    """Make a parked upload of a content as the assembler leaves it: runs [start, end)."""
    file, session = FileId(OWNER, filename), new_session()
    pieces = {run_key(file, session, Extent(*run)): content[slice(*run)] for run in runs}
    record = Record(
        state="open", version=new_version(), session=session, total_size=len(content),
        part_size=part_size(len(content)), runs=tuple(pieces), parked_at=time.time(),
    )  # fmt: skip
    await _write(settings, file, record, pieces)


async def reject(settings: Settings, filename: str, content: bytes) -> None:
    """Make a rejected upload of a content as the assembler leaves it."""
    file, session = FileId(OWNER, filename), new_session()
    record = Record(
        state="closed", version=new_version(), total_size=len(content), rejected="Wrong digest.", kept=(session,),
        opened_at=time.time(),
    )  # fmt: skip
    await _write(settings, file, record, {rejected_key(file, session, Extent(0, len(content))): content})


async def _write(settings: Settings, file: FileId, record: Record, pieces: dict[str, bytes]) -> None:
    temp, perm = FilesystemStore(settings.temp_upload_dir), FilesystemStore(settings.perm_upload_dir)
    for key, piece in pieces.items():
        await perm.put(key, piece)
    await temp.put(record_key(file), record.model_dump_json().encode(), absent=True)
    await temp.close()
    await perm.close()
