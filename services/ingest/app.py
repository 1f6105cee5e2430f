"""The ingest service: files go up in chunks and come down in ranges."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

from fastapi import FastAPI

from libs.common.clock import SystemClock
from libs.common.security.authn import Authn
from libs.common.security.certificates import CertificateBinding
from libs.common.security.revocations import Revocations
from libs.common.security.tokens import TokenVerifier
from libs.common.settings import Settings
from libs.common.web import create_app, installed_version
from libs.common.wiring.needs import Service
from libs.common.wiring.resources import open_backends, open_store
from services.ingest import (
    routes_feed,
    routes_files,
    routes_fleet,
    routes_purge,
    routes_status,
    routes_upload,
    routes_webhooks,
    upload_document,
)
from services.ingest.gate import Gate
from services.ingest.state import Ingest

ROUTERS = (
    upload_document.router,
    routes_fleet.router,
    routes_purge.router,
    routes_status.router,
    routes_files.router,
    routes_feed.router,
    routes_webhooks.router,
)


def add_routes(app: FastAPI) -> None:
    """The router looks at the route of chunks first, so that it comes before the one that documents it."""
    app.router.routes.insert(0, routes_upload.ROUTE)
    for router in ROUTERS:
        app.include_router(router)


def build_app(settings: Settings) -> FastAPI:
    """The application of one ingest process. Raises ConfigurationError when its settings cannot work."""
    verifier = TokenVerifier(settings)
    gate = Gate(settings)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with AsyncExitStack() as stack:
            auth_store = await stack.enter_async_context(open_store(settings, "auth"))
            opened = open_backends(settings, Service.INGEST, app.state.give_up, auth_store)
            backends = await stack.enter_async_context(opened)
            buckets, bus = backends.buckets, backends.bus
            revocations = Revocations.of(settings, auth_store)
            app.state.authn = Authn(verifier, revocations, CertificateBinding(settings.client_cert_header))
            stack.push_async_callback(app.state.authn.close)
            await app.state.authn.start()
            app.state.ingest = Ingest.build(settings, buckets, bus, SystemClock(), gate)
            stack.push_async_callback(app.state.ingest.close)
            app.state.ingest.sightings.start()
            app.state.ready = lambda: {"store": backends.prepared, **app.state.authn.ready()}
            yield

    app = create_app(
        "HiPER ingest",
        __doc__ or "",
        installed_version(),
        lifespan,
        lambda: app.state.ready(),
        settings,
    )
    add_routes(app)
    return app
