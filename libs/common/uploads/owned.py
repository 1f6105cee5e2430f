"""The records of one owner."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass

from libs.common.layout import FileId, fanout
from libs.common.store import ObjectInfo, ObjectNotFound, ObjectStore, read, walk
from libs.common.uploads.layout import parse_record_key, record_key, records_root
from libs.common.uploads.record import Record, parse

AT_ONCE = 16  # records that are read at once


@dataclass(frozen=True)
class Owned:
    """A name with a record. `modified`: when that was written, in seconds since the epoch by the store's clock."""

    filename: str
    record: Record
    modified: float


async def records_of(temp: ObjectStore, owner: str, after: str = "") -> AsyncIterator[Owned]:
    """Every name of an owner that has a record, after a filename in the order of the listing. Raises
    StoreUnavailable."""
    start = record_key(FileId(owner, after)) if after else ""
    batch: list[ObjectInfo] = []
    async for info in walk(temp, records_root(fanout(owner), owner), start):
        batch.append(info)
        if len(batch) == AT_ONCE:
            for owned in await _read(temp, batch):
                yield owned
            batch = []
    for owned in await _read(temp, batch):
        yield owned


async def _read(temp: ObjectStore, batch: list[ObjectInfo]) -> list[Owned]:
    found = await asyncio.gather(*(_one(temp, info) for info in batch))
    return [owned for owned in found if owned]


async def _one(temp: ObjectStore, info: ObjectInfo) -> Owned | None:
    try:
        file = parse_record_key(info.key)
        return Owned(file.filename, parse(info.key, await read(temp, info.key)), info.modified)
    except (ValueError, ObjectNotFound):
        return None  # not ours, or removed a moment ago
