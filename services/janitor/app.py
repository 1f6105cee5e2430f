"""The janitor service: sweeps for what stopped half-way and for what was left behind."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import structlog
from fastapi import FastAPI

from libs.common.bus import EventBus
from libs.common.clock import SystemClock
from libs.common.settings import Settings
from libs.common.storage import Buckets, StoreUnavailable
from libs.common.uploads.sweeping import NUDGES, Ages, Finding, Need, store_time
from libs.common.web import create_app, installed_version
from libs.common.wiring.needs import Service
from libs.common.wiring.resources import open_backends
from services.janitor.metrics import DURATION, SweepWatch
from services.janitor.sweeping import Janitor

log = structlog.get_logger(__name__)


def build_janitor(settings: Settings, buckets: Buckets, bus: EventBus) -> Janitor:
    ages = Ages.of(settings.stale_threshold, settings.recovery_interval)
    return Janitor(buckets, bus, SystemClock(), ages, SweepWatch())


async def sweep_forever(janitor: Janitor, cleanup_interval: float, recovery_interval: float) -> None:
    """Sweep now and then: for stalled uploads every `recovery_interval` seconds, for everything else too every
    `cleanup_interval` seconds."""
    due = 0.0
    while True:
        now = janitor.clock.monotonic()
        needs = frozenset(Need) if now >= due else NUDGES
        try:
            with DURATION.time():
                began = janitor.clock.monotonic()
                found = await janitor.sweep(await store_time(janitor.buckets.temp), needs=needs, dry_run=False)
                _say(found, janitor.clock.monotonic() - began)
        except StoreUnavailable as error:
            log.warning("store unavailable, will sweep again", error=str(error))
        except Exception:  # whatever it is: without sweeps uploads would be stuck, and nobody would notice
            log.exception("sweep failed, will sweep again")
        else:
            due = now + cleanup_interval if now >= due else due
        await janitor.clock.sleep(min(recovery_interval, cleanup_interval))


def _say(found: list[Finding], duration: float) -> None:
    """One line for each sweep; what was found has lines of its own. `duration` in seconds."""
    counts = Counter(finding.need.replace(" ", "_") for finding in found)
    log.info("swept", findings=len(found), duration=round(duration, 3), **counts)


@asynccontextmanager
async def sweeping(settings: Settings, buckets: Buckets, bus: EventBus) -> AsyncIterator[None]:
    """Sweep in the background while the context lasts."""
    janitor = build_janitor(settings, buckets, bus)
    task = asyncio.create_task(sweep_forever(janitor, settings.cleanup_interval, settings.recovery_interval))
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def build_app(settings: Settings) -> FastAPI:
    """The application of one janitor process: its sweeps, and probes on METRICS_PORT."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with (
            open_backends(settings, Service.JANITOR, app.state.give_up) as backends,
            sweeping(settings, backends.buckets, backends.bus),
        ):
            app.state.ready = lambda: {"store": backends.prepared, "bus": backends.bus.connected}
            yield

    app = create_app("HiPER janitor", __doc__ or "", installed_version(), lifespan, lambda: app.state.ready(), settings)
    return app
