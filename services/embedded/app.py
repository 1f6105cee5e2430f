"""HiPER-Automotive in one process: devices, uploads and downloads on one address, with assembler and janitor inside."""

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
from services.assembler.app import build_worker
from services.auth.routes import router as auth_router
from services.auth.state import Auth
from services.ingest.app import add_routes
from services.ingest.gate import Gate
from services.ingest.state import Ingest
from services.janitor.app import notifying_too, sweeping


def build_app(settings: Settings) -> FastAPI:
    """All four services, wired here and nowhere else. Raises ConfigurationError when its settings cannot work."""
    verifier = TokenVerifier(settings)
    gate = Gate(settings)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with AsyncExitStack() as stack:
            auth_store = await stack.enter_async_context(open_store(settings, "auth"))
            opened = open_backends(settings, Service.SERVE, app.state.give_up, auth_store)
            backends = await stack.enter_async_context(opened)
            buckets, bus = backends.buckets, backends.bus
            revocations = Revocations.of(settings, auth_store)
            authn = Authn(verifier, revocations, CertificateBinding(settings.client_cert_header))
            auth = Auth.build(settings, auth_store, buckets, authn.revocations)
            stack.push_async_callback(authn.close)
            await authn.start()
            stack.push_async_callback(auth.close)
            await auth.start()
            worker = build_worker(settings, buckets, bus)
            await stack.enter_async_context(worker.running(settings.recovery_interval, settings.drain_timeout))
            await stack.enter_async_context(sweeping(settings, buckets, bus))
            await stack.enter_async_context(notifying_too(settings, buckets))
            app.state.authn, app.state.auth, app.state.bus = authn, auth, bus
            app.state.ingest = Ingest.build(settings, buckets, bus, SystemClock(), gate)
            stack.push_async_callback(app.state.ingest.close)
            app.state.ingest.sightings.start()
            app.state.ready = lambda: {"store": backends.prepared, **authn.ready()}
            yield

    app = create_app(
        "HiPER-Automotive",
        __doc__ or "",
        installed_version(),
        lifespan,
        lambda: app.state.ready(),
        settings,
    )
    add_routes(app)
    app.include_router(auth_router)
    return app
