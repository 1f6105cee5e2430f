"""The subscriptions of one bus, and how they end together."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress

from libs.common.bus import Handler, Limits
from libs.common.bus._intake import Intake


class Subscriptions:
    """Which intakes are open. Stopping is final."""

    def __init__(self, limits: Limits) -> None:
        self.stopping = asyncio.Event()
        self._limits = limits
        self._open: set[Intake] = set()
        self._none_open = asyncio.Event()
        self._none_open.set()

    def __len__(self) -> int:
        return len(self._open)

    @asynccontextmanager
    async def open(self, handler: Handler, on_room: Callable[[], None] = lambda: None) -> AsyncIterator[Intake]:
        """An intake for as long as the subscription lasts; leaving early cancels its handlers."""
        intake = Intake(handler, self._limits, on_room)
        self._open.add(intake)
        self._none_open.clear()
        try:
            yield intake
        finally:
            await intake.abort()
            self._open.discard(intake)
            if not self._open:
                self._none_open.set()

    def stop(self) -> None:
        self.stopping.set()
        for intake in self._open:
            intake.stop()

    async def close(self, grace: float) -> None:
        """Stop; wait at most `grace` seconds for the subscriptions to end, then cancel what is in hand."""
        self.stop()
        with suppress(TimeoutError):
            async with asyncio.timeout(grace):
                await self._none_open.wait()
        for intake in list(self._open):
            await intake.abort()
