"""Those who wait for one another to ask the store."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from libs.common.clock import Clock
from libs.common.storage import StoreUnavailable

SLOW = 1.0  # seconds without an answer


class Line:
    """One asks, the others wait, and mostly need not ask any more. Where one was given no answer for long, all who
    waited for it are told: else each would wait as long again, one after the other."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._lock = asyncio.Lock()
        self._given_up = 0  # how many were given no answer for long

    @property
    def busy(self) -> bool:
        return self._lock.locked()

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        """Raises StoreUnavailable where the one before was given no answer for long."""
        given_up = self._given_up
        async with self._lock:
            if self._given_up != given_up:
                raise StoreUnavailable("the store did not answer the request before this one")
            began = self._clock.monotonic()
            try:
                yield
            except StoreUnavailable:
                self._given_up += self._clock.monotonic() - began > SLOW
                raise
