"""The assembler's work while its process runs: consume events, and sweep by itself when none come."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import structlog

from libs.common.bus import EventBus
from libs.common.bus.events import Event
from libs.common.clock import Clock
from libs.common.storage import Buckets, StoreUnavailable
from libs.common.uploads.sweeping import Ages, Finding, Need, Sweep, findings, store_time
from services.assembler.handling import Assembler

log = structlog.get_logger(__name__)
_AT_ONCE = 64  # files that a sweep of its own works on


class Worker:
    """Consumes the assembler's events.

    When the bus has been silent for `recovery_interval` seconds, it looks for itself what needs a look: with a bus
    that delivers nothing at all, every file still completes.
    """

    def __init__(self, assembler: Assembler, buckets: Buckets, bus: EventBus, clock: Clock, ages: Ages) -> None:
        self._assembler = assembler
        self._buckets = buckets
        self._bus = bus
        self._clock = clock
        self._ages = ages
        self._sweep = Sweep(buckets.temp)
        self._heard_at = clock.monotonic()

    @asynccontextmanager
    async def running(self, recovery_interval: float, drain_timeout: float) -> AsyncIterator[None]:
        """Work until the context ends; then messages in hand finish within `drain_timeout` seconds or go back."""
        consuming = asyncio.create_task(self._bus.subscribe(self._handle))
        watching = asyncio.create_task(self._watch(recovery_interval))
        try:
            yield
        finally:
            watching.cancel()
            await self._bus.stop_consuming()
            _, late = await asyncio.wait({consuming}, timeout=drain_timeout)
            for task in late:
                task.cancel()
            await asyncio.gather(consuming, watching, return_exceptions=True)

    async def _handle(self, event: Event) -> None:
        self._heard_at = self._clock.monotonic()
        await self._assembler.handle(event)

    async def _watch(self, recovery_interval: float) -> None:
        while True:
            await self._clock.sleep(recovery_interval)
            if self._clock.monotonic() - self._heard_at >= recovery_interval:
                try:
                    await self.recover()
                except StoreUnavailable as error:
                    log.warning("store unavailable, will sweep again", error=str(error))
                except Exception:  # whatever it is: this loop is what makes up for everything else
                    log.exception("sweep failed, will sweep again")

    async def recover(self) -> None:
        """Handle what a sweep finds, as if the janitor's events had come. Several files at once: a closing takes
        seconds, most of which it waits."""
        now, running = await store_time(self._buckets.temp), set[asyncio.Task[None]]()
        try:
            async for swept in self._sweep.names(now):
                for finding in findings(swept, now, self._ages):
                    if len(running) >= _AT_ONCE:
                        _, running = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
                    running.add(asyncio.create_task(self._take_up(finding)))
        except asyncio.CancelledError:
            for task in running:
                task.cancel()
            raise
        finally:
            await asyncio.gather(*running, return_exceptions=True)

    async def _take_up(self, finding: Finding) -> None:
        try:
            if finding.need is Need.GARBAGE:
                await self._assembler.tidy(finding.file)
            else:
                await self._assembler.handle(finding.event("/hiper/assembler"))
        except Exception:
            log.exception("sweep could not finish a file", file=finding.file)
