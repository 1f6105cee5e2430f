"""Putting outcomes into the feed."""

from libs.common.bus.events import Outcome
from libs.common.clock import Clock
from libs.common.feed.names import name_of
from libs.common.storage import ConditionFailed, Fence, FenceExpired, ObjectStore, StoreUnavailable
from libs.common.uploads.layout import FEED_CLOCK, EntryKey, entry_key, session_tag

MEDIA_TYPE = "application/cloudevents+json"
_TRIES = 4  # how often a put may be too late for its fence
_TRUSTED = 30.0  # seconds for which a look at the store's clock serves


class FeedWriter:
    """Puts entries. The key of an entry says the time from which its fence counts, so the store takes no entry later
    than a lease after the time in its key: readers rest on that, and on no clock of this process."""

    def __init__(self, perm: ObjectStore, clock: Clock) -> None:
        self._perm = perm
        self._clock = clock
        self._ahead: float | None = None  # seconds that the store's clock is before this process's: never too many
        self._looked_at = 0.0

    async def put(self, outcome: Outcome, now: Fence | None = None) -> None:
        """Once this returns, every reader of the feed gets the outcome. `now`: the fence of this moment where the
        caller knows the store's time (never too late); else the store is asked. A repeat makes another entry, but
        within one millisecond. Raises StoreUnavailable; the entry may be there then, or appear within a lease and the
        store's slack."""
        body = outcome.model_dump_json().encode()
        for _ in range(_TRIES):
            fence, now = now or await self._fence(), None
            try:
                await self._perm.put(_key(outcome, fence), body, absent=True, fence=fence, content_type=MEDIA_TYPE)
            except FenceExpired:
                self._ahead = None
            except ConditionFailed:
                return  # sent twice by the HTTP client, or put twice within a millisecond
            else:
                return
        raise StoreUnavailable("the store takes no entry of the feed in time")

    async def _fence(self) -> Fence:
        """Of now, by the store's clock, which is asked now and then."""
        if self._ahead is None or self._clock.monotonic() - self._looked_at > _TRUSTED:
            found = await self._perm.fetch(FEED_CLOCK)
            self._looked_at = self._clock.monotonic()
            ahead, before = found.fence.issued - self._looked_at, self._ahead
            # Stores tell whole seconds, cut off: of two looks the one that was cut less is nearer.
            self._ahead = before if before is not None and ahead < before < ahead + 1 else ahead
        return Fence(self._clock.monotonic() + self._ahead)


def _key(outcome: Outcome, fence: Fence) -> str:
    session = session_tag(outcome.data.file, outcome.data.session)
    return entry_key(EntryKey(int(fence.issued * 1000), name_of(outcome), session, outcome.data.owner))
