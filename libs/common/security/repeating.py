"""Work that a process repeats in the background for as long as it runs."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable

import structlog

from libs.common.clock import Clock

log: structlog.stdlib.BoundLogger = structlog.stdlib.get_logger(__name__)


class Repeating:
    """Calls `work` again and again, `pause()` seconds after its last end. Whatever it raises is logged and ends
    nothing: such work reads values from outside, and without it the process would go on with old ones, unnoticed."""

    def __init__(
        self, name: str, work: Callable[[], Awaitable[None]], pause: Callable[[], float], clock: Clock
    ) -> None:
        self._name = name
        self._work = work
        self._pause = pause
        self._clock = clock
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin, with a pause."""
        self._task = asyncio.create_task(self._repeat(), name=self._name)

    async def close(self) -> None:
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task

    async def _repeat(self) -> None:
        while True:
            await self._clock.sleep(self._pause())
            try:
                await self._work()
            except Exception:
                log.exception("background_work_failed", work=self._name)
