"""ADMIN_API_PORT keeps /devices off the port that devices reach."""

from collections.abc import AsyncIterator

import httpx
import pytest
from fastapi import FastAPI
from pydantic import ValidationError

from libs.common.settings import Settings
from tests.unit.auth.talk import ADMIN_SECRET, AuthApi
from tests.unit.keyrings import SECRET, plain_settings

PUBLIC, INSIDE = 8000, 8001
PATHS = ("/devices", "/devices/car-7", "/devices/car-7/secret", "/devices/car-7/revoke", "/%64evices", "/devices/")


@pytest.fixture
def settings() -> Settings:
    return plain_settings(secret_key=SECRET, admin_secret=ADMIN_SECRET, port=PUBLIC, admin_api_port=INSIDE)


class At:
    """The application at a port of the machine, whatever the client calls the server."""

    def __init__(self, app: FastAPI, port: int) -> None:
        self._app, self._port = app, port

    async def __call__(self, scope, receive, send) -> None:  # type: ignore[no-untyped-def]
        await self._app({**scope, "server": ("10.0.0.7", self._port)}, receive, send)


@pytest.fixture
async def public(app: FastAPI) -> AsyncIterator[AuthApi]:
    transport = httpx.ASGITransport(At(app, PUBLIC))
    async with httpx.AsyncClient(transport=transport, base_url=f"http://test:{INSIDE}") as client:
        yield AuthApi(client)


@pytest.fixture
async def inside(app: FastAPI) -> AsyncIterator[AuthApi]:
    async with httpx.AsyncClient(transport=httpx.ASGITransport(At(app, INSIDE)), base_url="http://test") as client:
        yield AuthApi(client)


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("method", ["GET", "POST", "PATCH", "DELETE"])
async def test_the_public_port_has_no_devices_even_for_the_admin(public: AuthApi, method: str, path: str) -> None:
    answer = await public.admin(method, path)
    assert (answer.status_code, answer.json()["type"]) == (404, "urn:hiper:problem:no-route")


async def test_the_port_inside_has_them_and_both_give_tokens(public: AuthApi, inside: AuthApi) -> None:
    secret = await inside.register("car-7")
    assert (await inside.admin("GET", "/devices")).status_code == 200
    for api in (public, inside):
        assert (await api.token("car-7", secret)).status_code == 200


@pytest.mark.parametrize("same", [{"port": INSIDE}, {"metrics_port": INSIDE}])
def test_the_port_is_one_of_its_own(same: dict[str, int]) -> None:
    with pytest.raises(ValidationError, match="ADMIN_API_PORT must not be PORT or METRICS_PORT"):
        plain_settings(admin_api_port=INSIDE, **same)
