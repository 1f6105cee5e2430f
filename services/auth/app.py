"""The auth service: devices and their tokens."""

from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager

from fastapi import FastAPI

from libs.common.clock import Clock
from libs.common.security.authn import Authn
from libs.common.security.certificates import CertificateBinding
from libs.common.security.revocations import Revocations
from libs.common.security.tokens import TokenVerifier
from libs.common.settings import Settings
from libs.common.storage import Buckets, ObjectStore
from libs.common.web import create_app, installed_version
from libs.common.wiring.needs import Service
from libs.common.wiring.preparing import Preparation
from libs.common.wiring.resources import bucket_need, new_store
from services.auth.routes import router
from services.auth.state import Auth


def build_app(settings: Settings, clock: Clock | None = None, auth_store: ObjectStore | None = None) -> FastAPI:
    """The application of one auth process, on the auth bucket of the settings unless another store is given.

    Raises ConfigurationError when the settings cannot work. The store is closed with the application.
    """
    store = auth_store or new_store(settings, "auth")
    revocations = Revocations.of(settings, store, clock)
    authn = Authn(TokenVerifier(settings), revocations, CertificateBinding(settings.client_cert_header))
    files = Buckets(new_store(settings, "temp"), new_store(settings, "perm"))
    auth = Auth.build(settings, store, files, authn.revocations, clock)
    devices = bucket_need(settings, Service.AUTH, "auth", store)
    preparation = Preparation(devices, patience=settings.start_timeout, give_up=lambda error: app.state.give_up(error))

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        async with AsyncExitStack() as stack:
            for bucket in (store, files.temp, files.perm):
                stack.push_async_callback(bucket.close)
            for part in (preparation, authn, auth):
                stack.push_async_callback(part.close)
                await part.start()
            yield

    def ready() -> Mapping[str, bool]:
        return {"store": preparation.ready, **authn.ready()}

    app = create_app("HiPER auth", __doc__ or "", installed_version(), lifespan, ready, settings)
    app.state.authn, app.state.auth = authn, auth
    app.include_router(router)
    return app
