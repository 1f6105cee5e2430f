"""A bound on the bytes per second of a whole command, however many transfers it runs side by side."""

import sys
from collections.abc import AsyncIterator

from libs.common.clock import Clock, SystemClock

LARGEST_BLOCK = 2**20  # bytes
BLOCKS_PER_SECOND = 8  # at least: a slow link sees a steady flow, not a burst each second


class RateLimit:
    """At most `rate` bytes per second; None: no bound."""

    def __init__(self, rate: float | None = None, *, clock: Clock | None = None) -> None:
        self._rate = rate
        self._clock = clock or SystemClock()
        self._free_at = self._clock.monotonic()
        self.block = LARGEST_BLOCK  # bytes to move at once, at most
        if rate is not None:
            self.block = min(LARGEST_BLOCK, max(1, int(rate / BLOCKS_PER_SECOND)))

    def comfortable(self, jobs: int) -> int:
        """The most bytes in one request so that `jobs` of them at once end within about 20 seconds: a server takes no
        request that lasts for minutes. 4 KiB at least."""
        return sys.maxsize if self._rate is None else max(4096, int(self._rate * 20 / jobs))

    async def blocks(self, body: bytes) -> AsyncIterator[bytes]:
        """The body in blocks, each when it may move."""
        for at in range(0, len(body), self.block):
            block = body[at : at + self.block]
            await self.spend(len(block))
            yield block

    async def spend(self, size: int) -> None:
        """Wait until `size` bytes may move. Callers that wait at once are served one after another."""
        if self._rate is None:
            return
        now = self._clock.monotonic()
        begin = max(now, self._free_at)
        self._free_at = begin + size / self._rate
        if begin > now:
            await self._clock.sleep(begin - now)
