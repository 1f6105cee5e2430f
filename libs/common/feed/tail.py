"""The newest entries in memory: one listing a second serves all readers of a process, while any reads."""

import asyncio
from bisect import bisect_right
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

from libs.common.bus.events import Outcome
from libs.common.clock import Clock
from libs.common.feed.positions import Position
from libs.common.feed.reading import Entry, FeedReader
from libs.common.storage import StoreUnavailable
from libs.common.uploads.layout import EntryKey

EACH = 1.0  # seconds between two listings of the end of the feed
KEPT = 5_000  # entries
_BACK = 20.0  # seconds before the present at which the tail begins: longer than an entry takes to close
_PAGE, _PAGES = 1000, 10  # keys of one listing, and listings, at most, for a reader who is behind

Wanted = Callable[[EntryKey], bool]


def wanting(owner: str | None, outcomes: Collection[str]) -> Wanted:
    """The entries of an owner (None: of all) that tell one of these outcomes (none: any)."""
    return lambda key: owner in (None, key.owner) and (not outcomes or key.outcome in outcomes)


@dataclass(frozen=True)
class Told:
    """One outcome. `position`: behind it."""

    position: Position
    outcome: Outcome


@dataclass(frozen=True)
class Batch:
    """`next`: where to go on. `more`: whether there is more to read at once."""

    told: Sequence[Told]
    next: Position
    more: bool


class Tail:
    """Readers who are near the present are served from memory, the others from the store."""

    def __init__(self, reader: FeedReader, clock: Clock) -> None:
        self._reader = reader
        self._clock = clock
        self._begin: Position | None = None  # every closed entry from here...
        self._end = Position.at(0)  # ...to here is in memory
        self._kept: list[tuple[Entry, Outcome | None]] = []
        self._now = 0.0
        self._looked_at = -EACH  # of this process's clock
        self._failed: StoreUnavailable | None = None  # how the last look ended
        self._looking = asyncio.Lock()

    async def now(self) -> float:
        """The store's time of the last look, in seconds since the epoch. Raises StoreUnavailable."""
        await self._look()
        return self._now

    async def read(self, after: Position, limit: int, wanted: Wanted) -> Batch:
        """At most `limit` outcomes that are wanted, behind a position. Raises StoreUnavailable."""
        await self._look()
        if self._begin is not None and after >= self._begin:
            return self._from_memory(after, limit, wanted)
        told, more = list[Told](), True
        for size in (limit, *[_PAGE] * (_PAGES - 1)):  # often the first that come are wanted
            page = await self._reader.page(after, min(size, _PAGE))
            entries = [entry for entry in page.entries if wanted(entry.key)]
            chosen = entries[: limit - len(told)]
            outcomes = await self._reader.outcomes(chosen)
            told += [Told(entry.position, outcome) for entry, outcome in zip(chosen, outcomes, strict=True) if outcome]
            if len(chosen) < len(entries):
                return Batch(told, chosen[-1].position, True)
            after, more = page.next, page.more
            if not more or len(told) >= limit:
                break
        return Batch(told, after, more)

    async def wait(self, after: Position, seconds: float) -> None:
        """Return when there may be something behind a position, at the latest after so many seconds. Raises
        StoreUnavailable."""
        until = self._clock.monotonic() + seconds
        while not (self._kept and self._kept[-1][0].position > after):
            left = until - self._clock.monotonic()
            if left <= 0:
                return
            await self._clock.sleep(min(left, EACH))
            await self._look()

    def _from_memory(self, after: Position, limit: int, wanted: Wanted) -> Batch:
        first = bisect_right(self._kept, after, key=lambda kept: kept[0].position)
        told = list[Told]()
        for entry, outcome in self._kept[first:]:
            if outcome and wanted(entry.key):
                if len(told) == limit:
                    return Batch(told, told[-1].position, True)
                told.append(Told(entry.position, outcome))
        return Batch(told, max(after, self._end), False)

    async def _look(self) -> None:
        """Bring the tail up to date, unless somebody did it, or tried to, a moment ago."""
        async with self._looking:
            now = self._clock.monotonic()
            if now - self._looked_at >= EACH:
                idle, self._looked_at = now - self._looked_at, now
                try:
                    await self._catch_up(anew=self._begin is None or idle > _BACK)
                    self._failed = None
                except StoreUnavailable as error:
                    self._failed = error
            if self._failed:
                raise StoreUnavailable(str(self._failed))

    async def _catch_up(self, *, anew: bool) -> None:
        if anew:
            self._begin = self._end = Position.at(await self._reader.now() - _BACK)
            self._kept.clear()
        more = True
        while more:
            page = await self._reader.page(self._end)
            self._kept += zip(page.entries, await self._reader.outcomes(page.entries), strict=True)
            self._end, self._now, more = page.next, page.now, page.more
            self._forget()

    def _forget(self) -> None:
        if (many := len(self._kept) - KEPT) > 0:
            self._begin = self._kept[many - 1][0].position
            del self._kept[:many]
