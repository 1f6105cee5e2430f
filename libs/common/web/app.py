"""Builds the application that a service hangs its routes into."""

from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager
from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as distribution_version

import structlog
from fastapi import FastAPI

from libs.common.settings import ConfigurationError, Settings
from libs.common.web.access import RequestShell
from libs.common.web.docs import DOCUMENT, add_docs
from libs.common.web.doors import AdminDoor, MetricsDoor
from libs.common.web.drain import Drain
from libs.common.web.errors import DEFAULT_RESPONSE, add_error_handlers
from libs.common.web.probes import probes
from libs.common.web.shedding import Shedder

log: structlog.stdlib.BoundLogger = structlog.stdlib.get_logger(__name__)

Lifespan = Callable[[FastAPI], AbstractAsyncContextManager[None]]
Ready = Callable[[], Mapping[str, bool]]


def installed_version() -> str:
    """The version of HiPER-Automotive that runs; `0` from a checkout that is not installed."""
    try:
        return distribution_version("hiper-automotive")
    except PackageNotFoundError:
        return "0"


def create_app(
    title: str, description: str, version: str, lifespan: Lifespan, ready: Ready, settings: Settings
) -> FastAPI:
    """An application with the shell and no routes of its own but /docs, /livez, /readyz and /metrics.

    `ready` names what the service needs and whether it is there; it is asked for each /readyz.
    """
    app = FastAPI(
        title=title,
        description=description,
        version=version,
        lifespan=lifespan,
        openapi_url=DOCUMENT if settings.docs_enabled else None,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        # "default" also keeps FastAPI from documenting its own 422, which this shell never sends.
        responses={"default": DEFAULT_RESPONSE},
    )
    app.state.give_up = _complain  # what runs the process puts its end here
    app.state.drain = Drain()
    add_error_handlers(app)
    app.include_router(probes(ready, settings.metrics_elsewhere))
    if settings.docs_enabled:
        add_docs(app)
    if settings.max_requests_in_flight:
        app.add_middleware(Shedder, most=settings.max_requests_in_flight)
    if settings.admin_api_port:
        app.add_middleware(AdminDoor, port=settings.admin_api_port)
    if settings.metrics_elsewhere:
        app.add_middleware(MetricsDoor, port=settings.worker_port)
    app.add_middleware(RequestShell, trusts_traceparent=settings.trust_traceparent, log_ratio=settings.access_log_ratio)
    return app


def _complain(error: ConfigurationError) -> None:
    log.error("cannot_work", error=str(error))
