"""Devices have a class, whose limits count for them."""

import pytest
from fastapi import FastAPI

from libs.common.settings import Settings
from libs.common.storage.filesystem import FilesystemStore
from libs.common.uploads.layout import device_key
from tests.unit.auth.talk import ADMIN_SECRET, AuthApi
from tests.unit.keyrings import SECRET, plain_settings


@pytest.fixture
def settings() -> Settings:
    classes = {"default": {}, "truck": {"stored_bytes": 10}}
    return plain_settings(secret_key=SECRET, admin_secret=ADMIN_SECRET, limits_classes=classes)


async def class_in_token(app: FastAPI, api: AuthApi, device_id: str, secret: str) -> str:
    token = await api.access_token(device_id, secret)
    found: str = (await app.state.authn.authenticate(f"Bearer {token}")).device_class
    return found


async def test_the_class_of_a_device_is_in_its_tokens(app: FastAPI, api: AuthApi) -> None:
    secret = await api.register("car-7", device_class="truck")
    assert (await api.admin("GET", "/devices/car-7")).json()["device_class"] == "truck"
    assert await class_in_token(app, api, "car-7", secret) == "truck"


async def test_a_device_without_a_class_is_of_the_default_one(app: FastAPI, api: AuthApi) -> None:
    assert await class_in_token(app, api, "car-7", await api.register()) == "default"


async def test_a_device_changes_its_class_and_keeps_its_secret(app: FastAPI, api: AuthApi) -> None:
    secret = await api.register()
    answer = await api.admin("PATCH", "/devices/car-7", json={"device_class": "truck"})
    assert (answer.status_code, answer.json()["device_class"]) == (200, "truck")
    assert await class_in_token(app, api, "car-7", secret) == "truck"


@pytest.mark.parametrize("body", [{"device_class": "trukc"}, {"device_class": 7}, {}, {"scopes": []}])
async def test_a_class_that_does_not_exist_is_refused(api: AuthApi, body: dict[str, object]) -> None:
    await api.register()
    for method, path in (("PATCH", "/devices/car-7"), ("POST", "/devices")):
        new = {} if method == "PATCH" else {"device_id": "car-8", "device_class": "trukc"}
        answer = await api.admin(method, path, json=body | new)
        assert answer.status_code == 400
        assert answer.json()["type"] == "urn:hiper:problem:bad-request"
    assert (await api.admin("GET", "/devices/car-7")).json()["device_class"] == "default"


async def test_an_unknown_device_has_no_class_to_change(api: AuthApi) -> None:
    answer = await api.admin("PATCH", "/devices/nobody", json={"device_class": "truck"})
    assert answer.json()["type"] == "urn:hiper:problem:device-not-found"


async def test_a_device_registered_before_there_were_classes_is_of_the_default_one(
    app: FastAPI, api: AuthApi, store: FilesystemStore
) -> None:
    secret = await api.register()
    async with store.get(device_key("car-7")) as stored:
        body = b"".join([block async for block in stored])
    await store.put(device_key("car-7"), body.replace(b',"device_class":"default"', b""))
    assert await class_in_token(app, api, "car-7", secret) == "default"
