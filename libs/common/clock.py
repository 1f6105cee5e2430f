"""Time, handed to the protocol core so that it can be simulated."""

import asyncio
import time
from typing import Protocol


class Clock(Protocol):
    """Where the core gets its time from."""

    def monotonic(self) -> float:
        """Seconds on this process's own clock that never goes back. Not comparable between processes."""
        ...

    def time(self) -> float:
        """Seconds since the Unix epoch, for people to read. No decision of the protocol rests on it."""
        ...

    async def sleep(self, seconds: float) -> None: ...


class SystemClock:
    """The machine's clock."""

    def monotonic(self) -> float:
        return time.monotonic()

    def time(self) -> float:
        return time.time()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)
