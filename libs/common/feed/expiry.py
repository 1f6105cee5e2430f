"""Deleting entries that are too old."""

from libs.common.feed.positions import oldest_kept
from libs.common.storage import ObjectStore
from libs.common.uploads.layout import FEED, parse_entry_key
from libs.common.uploads.ours import walk_ours

LONGER = 3600.0  # seconds that entries are kept after they were readable last, so that no reader is surprised
_AT_ONCE = 1000  # keys of one delete


async def expire(perm: ObjectStore, now: float, days: int, *, dry_run: bool) -> int:
    """Delete the entries that are older than `days` whole days at `now` (seconds since the epoch, by the store's
    clock); how many they are. What is no entry stays. Raises StoreUnavailable."""
    end, old, count = oldest_kept(now - LONGER, days).key, list[str](), 0
    async for _, info in walk_ours(perm, FEED, parse_entry_key):
        if info.key >= end:
            break
        old.append(info.key)
        if len(old) == _AT_ONCE:
            count += await _delete(perm, old, dry_run)
            old.clear()
    return count + await _delete(perm, old, dry_run)


async def _delete(perm: ObjectStore, keys: list[str], dry_run: bool) -> int:
    if keys and not dry_run:
        await perm.delete_many(keys)
    return len(keys)
