"""The embedded process over real stores, and a device that talks to it."""

from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
from fastapi import FastAPI

from libs.common.settings import Settings
from services.embedded.app import build_app
from tests.unit.ingest.running import make_settings, token_for
from tests.unit.ingest.talk import Device


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return make_settings(tmp_path)


@pytest.fixture
async def app(settings: Settings) -> AsyncIterator[FastAPI]:
    app = build_app(settings)
    async with app.router.lifespan_context(app):
        yield app


@pytest.fixture
async def http(app: FastAPI) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test") as client:
        yield client


@pytest.fixture
def device(http: httpx.AsyncClient, settings: Settings) -> Device:
    return Device(http, token_for(settings))
