"""The auth service over a real store."""

from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
from fastapi import FastAPI

from libs.common.settings import Settings
from libs.common.storage import Buckets
from libs.common.storage.filesystem import FilesystemStore
from services.auth.app import build_app
from tests.unit.auth.talk import ADMIN_SECRET, AuthApi
from tests.unit.clocks import ManualClock
from tests.unit.keyrings import SECRET, plain_settings


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def auth_dir(tmp_path: Path) -> Path:
    return tmp_path / "auth"


@pytest.fixture
async def store(auth_dir: Path) -> AsyncIterator[FilesystemStore]:
    store = FilesystemStore(auth_dir)
    await store.ensure()
    yield store
    await store.close()


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    # The overlap is shorter than the leeway of the verifier, which a ManualClock does not move.
    files = {"temp_upload_dir": tmp_path / "temp", "perm_upload_dir": tmp_path / "perm"}
    return plain_settings(secret_key=SECRET, admin_secret=ADMIN_SECRET, secret_overlap=20, **files)


@pytest.fixture
async def files(settings: Settings) -> AsyncIterator[Buckets]:
    """What ingest and assembler keep of devices."""
    buckets = Buckets(FilesystemStore(settings.temp_upload_dir), FilesystemStore(settings.perm_upload_dir))
    await buckets.temp.ensure()
    await buckets.perm.ensure()
    yield buckets
    await buckets.temp.close()
    await buckets.perm.close()


@pytest.fixture
async def app(settings: Settings, store: FilesystemStore, clock: ManualClock, files: Buckets) -> AsyncIterator[FastAPI]:
    app = build_app(settings, clock, store)
    async with app.router.lifespan_context(app):
        yield app


@pytest.fixture
async def api(app: FastAPI) -> AsyncIterator[AuthApi]:
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test") as client:
        yield AuthApi(client)
