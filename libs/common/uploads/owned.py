"""The records of one owner."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass

import structlog

from libs.common.storage import ObjectInfo, ObjectNotFound, ObjectStore, read
from libs.common.uploads.layout import FileId, parse_record_key, record_key, records_prefix
from libs.common.uploads.ours import walk_ours
from libs.common.uploads.record import Record, Unreadable, parse

log = structlog.get_logger(__name__)

AT_ONCE = 16  # records that are read at once
Found = list[tuple[FileId, ObjectInfo]]


@dataclass(frozen=True)
class Owned:
    """A name with a record. `modified`: when that was written, in seconds since the epoch by the store's clock."""

    filename: str
    record: Record
    modified: float


async def names_of(
    temp: ObjectStore, owner: str, after: str = "", prefix: str = ""
) -> AsyncIterator[tuple[FileId, ObjectInfo]]:
    """As `records_of`, but the records are not read."""
    start = record_key(FileId(owner, after)) if after else ""
    async for file, info in walk_ours(temp, records_prefix(owner, prefix), parse_record_key, start):
        if file.filename.startswith(prefix):
            yield file, info


async def record_of(temp: ObjectStore, file: FileId) -> Record | None:
    """The record of a name; None where there is none, or one that cannot be read. Raises StoreUnavailable."""
    key = record_key(file)
    try:
        return parse(key, await read(temp, key))
    except ObjectNotFound:
        return None  # removed a moment ago
    except Unreadable as error:
        log.error("a record is left alone", key=key, error=str(error))
        return None


async def records_of(temp: ObjectStore, owner: str, after: str = "", prefix: str = "") -> AsyncIterator[Owned]:
    """Every name of an owner that has a record and begins with `prefix`, after a filename in the order of the listing.
    One whose record cannot be read is left out. Raises StoreUnavailable."""
    async for batch in in_batches(names_of(temp, owner, after, prefix)):
        records = await asyncio.gather(*(record_of(temp, file) for file, _ in batch))
        for (file, info), record in zip(batch, records, strict=True):
            if record:
                yield Owned(file.filename, record, info.modified)


async def in_batches(found: AsyncIterator[tuple[FileId, ObjectInfo]]) -> AsyncIterator[Found]:
    """The objects of a listing, as many together as are looked at at once."""
    batch: Found = []
    async for each in found:
        batch.append(each)
        if len(batch) == AT_ONCE:
            yield batch
            batch = []
    if batch:
        yield batch
