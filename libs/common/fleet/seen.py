"""Which devices each replica of ingest saw: it puts one small object a minute, and the janitor collects them."""

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass

from libs.common.fleet.rows import DeviceRow
from libs.common.fleet.store import MEDIA_TYPE, load
from libs.common.fleet.tables import DEVICES, Table, encode
from libs.common.storage import ObjectStore, walk
from libs.common.uploads.layout import SEEN, is_seen_key

GONE_AFTER = 3600.0  # seconds without a new object: the replica is gone, or no device asks it


@dataclass(frozen=True)
class SeenObject:
    """What one replica saw. `modified`: when it was put, in seconds since the epoch by the store's clock."""

    key: str
    modified: float
    rows: list[DeviceRow]


async def put_seen(perm: ObjectStore, key: str, at: float, rows: list[DeviceRow]) -> None:
    """Put what one replica saw in place of what it put before. No other process writes under its key. Raises
    StoreUnavailable."""
    body = await asyncio.to_thread(encode, DEVICES, Table(at, rows))
    await perm.put(key, body, content_type=MEDIA_TYPE)


async def collect(perm: ObjectStore) -> list[SeenObject]:
    """The objects of all replicas; one that cannot be read has no rows. Raises StoreUnavailable."""
    keys = [info async for info in walk(perm, SEEN) if is_seen_key(info.key)]
    found = [(info, await load(perm, DEVICES, key=info.key)) for info in keys]
    return [SeenObject(info.key, info.modified, seen.table.rows if seen.table else []) for info, seen in found if seen]


async def discard(perm: ObjectStore, collected: Iterable[SeenObject], now: float) -> None:
    """Delete the objects of replicas that are gone, at `now` of the store's time, once what they say is in the table.
    Raises StoreUnavailable."""
    gone = [seen.key for seen in collected if now - seen.modified > GONE_AFTER]
    if gone:
        await perm.delete_many(gone)
