"""A bound on the bytes per second of a whole command, however many transfers it runs side by side."""

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

    async def spend(self, size: int) -> None:
        """Wait until `size` bytes may move. Callers that wait at once are served one after another."""
        if self._rate is None:
            return
        now = self._clock.monotonic()
        begin = max(now, self._free_at)
        self._free_at = begin + size / self._rate
        if begin > now:
            await self._clock.sleep(begin - now)
