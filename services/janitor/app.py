"""The janitor service: sweeps for what stopped half-way and for what was left behind."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext

import structlog
from fastapi import FastAPI

from libs.common.bus import EventBus
from libs.common.clock import Clock, SystemClock
from libs.common.security.repeating import Repeating
from libs.common.settings import Settings
from libs.common.storage import Buckets, ConditionFailed, StoreUnavailable
from libs.common.uploads.comparing import Comparison
from libs.common.uploads.sweeping import NUDGES, Ages, Finding, Need, store_time
from libs.common.uploads.tools import Tools
from libs.common.web import create_app, installed_version
from libs.common.webhooks.notifier import notifying
from libs.common.wiring.needs import Service
from libs.common.wiring.resources import open_backends
from services.janitor.counting import Stored
from services.janitor.metrics import DURATION, SweepWatch
from services.janitor.sweeping import Janitor
from services.janitor.viewing import Viewing

log = structlog.get_logger(__name__)
_EARLY = 0.05  # of an interval: a sweep that comes so much before one for stalled uploads is that one


def build_janitor(settings: Settings, buckets: Buckets, bus: EventBus) -> Janitor:
    ages = Ages.of(settings.stale_threshold, settings.recovery_interval)
    return Janitor(buckets, bus, SystemClock(), ages, SweepWatch(), settings.feed_days)


def build_viewing(settings: Settings, buckets: Buckets, bus: EventBus) -> Viewing | None:
    if not settings.fleet_interval:
        return None
    clock = SystemClock()
    comparison = Comparison(Tools(buckets, bus, clock, SweepWatch()))
    stored = Stored(buckets.perm, clock, settings.fleet_count_interval, comparison.visit)
    return Viewing(buckets.perm, settings.fleet_interval, stored)


async def sweep_forever(
    janitor: Janitor, cleanup_interval: float, recovery_interval: float, viewing: Viewing | None = None
) -> None:
    """Sweep now and then: for stalled uploads every `recovery_interval` seconds, for everything else too every
    `cleanup_interval` seconds. Each sweep shows the fleet to `viewing`; for its sake alone the janitor sweeps during at
    most a tenth of its time."""
    clock, clean, recover = janitor.clock, 0.0, 0.0
    interval = min(recovery_interval, cleanup_interval)
    while True:
        now = clock.monotonic()
        needs = frozenset(Need) if now >= clean else NUDGES if now >= recover - _EARLY * interval else frozenset[Need]()
        try:
            with DURATION.time():
                await _sweep(janitor, needs, viewing)
        except StoreUnavailable as error:
            log.warning("store unavailable, will sweep again", error=str(error))
            needs = NUDGES
        except Exception:  # whatever it is: without sweeps uploads would be stuck, and nobody would notice
            log.exception("sweep failed, will sweep again")
            needs = NUDGES
        ended = clock.monotonic()
        clean = now + cleanup_interval if Need.GARBAGE in needs else clean
        recover = ended + interval if needs else recover
        until_view = max(viewing.interval, 9 * (ended - now)) if viewing else interval
        await clock.sleep(min(until_view, max(0.0, recover - ended)))


async def _sweep(janitor: Janitor, needs: frozenset[Need], viewing: Viewing | None) -> None:
    began = janitor.clock.monotonic()
    at = await store_time(janitor.buckets.temp)
    if viewing:
        viewing.begin()
    found = await janitor.sweep(at, needs=needs, dry_run=False, saw=viewing.saw if viewing else None)
    _say(found, janitor.clock.monotonic() - began)
    if viewing:
        await _put(viewing, at)


async def _put(viewing: Viewing, at: float) -> None:
    """Put the fleet's tables. The sweep was done, whether or not that works."""
    try:
        await viewing.put(at)
    except ConditionFailed:
        log.info("another janitor put the fleet's devices first")
    except StoreUnavailable as error:
        log.warning("the fleet's tables cannot be put, will try again", error=str(error))
    except Exception:
        log.exception("the fleet's tables cannot be put, will try again")


def counting(viewing: Viewing, clock: Clock) -> Repeating:
    """Counts the stored bytes now and then, while sweeps go on: a listing of all files takes long."""

    async def count() -> None:
        try:
            await viewing.count_if_due()
        except StoreUnavailable as error:
            log.warning("store unavailable, will count the files again", error=str(error))

    return Repeating("counting", count, lambda: viewing.interval, clock)


def _say(found: list[Finding], duration: float) -> None:
    """One line for each sweep; what was found has lines of its own. `duration` in seconds."""
    counts = Counter(finding.need.replace(" ", "_") for finding in found)
    log.info("swept", findings=len(found), duration=round(duration, 3), **counts)


def notifying_too(settings: Settings, buckets: Buckets) -> AbstractAsyncContextManager[None]:
    """Post outcomes to webhooks while the context lasts, unless another process is to do it."""
    return notifying(settings, buckets.perm) if settings.janitor_notifies else nullcontext()


@asynccontextmanager
async def sweeping(settings: Settings, buckets: Buckets, bus: EventBus) -> AsyncIterator[None]:
    """Sweep in the background while the context lasts."""
    janitor, viewing = build_janitor(settings, buckets, bus), build_viewing(settings, buckets, bus)
    sweeps = sweep_forever(janitor, settings.cleanup_interval, settings.recovery_interval, viewing)
    task = asyncio.create_task(sweeps)
    counts = counting(viewing, janitor.clock) if viewing else None
    if counts:
        counts.start()
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        if counts:
            await counts.close()


def build_app(settings: Settings) -> FastAPI:
    """The application of one janitor process: its sweeps, and probes on METRICS_PORT."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with (
            open_backends(settings, Service.JANITOR, app.state.give_up) as backends,
            sweeping(settings, backends.buckets, backends.bus),
            notifying_too(settings, backends.buckets),
        ):
            app.state.ready = lambda: {"store": backends.prepared, "bus": backends.bus.connected}
            yield

    app = create_app("HiPER janitor", __doc__ or "", installed_version(), lifespan, lambda: app.state.ready(), settings)
    return app
