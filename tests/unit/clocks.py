"""A clock that a test moves."""

import asyncio
import time
from collections.abc import Callable


class ManualClock:
    """Stands still until `advance`; who sleeps wakes when the time has come. Starts at the machine's time."""

    def __init__(self) -> None:
        self._now = float(int(time.time()))
        self._moved = asyncio.Event()
        self._sleepers = 0

    def monotonic(self) -> float:
        return self._now

    def time(self) -> float:
        return self._now

    async def sleep(self, seconds: float) -> None:
        until = self._now + seconds
        self._sleepers += 1
        try:
            while self._now < until:
                await self._moved.wait()
        finally:
            self._sleepers -= 1

    def advance(self, seconds: float) -> None:
        self._now += seconds
        self._moved.set()
        self._moved = asyncio.Event()

    async def wake(self, seconds: float, done: Callable[[], bool]) -> None:
        """Advance once somebody sleeps, and wait (in real time) until what woke has done its work."""
        async with asyncio.timeout(5):
            await _until(lambda: self._sleepers > 0)
            self.advance(seconds)
            await _until(done)


async def _until(condition: Callable[[], bool]) -> None:
    while not condition():  # noqa: ASYNC110  # what is waited for has no event to offer
        await asyncio.sleep(0.002)
