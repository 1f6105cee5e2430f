"""What an owner has: a listing shows it, auth asks for it before it registers a device, and a purge deletes it."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Literal, get_args

from libs.common.storage import Buckets
from libs.common.uploads.layout import FileId, file_key, files_prefix, parse_file_key
from libs.common.uploads.ours import walk_ours
from libs.common.uploads.owned import Owned, in_batches, names_of, record_of, records_of
from libs.common.uploads.record import Record

# An upload moves in this order only. One that moves while the sections are read is met again in a later section.
Section = Literal["pending", "partial", "rejected", "complete"]
SECTIONS: tuple[Section, ...] = get_args(Section)


@dataclass(frozen=True)
class Holding:
    """A name with bytes. `size` in bytes: of the whole file, None while that is not known. In seconds since the epoch,
    by the store's clock: `since`, when it began, and `modified`, when its record or file was written. `labels`: None
    for a complete file, whose object has them: a listing does not tell."""

    filename: str
    section: Section
    size: int | None
    since: float
    modified: float
    labels: Mapping[str, str] | None = None


def holdings(
    buckets: Buckets, owner: str, section: Section, after: str = "", prefix: str = ""
) -> AsyncIterator[Holding]:
    """What an owner has in one section, beyond the filename `after`, in the order of the keys: names that begin with
    `prefix`. Raises StoreUnavailable."""
    if section == "complete":
        return _complete(buckets, owner, after, prefix)
    return _recorded(buckets, owner, section, after, prefix)


async def holds_anything(buckets: Buckets, owner: str) -> bool:
    """Whether a device of this id would find something. Raises StoreUnavailable."""
    for section in SECTIONS:
        async for _ in holdings(buckets, owner, section):
            return True
    return False


async def _recorded(buckets: Buckets, owner: str, section: Section, after: str, prefix: str) -> AsyncIterator[Holding]:
    async for owned in records_of(buckets.temp, owner, after, prefix):
        if _section(owned) == section:
            record = owned.record
            yield Holding(owned.filename, section, record.total_size, record.opened_at, owned.modified, record.labels)


async def _complete(buckets: Buckets, owner: str, after: str, prefix: str) -> AsyncIterator[Holding]:
    """A file does not count where its record says that none is there: its delete is under way. Records are few among
    complete files: only those of names that have a file are read."""
    recorded = {file.filename async for file, _ in names_of(buckets.temp, owner, prefix=prefix)}
    start_after = file_key(FileId(owner, after)) if after else ""
    files = walk_ours(buckets.perm, files_prefix(owner, prefix), parse_file_key, start_after)
    async for batch in in_batches(files):
        asked = [file for file, _ in batch if file.filename in recorded]
        records = await asyncio.gather(*(record_of(buckets.temp, file) for file in asked))
        hidden = {file for file, record in zip(asked, records, strict=True) if record and _hides_file(record)}
        for file, info in batch:
            if file.filename.startswith(prefix) and file not in hidden:
                yield Holding(file.filename, "complete", info.size, info.modified, info.modified)


def _section(owned: Owned) -> Section | None:
    record = owned.record
    if record.state == "open":
        return "pending" if record.parked_at is None else "partial"
    return "rejected" if record.kept else None


def _hides_file(record: Record) -> bool:
    """A name that is open, or closed without a file, has none that counts."""
    return record.state != "opening" and not record.file
