"""Whose turn it is at the store: of the chunks that are received few go on at once, in the order in which they came.

Nobody acts on a look that took longer than a second. A thousand chunks that end at once would stand in one another's
way for longer than that, and be refused: a device would send again what took it minutes. So a chunk begins its look
when its turn has come.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager

from libs.common.clock import Clock
from libs.common.storage import StoreUnavailable

MOST = 32  # chunks of one process that go on at once: twice the threads that a directory has for them
PATIENCE = 2.0  # seconds; a store on which a turn failed after so long, while no other ended well, is away


class Turns:
    """Turns of one process, first come, first served."""

    def __init__(self, clock: Clock, most: int = MOST) -> None:
        self._clock = clock
        self._free = most  # below 0 while more go on than may begin
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._well_at = clock.monotonic()  # when a turn ended well, the last time

    @asynccontextmanager
    async def taken(self) -> AsyncIterator[None]:
        """A turn, once it has come. Raises StoreUnavailable when the store turns out to be away meanwhile: a turn is
        waited for as long as others get on."""
        await self._take()
        began = self._clock.monotonic()
        try:
            yield
            self._well_at = self._clock.monotonic()
        except StoreUnavailable:
            if self._clock.monotonic() - max(began, self._well_at) >= PATIENCE:
                self._send_away()
            raise
        finally:
            self._give_back()

    @contextmanager
    def left(self) -> Iterator[None]:
        """Leave one's turn to others while one waits for something else; then go on at once, because they may wait
        for this one."""
        self._give_back()
        try:
            yield
        finally:
            self._free -= 1

    async def _take(self) -> None:
        if self._free > 0:
            self._free -= 1
            return
        turn = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if not turn.cancelled() and not turn.exception():
                self._give_back()  # it had come already
            raise

    def _give_back(self) -> None:
        self._free += 1
        while self._free > 0 and self._waiting:
            turn = self._waiting.popleft()
            if not turn.done():
                self._free -= 1
                turn.set_result(None)

    def _send_away(self) -> None:
        for turn in self._waiting:
            if not turn.done():
                turn.set_exception(StoreUnavailable("nobody gets on at the store"))
        self._waiting.clear()
