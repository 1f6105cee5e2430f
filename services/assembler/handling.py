"""What the assembler does on each event: look at the file that it names."""

import asyncio
import random
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Hashable, Sequence
from contextlib import asynccontextmanager
from typing import TypeVar

import structlog

from libs.common.bus import EventBus, Poison
from libs.common.clock import Clock
from libs.common.events import ChunkReceived, ChunkReceivedData, Event, SessionCancelled, SessionStale, SessionStalled
from libs.common.layout import FileId
from libs.common.names import check_filename
from libs.common.problems import Problem
from libs.common.store import Buckets, FenceExpired, ObjectNotFound, StoreUnavailable, UploadNotFound
from libs.common.watch import UNWATCHED, Watch
from services.assembler.advance import Advancer
from services.assembler.assembly import Superseded
from services.assembler.closing import Closer

T = TypeVar("T")
log = structlog.get_logger(__name__)

_TRIES = 6  # when another process was faster
_LONGEST_PAUSE = 10.0  # seconds between tries while the store is away
_PATIENCE = 300.0  # seconds; then it may be this file alone that the store refuses, and others wait behind it


class Assembler:
    """Handles events: a function of the event and of what the bucket shows."""

    def __init__(
        self, buckets: Buckets, bus: EventBus, clock: Clock, stale_threshold: float, watch: Watch = UNWATCHED
    ) -> None:
        self._advancer = Advancer(buckets, bus, clock, watch)
        self._closer = Closer(buckets, bus, clock, watch)
        self._watch = watch
        self._clock = clock
        self._stale_threshold = stale_threshold
        self._locks = Locks()

    async def handle(self, event: Event) -> None:
        """Do what the event asks to look at. Waits while the store is away, but not for ever: raises StoreUnavailable
        after 5 minutes. Raises Poison for an event that can
        never succeed, Superseded and its like when others stay faster: the bus delivers it again."""
        _refuse_impossible_names(event.data.file)
        match event:
            case ChunkReceived(data=data):
                last = _is_last(data)
                if last or data.filled_parts:  # else it is from an ingest that sends all of them
                    await self._advance(data.file, data.filled_parts, data.session if last else "")
            case SessionCancelled(data=data):
                await self._close(data.file)
            case SessionStalled(data=data):
                await self._close(data.file)
                await self._advance(data.file, None)
            case SessionStale(data=data):
                await self._once("park", data.file, lambda: self._closer.park(data.file, self._stale_threshold))
            case _:
                raise Poison(f"not for the assembler: {event.type}")

    async def _advance(self, file: FileId, hint: Sequence[int] | None, session: str = "") -> None:
        rejected = await self._once("advance", file, lambda: self._advancer.advance(file, hint, session))
        if rejected:
            await self._close(file)

    async def _close(self, file: FileId) -> None:
        await self._once("close", file, lambda: self._closer.close(file))

    async def _once(self, step: str, file: FileId, work: Callable[[], Awaitable[T]]) -> T:
        """Run work on a file, one at a time in this process: two would only do the same."""
        async with self._locks.held((step == "advance", file)):  # parking closes too
            pause, tries, until = 0.2, _TRIES, self._clock.monotonic() + _PATIENCE
            while True:
                try:
                    with self._watch.step(step):
                        return await work()
                except (Superseded, ObjectNotFound, UploadNotFound, FenceExpired):
                    tries -= 1
                    if not tries:
                        raise
                    await self._clock.sleep(random.uniform(0, 0.1))  # noqa: S311  # jitter, not a secret
                except StoreUnavailable as error:
                    if self._clock.monotonic() > until:
                        raise
                    log.warning("store unavailable, waiting", error=str(error), pause=pause)
                    await self._clock.sleep(random.uniform(pause / 2, pause))  # noqa: S311  # jitter, not a secret
                    pause = min(pause * 2, _LONGEST_PAUSE)


def _refuse_impossible_names(file: FileId) -> None:
    """Raises Poison for names that no store takes as part of a key."""
    try:
        for name in file:
            check_filename(name)
    except Problem as problem:
        raise Poison(f"not a file: {file!r}: {problem.detail}") from None


def _is_last(data: ChunkReceivedData) -> bool:
    try:
        return data.is_last
    except ValueError:
        raise Poison(f"not a session id: {data.session!r}") from None


class Locks:
    """A lock per name, forgotten when nobody holds or awaits it."""

    def __init__(self) -> None:
        self._locks: defaultdict[Hashable, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._users: defaultdict[Hashable, int] = defaultdict(int)

    @asynccontextmanager
    async def held(self, name: Hashable) -> AsyncIterator[None]:
        self._users[name] += 1
        try:
            async with self._locks[name]:
                yield
        finally:
            self._users[name] -= 1
            if not self._users[name]:
                del self._users[name], self._locks[name]
