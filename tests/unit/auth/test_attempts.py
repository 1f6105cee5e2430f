"""Guesses at secrets are bounded, and lock nobody out."""

import asyncio
from collections import Counter
from collections.abc import Sequence

import httpx
import pytest
from fastapi import FastAPI
from pydantic import SecretStr
from structlog.testing import capture_logs

from libs.common.security.rates import Left, Rates, Window
from libs.common.settings import Settings
from libs.common.storage.filesystem import FilesystemStore
from services.auth import attempts
from services.auth.app import build_app
from services.auth.attempts import ABREAST, MOST_WAITING, PACE, network_of
from services.auth.clients import Client, Clients
from services.auth.devices import Devices
from services.auth.models import Device
from tests.unit.auth.talk import ADMIN_SECRET, AuthApi
from tests.unit.keyrings import SECRET, plain_settings
from tests.unit.shared_storage import SharedStorage

PER_CLIENT, PER_ADDRESS = 3, 8


@pytest.fixture
def settings() -> Settings:
    return plain_settings(
        secret_key=SECRET,
        admin_secret=ADMIN_SECRET,
        token_failures_per_client=PER_CLIENT,
        token_failures_per_address=PER_ADDRESS,
    )


@pytest.fixture(autouse=True)
def _no_floor(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attempts, "FLOOR", 0.0)


def from_address(app: FastAPI, address: str) -> AuthApi:
    transport = httpx.ASGITransport(app, client=(address, 1234))
    return AuthApi(httpx.AsyncClient(transport=transport, base_url="http://test"))


async def statuses(api: AuthApi, client_id: str, guesses: int) -> list[int]:
    """Of wrong secrets, one after another."""
    return [(await api.token(client_id, f"guess-{n}")).status_code for n in range(guesses)]


async def at_once(api: AuthApi, client_id: str, guesses: int) -> Counter[int]:
    answers = await asyncio.gather(*(api.token(client_id, f"guess-{n}") for n in range(guesses)))
    return Counter(answer.status_code for answer in answers)


@pytest.mark.parametrize("client_id", ["admin", "car-7", "car-8"])
async def test_wrong_secrets_beyond_the_limit_are_answered_with_429(api: AuthApi, client_id: str) -> None:
    await api.register("car-7")
    assert await statuses(api, client_id, 5) == [401] * PER_CLIENT + [429] * 2
    answer = await api.token(client_id, "guess")
    assert answer.json()["type"] == "urn:hiper:problem:too-many-requests"
    assert 2 <= int(answer.headers["retry-after"]) <= 10
    assert answer.headers["cache-control"] == "no-store"


async def test_the_right_secret_gets_a_token_while_others_guess_at_it_from_the_same_address(api: AuthApi) -> None:
    for client_id, secret in (("car-7", await api.register("car-7")), ("admin", ADMIN_SECRET)):
        assert (await statuses(api, client_id, 5))[-1] == 429
        assert (await api.token(client_id, secret)).status_code == 200


async def test_a_right_secret_is_never_counted(api: AuthApi) -> None:
    secret = await api.register("car-7")
    assert [(await api.token("car-7", secret)).status_code for _ in range(20)] == [200] * 20


async def test_guesses_from_one_address_count_for_no_other(app: FastAPI, api: AuthApi) -> None:
    await statuses(from_address(app, "192.0.2.1"), "admin", 5)
    assert await statuses(from_address(app, "192.0.2.2"), "admin", 1) == [401]
    assert await statuses(from_address(app, "192.0.2.1"), "admin", 1) == [429]


async def test_guesses_at_many_ids_from_one_address_are_bounded_together(api: AuthApi) -> None:
    answers = [(await statuses(api, f"car-{n}", 1))[0] for n in range(10)]
    assert answers == [401] * PER_ADDRESS + [429] * 2


async def test_guesses_sent_at_once_get_no_further_than_those_sent_one_after_another(api: AuthApi) -> None:
    assert await at_once(api, "admin", 20) == {401: PER_CLIENT, 429: 20 - PER_CLIENT}


@pytest.mark.parametrize("pause", [0, 0.02], ids=["counted here", "counted on another machine"])
async def test_guesses_at_many_ids_sent_at_once_from_one_address_get_no_further_either(
    api: AuthApi, monkeypatch: pytest.MonkeyPatch, pause: float
) -> None:
    left = Rates.left

    async def slowly(rates: Rates, limit: Window, who: str) -> Left:
        await asyncio.sleep(pause)
        return await left(rates, limit, who)

    monkeypatch.setattr(Rates, "left", slowly)
    answers = await asyncio.gather(*(api.token(f"car-{n}", "guess") for n in range(20)))
    assert 0 < [answer.status_code for answer in answers].count(401) <= PER_ADDRESS


