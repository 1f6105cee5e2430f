"""The things that one process of the protocol works with."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

from libs.common.bus import EventBus
from libs.common.bus.events import Outcome
from libs.common.clock import Clock
from libs.common.feed.writing import FeedWriter
from libs.common.storage import Buckets, Fence
from libs.common.uploads.records import Look, Records
from libs.common.uploads.watch import UNWATCHED, Watch


@dataclass(frozen=True)
class Tools:
    """Ports, a clock, and a watcher of the work."""

    buckets: Buckets
    bus: EventBus
    clock: Clock
    watch: Watch = UNWATCHED

    @cached_property
    def records(self) -> Records:
        return Records(self.buckets, self.clock)

    @cached_property
    def feed(self) -> FeedWriter:
        return FeedWriter(self.buckets.perm, self.clock)

    async def tell(self, seen: Look, *outcomes: Outcome, again: bool = False) -> None:
        """Put outcomes into the feed, and publish them. `seen` shows that they are true. `again`: another process told
        them. Raises StoreUnavailable."""
        for outcome in outcomes:
            await self.feed.put(outcome, Fence(seen.now))
            self.bus.publish(outcome)
            if not again:
                self.watch.told(outcome)

    async def pay(self, seen: Look, **changes: Any) -> Look | None:
        """Tell the outcomes that a record owes, then say so in it, with other changes. None where another process was
        faster: then they are told again. Raises StoreUnavailable."""
        await self.tell(seen, *seen.record.owes)
        return await self.records.change(seen, owes=(), **changes)
