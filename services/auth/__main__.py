"""`python -m services.auth`: one auth process, on PORT."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI

from libs.common.preparing import Preparation
from libs.common.resources import new_store
from libs.common.serving import run
from libs.common.settings import Settings
from services.auth.app import build_app


def build(settings: Settings) -> FastAPI:
    store = new_store(settings, "auth")
    app = build_app(settings, store)
    inner = app.router.lifespan_context

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        preparation = Preparation(store)
        await preparation.start()
        async with inner(app):
            yield
        await preparation.close()
        await store.close()

    app.router.lifespan_context = lifespan
    return app


if __name__ == "__main__":
    run(build, lambda settings: settings.port)