async def test_devices_behind_one_address_that_all_come_at_once_get_their_tokens(api: AuthApi) -> None:
    secrets = {f"car-{n}": await api.register(f"car-{n}") for n in range(3 * PER_ADDRESS)}
    answers = await asyncio.gather(*(api.token(name, secret) for name, secret in secrets.items()))
    assert {answer.status_code for answer in answers} == {200}


async def test_guesses_at_admin_beyond_the_limit_are_looked_at_one_after_another_and_not_all(
    api: AuthApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks = list[str]()
    check = Clients.authenticate

    async def seen(clients: Clients, client_id: str, secrets: Sequence[str]) -> Client | None:
        looks.append(client_id)
        return await check(clients, client_id, secrets)

    await statuses(api, "admin", PER_CLIENT)
    monkeypatch.setattr(Clients, "authenticate", seen)
    began = asyncio.get_running_loop().time()
    assert await at_once(api, "admin", 3 * MOST_WAITING) == {429: 3 * MOST_WAITING}
    assert looks == ["admin"] * MOST_WAITING
    assert asyncio.get_running_loop().time() - began >= MOST_WAITING * PACE


async def test_guesses_at_devices_beyond_the_limit_are_looked_at_few_at_a_time(
    api: AuthApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    now, most = 0, 0
    find = Devices.find

    async def seen(devices: Devices, device_id: str) -> Device | None:
        nonlocal now, most
        now += 1
        most = max(most, now)
        try:
            return await find(devices, device_id)
        finally:
            now -= 1

    await api.register("car-7")
    await statuses(api, "car-7", PER_CLIENT)
    monkeypatch.setattr(Devices, "find", seen)
    assert await at_once(api, "car-7", 5 * ABREAST) == {429: 5 * ABREAST}
    assert most == ABREAST


async def test_a_crowd_that_guesses_behind_one_address_locks_out_no_device_there_nor_admin(api: AuthApi) -> None:
    secrets = {"admin": ADMIN_SECRET} | {name: await api.register(name) for name in ("car-7", "car-8", "car-9")}
    for n in range(PER_ADDRESS):
        await statuses(api, f"car-{n + 10}", 1)
    crowd = [asyncio.create_task(statuses(api, f"bus-{n}", 3)) for n in range(3 * MOST_WAITING)]
    await asyncio.sleep(0.05)
    answers = await asyncio.gather(*(api.token(name, secret) for name, secret in secrets.items()))
    assert [answer.status_code for answer in answers] == [200] * len(secrets)
    assert {status for found in await asyncio.gather(*crowd) for status in found} == {429}


async def test_a_device_whose_secret_was_right_before_does_not_wait_behind_guesses(
    api: AuthApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    secret = await api.register("car-7")
    assert (await api.token("car-7", secret)).status_code == 200
    await statuses(api, "car-7", PER_CLIENT)
    monkeypatch.setattr(attempts, "ABREAST", 0)  # whoever waits does not come back
    guess = asyncio.create_task(api.token("car-7", "guess"))
    await asyncio.sleep(0.05)
    async with asyncio.timeout(10):
        assert (await api.token("car-7", secret)).status_code == 200
    guess.cancel()


async def test_a_secret_that_was_right_and_is_revoked_gets_no_token(api: AuthApi) -> None:
    secret = await api.register("car-7")
    assert (await api.token("car-7", secret)).status_code == 200
    await statuses(api, "car-7", PER_CLIENT)
    await api.admin("POST", "/devices/car-7/secret?revoke_old=true")
    assert (await api.token("car-7", secret)).status_code == 401


async def test_failures_are_bounded_in_the_process_while_the_shared_storage_is_away(
    store: FilesystemStore, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(SharedStorage, "mode", "broken")
    app = build_app(settings.model_copy(update={"limits_storage_uri": SecretStr("shared://")}), auth_store=store)
    async with app.router.lifespan_context(app):
        with capture_logs() as logs:
            assert await statuses(from_address(app, "192.0.2.1"), "admin", 5) == [401] * PER_CLIENT + [429] * 2
    assert "limits_storage_away" in [line["event"] for line in logs]


async def test_zero_is_no_limit(store: FilesystemStore) -> None:
    unlimited = plain_settings(
        secret_key=SECRET, admin_secret=ADMIN_SECRET, token_failures_per_client=0, token_failures_per_address=0
    )
    app = build_app(unlimited, auth_store=store)
    async with app.router.lifespan_context(app):
        assert await statuses(from_address(app, "192.0.2.1"), "admin", 20) == [401] * 20


@pytest.mark.parametrize(
    ("address", "network"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("fe80::1%eth0", "fe80::/64"),
        ("testclient", "testclient"),
        ("", ""),
    ],
)
def test_an_ipv6_customer_has_one_network_whatever_addresses_it_takes(address: str, network: str) -> None:
    assert network_of(address) == network
