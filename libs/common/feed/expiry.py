"""Deleting entries that are too old."""

from libs.common.feed.positions import oldest_kept
from libs.common.storage import ObjectStore
from libs.common.uploads.layout import FEED, parse_entry_key
from libs.common.uploads.ours import ours

LONGER = 3600.0  # seconds that entries are kept after they were readable last, so that no reader is surprised


async def expire(perm: ObjectStore, now: float, days: int, *, dry_run: bool) -> int:
    """Delete the entries that are older than `days` whole days at `now` (seconds since the epoch, by the store's
    clock); how many they are. What is no entry stays. Raises StoreUnavailable."""
    end, after, count = oldest_kept(now - LONGER, days).key, "", 0
    while True:
        page = await perm.list(FEED, start_after=after)
        old = [info.key for _, info in ours(page.objects, parse_entry_key) if info.key < end]
        if old and not dry_run:
            await perm.delete_many(old)
        count += len(old)
        if not page.truncated or page.objects[-1].key >= end:
            return count
        after = page.objects[-1].key
