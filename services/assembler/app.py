"""The assembler service: durable chunks become complete files, stale uploads partial ones."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI

from libs.common.bus import EventBus
from libs.common.clock import SystemClock
from libs.common.settings import Settings
from libs.common.storage import Buckets
from libs.common.uploads.sweeping import Ages
from libs.common.uploads.tools import Tools
from libs.common.web import create_app, installed_version
from libs.common.wiring.needs import Service
from libs.common.wiring.resources import open_backends
from services.assembler.handling import Assembler
from services.assembler.metrics import FileWatch
from services.assembler.worker import Worker


def build_worker(settings: Settings, buckets: Buckets, bus: EventBus) -> Worker:
    clock = SystemClock()
    assembler = Assembler(Tools(buckets, bus, clock, FileWatch()), settings.stale_threshold)
    return Worker(assembler, buckets, bus, clock, Ages.of(settings.stale_threshold, settings.recovery_interval))


def build_app(settings: Settings) -> FastAPI:
    """The application of one assembler process: its work, and probes on METRICS_PORT."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with open_backends(settings, Service.ASSEMBLER, app.state.give_up) as backends:
            worker = build_worker(settings, backends.buckets, backends.bus)
            async with worker.running(settings.recovery_interval, settings.drain_timeout):
                app.state.ready = lambda: {"store": backends.prepared, "bus": backends.bus.connected}
                yield

    app = create_app(
        "HiPER assembler", __doc__ or "", installed_version(), lifespan, lambda: app.state.ready(), settings
    )
    return app
