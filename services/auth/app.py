"""The auth service: devices and their tokens."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI

from libs.common.authn import Authn
from libs.common.clock import Clock
from libs.common.revocations import Revocations
from libs.common.settings import Settings
from libs.common.store import ObjectStore
from libs.common.tokens import TokenVerifier
from libs.common.web import create_app, installed_version
from services.auth.routes import router
from services.auth.state import Auth


def build_app(settings: Settings, auth_store: ObjectStore, clock: Clock | None = None) -> FastAPI:
    """The application. Raises ConfigurationError when its settings cannot work.

    The caller makes the bucket before the application starts, and closes the store after it ended.
    """
    authn = Authn(TokenVerifier(settings), Revocations(auth_store, settings.revocation_interval, clock))
    auth = Auth.build(settings, auth_store, authn.revocations, clock)

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        await authn.start()
        await auth.start()
        try:
            yield
        finally:
            await auth.close()
            await authn.close()

    app = create_app("HiPER auth", __doc__ or "", installed_version(), lifespan, authn.ready)
    app.state.authn, app.state.auth = authn, auth
    app.include_router(router)
    return app
