"""A device whose secret is a setting: for a check of the whole that needs no secret of `admin`."""

from collections.abc import AsyncIterator

import httpx
import pytest

from libs.common.settings import Settings
from libs.common.storage.filesystem import FilesystemStore
from services.auth.app import build_app
from tests.unit.auth.talk import ADMIN_SECRET, AuthApi
from tests.unit.keyrings import SECRET, plain_settings

OWN = "the-secret-of-the-device-of-helm-test"


@pytest.fixture
def settings() -> Settings:
    return plain_settings(secret_key=SECRET, admin_secret=ADMIN_SECRET, test_device_secret=OWN)


@pytest.fixture
async def without(store: FilesystemStore) -> AsyncIterator[AuthApi]:
    """A server that knows no such device."""
    app = build_app(plain_settings(secret_key=SECRET), auth_store=store)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test") as client:
        yield AuthApi(client)


async def test_it_gets_a_token_with_the_rights_of_a_device_and_no_others(api: AuthApi) -> None:
    answer = await api.token("helm-test", OWN)
    assert answer.status_code == 200
    assert answer.json()["scope"] == "files:read files:write"
    for scope in ("admin", "fleet:write", "fleet:manage"):
        assert (await api.token("helm-test", OWN, scope=scope)).status_code == 400


@pytest.mark.parametrize("secret", ["", "helm-test", ADMIN_SECRET])
async def test_another_secret_opens_nothing(api: AuthApi, secret: str) -> None:
    assert (await api.token("helm-test", secret)).status_code == 401


async def test_its_secret_does_not_open_admin(api: AuthApi) -> None:
    assert (await api.token("admin", OWN)).status_code == 401


@pytest.mark.parametrize("secret", ["", OWN])
async def test_without_the_setting_there_is_no_such_device(without: AuthApi, secret: str) -> None:
    assert (await without.token("helm-test", secret)).status_code == 401
