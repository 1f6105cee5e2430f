"""One embedded server for each test, and clients of it."""

import logging
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import structlog
from pydantic import SecretStr

from libs.client import HiperClient
from libs.client.tokens import ClientCredentials
from libs.common.security.authn import SCOPES
from libs.common.settings import Settings
from services.embedded.app import build_app
from tests.unit.client.live import CuttingProxy, LiveServer

ADMIN_SECRET = "admin-secret-of-the-tests-" + "a" * 16


@pytest.fixture(scope="package", autouse=True)
def _quiet() -> Iterator[None]:
    """The servers log errors only."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    yield
    structlog.reset_defaults()


def make_settings(directory: Path, *, token_life: float = 1800, secret_key: str = "k" * 32) -> Settings:
    """`token_life` in seconds."""
    return Settings(
        _env_file=None,
        secret_key=SecretStr(secret_key),
        admin_secret=SecretStr(ADMIN_SECRET),
        access_token_expire_minutes=token_life / 60,
        temp_upload_dir=directory / "temp",
        perm_upload_dir=directory / "perm",
        auth_dir=directory / "auth",
        log_level="WARNING",
    )


@pytest.fixture
def server(tmp_path: Path) -> Iterator[LiveServer]:
    live = LiveServer(lambda: build_app(make_settings(tmp_path / "data")))
    live.start()
    yield live
    live.stop()


@pytest.fixture
async def client(server: LiveServer) -> AsyncIterator[HiperClient]:
    """The admin with a token for everything; its own files are those of the owner `admin`."""
    async with HiperClient(server.url, "admin", ADMIN_SECRET, retry_for=30) as client:
        await client.verify()
        assert isinstance(client.tokens, ClientCredentials)
        assert await client.tokens.widen(frozenset(SCOPES))
        yield client


@pytest.fixture
async def proxy(server: LiveServer) -> AsyncIterator[CuttingProxy]:
    async with CuttingProxy(server.port) as proxy:
        yield proxy
