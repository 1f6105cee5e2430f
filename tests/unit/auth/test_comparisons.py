"""Secrets are compared in time that tells nothing: seen by what is called, not by a clock."""

import hmac
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest

from libs.common.storage.filesystem import FilesystemStore
from services.auth.models import Device
from tests.unit.auth.talk import ADMIN_SECRET, AuthApi


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """How often a secret was hashed and compared, an object read from the store, and a device made of JSON."""
    counted = Counter[str]()

    def count(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def counting(*args: Any) -> Any:
            counted[name] += 1
            return function(*args)

        return counting

    for name in ("digest", "compare_digest"):
        monkeypatch.setattr(hmac, name, count(name, getattr(hmac, name)))
    monkeypatch.setattr(FilesystemStore, "get", count("get", FilesystemStore.get))
    monkeypatch.setattr(Device, "model_validate_json", count("parse", Device.model_validate_json))
    return counted


async def test_an_unknown_client_costs_the_work_of_a_wrong_secret(api: AuthApi, calls: Counter[str]) -> None:
    await api.register("car-7")
    await api.register("car-9")
    await api.admin("POST", "/devices/car-9/secret")  # has two secrets for a while
    work = []
    for client_id in ("car-7", "car-8", "car-9"):
        calls.clear()
        assert (await api.token(client_id, "wrong")).status_code == 401
        work.append(dict(calls))
    assert work == [{"get": 1, "parse": 1, "digest": 2, "compare_digest": 2}] * 3


@pytest.mark.parametrize("client_id", ["../car-7", "", "x" * 1000, "fleet"])
async def test_an_id_that_no_device_can_have_costs_no_look_into_the_store(
    api: AuthApi, calls: Counter[str], client_id: str
) -> None:
    assert (await api.token(client_id, "wrong")).status_code == 401
    assert calls == {"parse": 1, "digest": 2, "compare_digest": 2}


@pytest.mark.parametrize("client_id", ["car-7", "admin"])
async def test_compare_digest_decides(api: AuthApi, monkeypatch: pytest.MonkeyPatch, client_id: str) -> None:
    device_secret = await api.register("car-7")
    secret = {"car-7": device_secret, "admin": ADMIN_SECRET}[client_id]
    monkeypatch.setattr(hmac, "compare_digest", lambda one, other: False)
    assert (await api.token(client_id, secret)).status_code == 401
    monkeypatch.setattr(hmac, "compare_digest", lambda one, other: True)
    assert (await api.token(client_id, "wrong")).status_code == 200
