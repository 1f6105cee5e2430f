"""Reading the feed, in the order of its keys, without missing an entry."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

import structlog
from pydantic import TypeAdapter, ValidationError

from libs.common.bus.events import Outcome
from libs.common.feed.positions import Position
from libs.common.storage import LEASE, ObjectNotFound, ObjectStore, read
from libs.common.uploads.layout import FEED, FEED_CLOCK, EntryKey, parse_entry_key
from libs.common.uploads.ours import ours
from libs.common.uploads.records import SLACK

# Seconds after the time in its key when an entry is visible, or never will be: the store takes it within a lease, and
# shows it within its slack. Half a second because a listing may begin a little before the time that it tells.
CLOSED_AFTER = LEASE + SLACK + 0.5
AT_ONCE = 16  # entries that are read at once
_OUTCOMES: TypeAdapter[Outcome] = TypeAdapter(Outcome)
log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class Entry:
    """One entry. `position`: behind it."""

    key: EntryKey
    position: Position


@dataclass(frozen=True)
class Page:
    """Entries in the order of the feed. `next`: where the page after this one begins. `more`: whether that can be read
    at once. `now`: the store's time of the look, in seconds since the epoch."""

    entries: Sequence[Entry]
    next: Position
    more: bool
    now: float


class FeedReader:
    """Shows entries once nothing can appear before them: CLOSED_AFTER seconds after they were put."""

    def __init__(self, perm: ObjectStore) -> None:
        self._perm = perm

    async def page(self, after: Position, limit: int = 1000) -> Page:
        """At most `limit` (1 to 1000) entries behind a position, by one listing. Raises StoreUnavailable."""
        start = after.key
        while True:
            found = await self._perm.list(FEED, start_after=start, limit=limit)
            now = found.fence.issued
            closed = Position.at(now - CLOSED_AFTER)
            there = ours(found.objects, parse_entry_key)
            entries = [Entry(key, Position(info.key)) for key, info in there if info.key < closed.key]
            if not found.truncated or found.objects[-1].key >= closed.key:
                return Page(entries, max(after, closed), False, now)
            if entries:
                return Page(entries, entries[-1].position, True, now)
            start = found.objects[-1].key  # a whole page of what other programs put there

    async def now(self) -> float:
        """The store's time, in seconds since the epoch. Raises StoreUnavailable."""
        return (await self._perm.fetch(FEED_CLOCK)).fence.issued

    async def outcomes(self, entries: Sequence[Entry]) -> list[Outcome | None]:
        """What entries say; None for one that expired meanwhile, or that cannot be read. Raises StoreUnavailable."""
        turns = asyncio.Semaphore(AT_ONCE)

        async def one(entry: Entry) -> Outcome | None:
            async with turns:
                return await self._outcome(entry)

        return await asyncio.gather(*map(one, entries))

    async def _outcome(self, entry: Entry) -> Outcome | None:
        try:
            return _OUTCOMES.validate_json(await read(self._perm, entry.position.key))
        except ObjectNotFound:
            return None
        except ValidationError:
            log.error("an entry of the feed cannot be read", key=entry.position.key)
            return None
