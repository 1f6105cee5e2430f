"""Time, handed to the protocol core so that it can be simulated."""

import asyncio
import sys
import time
from typing import Protocol


class Clock(Protocol):
    """Where the core gets its time from."""

    def monotonic(self) -> float:
        """Seconds on this process's own clock that never goes back. Not comparable between processes. It goes on while
        the process is stopped, or a lease would outlast the stop."""
        ...

    def time(self) -> float:
        """Seconds since the Unix epoch, for people to read. No decision of the protocol rests on it."""
        ...

    async def sleep(self, seconds: float) -> None: ...


class SystemClock:
    """The machine's clock."""

    def monotonic(self) -> float:
        # On Linux CLOCK_MONOTONIC stands still while the machine is suspended (clock_gettime(2)).
        return time.clock_gettime(time.CLOCK_BOOTTIME) if sys.platform == "linux" else time.monotonic()

    def time(self) -> float:
        return time.time()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)
