"""Devices: registered, listed, given new secrets, revoked, deleted."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from libs.common.problems import Kind, Problem
from libs.common.security.authn import ADMIN, Authn
from libs.common.security.revocations import Revocations
from libs.common.security.tokens import TokenVerifier
from libs.common.settings import Settings
from libs.common.storage import StoreUnavailable
from libs.common.storage.filesystem import FilesystemStore
from libs.common.uploads.layout import REVOKED, device_key
from libs.common.web.bodies import MAX_BODY
from tests.unit.auth.talk import ADMIN_SECRET, AuthApi
from tests.unit.clocks import ManualClock

SHOWN = {
    *("device_id", "scopes", "created_at", "device_class"),
    *("last_seen", "last_refusal", "uploads_open", "bytes_stored", "bytes_allowed"),
}


async def accepted(app: FastAPI, token: str) -> bool:
    """Whether a service that shares this process takes the token."""
    authn: Authn = app.state.authn
    return await accepted_by(authn, token)


async def accepted_by(authn: Authn, token: str) -> bool:
    try:
        await authn.authenticate(f"Bearer {token}")
    except Problem as problem:
        if problem.kind is not Kind.UNAUTHORIZED:
            raise
        return False
    return True


async def elsewhere(settings: Settings, store: FilesystemStore) -> Authn:
    """Another service, which has read the revocations a moment ago."""
    authn = Authn(TokenVerifier(settings), Revocations(store, settings.revocation_interval))
    await authn.revocations.refresh()
    return authn


def assert_kind(answer: httpx.Response, status: int, slug: str) -> None:
    assert answer.status_code == status
    assert answer.json()["type"] == f"urn:hiper:problem:{slug}"


def contents(directory: Path) -> list[bytes]:
    return [path.read_bytes() for path in directory.rglob("*") if path.is_file()]


def take_away(directory: Path) -> None:
    directory.rename(directory.with_name("away"))
    directory.write_text("no directory")


async def test_registering_answers_with_the_secret_this_once(api: AuthApi) -> None:
    answer = await api.admin("POST", "/devices", json={"device_id": "car-7"})
    assert answer.status_code == 201
    assert answer.headers["location"] == "/devices/car-7"
    assert answer.headers["cache-control"] == "no-store"
    device = answer.json()
    assert len(device.pop("client_secret")) == 43
    assert device.pop("created_at").endswith("Z")
    assert device == {"device_id": "car-7", "scopes": ["files:read", "files:write"], "device_class": "default"}
    shown = (await api.admin("GET", "/devices/car-7")).json()
    assert set(shown) == SHOWN


async def test_scopes_are_those_asked_for(api: AuthApi) -> None:
    secret = await api.register("station", scopes=["fleet:read", "fleet:manage", "fleet:write", "fleet:read"])
    assert (await api.token("station", secret)).json()["scope"] == "fleet:manage fleet:read fleet:write"


async def test_an_id_is_registered_once(api: AuthApi) -> None:
    secret = await api.register()
    assert_kind(await api.admin("POST", "/devices", json={"device_id": "car-7"}), 409, "device-exists")
    assert (await api.token("car-7", secret)).status_code == 200


@pytest.mark.parametrize(
    "body",
    [
        *({"device_id": name} for name in ("", "fleet", "admin", "a/b", "..", "a..b", ".a", "x" * 65, "é", "a\n")),
        {"device_id": "car-7", "scopes": []},
        {"device_id": "car-7", "scopes": ["everything"]},
        {"device_id": "car-7", "secret": "mine"},
        {},
        [],
    ],
)
async def test_a_device_that_cannot_be_is_refused(api: AuthApi, body: object) -> None:
    assert_kind(await api.admin("POST", "/devices", json=body), 400, "bad-request")


async def test_a_body_is_read_only_once_it_is_known_who_asks(api: AuthApi) -> None:
    async def untouched() -> AsyncIterator[bytes]:
        pytest.fail("the body was read")
        yield b""

    assert_kind(await api.http.post("/devices", content=untouched()), 401, "unauthorized")


async def test_a_body_that_is_too_long_or_no_json_is_refused(api: AuthApi) -> None:
    answer = await api.admin("POST", "/devices", content=b"[" * 9000)
    assert_kind(answer, 413, "too-large")
    assert (answer.json()["limited"], answer.json()["limit"]) == ("body", MAX_BODY)
    answer = await api.admin("POST", "/devices", content=b'{"device_id": ')
    assert_kind(answer, 400, "bad-request")
    assert answer.json()["errors"][0]["loc"] == ["body"]


async def test_devices_are_listed_page_by_page_without_secrets(api: AuthApi) -> None:
    names = ["a", "a-b", "a.b", "a_b", "b", "c"]
    for name in names:
        await api.register(name)
    seen, after, pages = [], "", 0
    while True:
        page = (await api.admin("GET", "/devices", params={"limit": 2, "after": after})).json()
        assert all(set(device) == SHOWN for device in page["devices"])
        seen += [device["device_id"] for device in page["devices"]]
        pages += 1
        if page["next"] is None:
            break
        after = page["next"]
    assert sorted(seen) == names
    assert pages == 3


async def test_the_page_size_has_limits(api: AuthApi) -> None:
    for limit in (0, 1001):
        assert_kind(await api.admin("GET", "/devices", params={"limit": limit}), 400, "bad-request")


@pytest.mark.parametrize("name", ["car-8", "fleet", "..", "%2e%2e", "x" * 100])
@pytest.mark.parametrize(
    ("method", "path"),
    [("GET", ""), ("DELETE", ""), ("POST", "/secret"), ("POST", "/revoke")],
)
async def test_a_device_that_is_not_there_is_not_found(api: AuthApi, method: str, path: str, name: str) -> None:
    answer = await api.admin(method, f"/devices/{name}{path}")
    assert answer.status_code == 404
    assert answer.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/devices"),
        ("GET", "/devices"),
        ("GET", "/devices/car-7"),
        ("DELETE", "/devices/car-7"),
        ("POST", "/devices/car-7/secret"),
        ("POST", "/devices/car-7/revoke"),
    ],
)
async def test_devices_are_the_admins_business(api: AuthApi, method: str, path: str) -> None:
    token = await api.access_token("car-7", await api.register())
    answer = await api.http.request(method, path, json={"device_id": "car-9"})
    assert_kind(answer, 401, "unauthorized")
    answer = await api.http.request(
        method, path, json={"device_id": "car-9"}, headers={"Authorization": f"Bearer {token}"}
    )
    assert_kind(answer, 403, "forbidden")
    assert answer.json()["required_scope"] == ADMIN
    assert (await api.token("car-7", "")).status_code == 401


async def test_secrets_are_not_stored(api: AuthApi, auth_dir: Path) -> None:
    secrets = [
        await api.register(),
        (await api.admin("POST", "/devices/car-7/secret")).json()["client_secret"],
    ]
    await api.admin("POST", "/devices/car-7/revoke")
    stored = contents(auth_dir)
    assert any(b"car-7" in content for content in stored)
    for secret in (*secrets, ADMIN_SECRET):
        assert not any(secret.encode() in content for content in stored)


async def test_after_a_rotation_both_secrets_work_until_the_overlap_ends(
    api: AuthApi, clock: ManualClock, settings: Settings
) -> None:
    old = await api.register()
    answer = await api.admin("POST", "/devices/car-7/secret")
    assert answer.headers["cache-control"] == "no-store"
    new = answer.json()["client_secret"]
    assert new != old
    clock.advance(settings.secret_overlap - 1)
    assert [(await api.token("car-7", secret)).status_code for secret in (old, new)] == [200, 200]
    clock.advance(1)
    assert [(await api.token("car-7", secret)).status_code for secret in (old, new)] == [401, 200]


async def test_a_second_rotation_does_not_lengthen_the_life_of_the_oldest_secret(
    api: AuthApi, clock: ManualClock, settings: Settings, store: FilesystemStore
) -> None:
    first = await api.register()
    second = (await api.admin("POST", "/devices/car-7/secret")).json()["client_secret"]
    clock.advance(settings.secret_overlap - 1)
    third = (await api.admin("POST", "/devices/car-7/secret")).json()["client_secret"]
    clock.advance(1)
    codes = [(await api.token("car-7", secret)).status_code for secret in (first, second, third)]
    assert codes == [401, 200, 200]
    await api.admin("POST", "/devices/car-7/secret")
    async with store.get(device_key("car-7")) as blocks:
        body = b"".join([block async for block in blocks])
    assert body.count(b'"salt"') == 3  # the first is forgotten


async def test_a_rotation_can_end_the_old_secret_at_once(api: AuthApi) -> None:
    old = await api.register()
    answer = await api.admin("POST", "/devices/car-7/secret", params={"revoke_old": True})
    assert (await api.token("car-7", old)).status_code == 401
    assert (await api.token("car-7", answer.json()["client_secret"])).status_code == 200


async def test_revoking_voids_every_token_here_and_elsewhere_and_new_ones_work(
    api: AuthApi, app: FastAPI, settings: Settings, store: FilesystemStore
) -> None:
    secret = await api.register()
    old = await api.access_token("car-7", secret)
    other = await api.access_token("car-8", await api.register("car-8"))
    assert (await api.admin("POST", "/devices/car-7/revoke")).status_code == 204
    new = await api.access_token("car-7", secret)  # in the very second of the revocation
    away = await elsewhere(settings, store)
    assert [await accepted(app, token) for token in (old, other, new)] == [False, True, True]
    assert [await accepted_by(away, token) for token in (old, other, new)] == [False, True, True]


async def test_revoking_again_at_once_voids_what_was_made_in_between(api: AuthApi, app: FastAPI) -> None:
    secret = await api.register()
    await api.admin("POST", "/devices/car-7/revoke")
    between = await api.access_token("car-7", secret)
    await api.admin("POST", "/devices/car-7/revoke")
    assert not await accepted(app, between)
    assert await accepted(app, await api.access_token("car-7", secret))


async def test_a_deleted_device_is_refused_at_once_with_secret_and_token(
    api: AuthApi, settings: Settings, store: FilesystemStore
) -> None:
    secret = await api.register()
    token = await api.access_token("car-7", secret)
    assert (await api.admin("DELETE", "/devices/car-7")).status_code == 204
    assert (await api.token("car-7", secret)).status_code == 401
    assert not await accepted_by(await elsewhere(settings, store), token)
    assert_kind(await api.admin("GET", "/devices/car-7"), 404, "device-not-found")
    assert (await api.admin("GET", "/devices")).json()["devices"] == []


async def test_a_device_registered_again_cannot_use_its_former_life_and_can_begin_anew(
    api: AuthApi, app: FastAPI, settings: Settings, store: FilesystemStore
) -> None:
    secret = await api.register()
    former = await api.access_token("car-7", secret)
    await api.admin("DELETE", "/devices/car-7")
    again = await api.register()
    assert (await api.token("car-7", secret)).status_code == 401
    fresh = await api.access_token("car-7", again)
    away = await elsewhere(settings, store)
    for authn in (app.state.authn, away):
        assert not await accepted_by(authn, former)
        assert await accepted_by(authn, fresh)


async def test_a_delete_that_fails_half_way_leaves_no_valid_token(
    api: AuthApi, app: FastAPI, auth_dir: Path, store: FilesystemStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    token = await api.access_token("car-7", await api.register())

    async def crash(*_: object, **__: object) -> None:
        raise StoreUnavailable

    with monkeypatch.context() as broken:
        broken.setattr(store, "delete_many", crash)
        assert (await api.admin("DELETE", "/devices/car-7")).status_code == 503
    assert not await accepted(app, token)
    assert (await api.admin("DELETE", "/devices/car-7")).status_code == 204


async def test_tokens_made_while_a_slow_delete_goes_on_are_void(
    api: AuthApi, app: FastAPI, clock: ManualClock, store: FilesystemStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    secret = await api.register()
    made: list[str] = []
    delete_many = store.delete_many

    async def slow(keys: list[str]) -> None:
        clock.advance(20)
        made.append(await api.access_token("car-7", secret))
        await delete_many(keys)

    monkeypatch.setattr(store, "delete_many", slow)
    assert (await api.admin("DELETE", "/devices/car-7")).status_code == 204
    assert made
    assert not await accepted(app, made[0])


async def test_a_device_deleted_while_it_is_listed_is_left_out(
    api: AuthApi, store: FilesystemStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    await api.register("a")
    await api.register("b")
    listing = await store.list("devices/")
    await store.delete_many([device_key("a")])

    async def stale(*_: object, **__: object) -> object:
        return listing

    monkeypatch.setattr(store, "list", stale)
    page = (await api.admin("GET", "/devices")).json()
    assert [device["device_id"] for device in page["devices"]] == ["b"]


async def test_a_store_that_is_away_is_a_503(api: AuthApi, auth_dir: Path) -> None:
    secret = await api.register()
    take_away(auth_dir)
    assert_kind(await api.token("car-7", secret), 503, "store-unavailable")
    assert (await api.http.get("/livez")).status_code == 200


# -- many at once, and the admin


async def test_many_devices_are_revoked_by_one_call_and_one_write_of_the_list(
    api: AuthApi, app: FastAPI, store: FilesystemStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    secrets = {f"car-{n}": await api.register(f"car-{n}") for n in range(5)}
    tokens = {name: await api.access_token(name, secret) for name, secret in secrets.items()}
    written, put = list[str](), store.put

    async def counted(key: str, *more: Any, **named: Any) -> Any:
        written.append(key)
        return await put(key, *more, **named)

    monkeypatch.setattr(store, "put", counted)
    names = [*secrets, "never-was", "../up"]
    answer = await api.admin("POST", "/devices/revoke", json={"device_ids": [*names, "car-1", "../up"]})
    assert (answer.status_code, answer.json()) == (200, {"revoked": [*secrets], "unknown": ["never-was", "../up"]})
    assert written.count(REVOKED) == 1
    for name, token in tokens.items():
        with pytest.raises(Problem, match="revoked"):
            await app.state.authn.authenticate(f"Bearer {token}")
        again = await api.access_token(name, secrets[name])
        assert (await app.state.authn.authenticate(f"Bearer {again}")).subject == name


async def test_devices_that_are_forgotten_get_no_new_tokens(api: AuthApi, app: FastAPI) -> None:
    secrets = {f"car-{n}": await api.register(f"car-{n}") for n in range(3)}
    stolen = await api.access_token("car-0", secrets["car-0"])
    answer = await api.admin("POST", "/devices/revoke", json={"device_ids": [*secrets], "forget": True})
    assert answer.json() == {"revoked": [*secrets], "unknown": []}
    with pytest.raises(Problem, match="revoked"):
        await app.state.authn.authenticate(f"Bearer {stolen}")
    assert {(await api.token(name, secret)).status_code for name, secret in secrets.items()} == {401}
    answer = await api.admin("POST", "/devices/revoke", json={"device_ids": [*secrets], "forget": True})
    assert answer.json() == {"revoked": [], "unknown": [*secrets]}


NO_BOOLEAN = {"device_ids": ["car-7"], "forget": 1}


@pytest.mark.parametrize(
    "body", [{}, {"device_ids": []}, {"device_ids": "car-7"}, {"device_ids": ["x"] * 1001}, [], NO_BOOLEAN]
)
async def test_a_list_that_is_none_revokes_nothing(api: AuthApi, body: Any) -> None:
    assert (await api.admin("POST", "/devices/revoke", json=body)).status_code == 400


async def test_a_thousand_of_the_longest_ids_are_one_call(api: AuthApi) -> None:
    names = [f"{n:064}" for n in range(1000)]
    answer = await api.admin("POST", "/devices/revoke", json={"device_ids": names})
    assert answer.json() == {"revoked": [], "unknown": names}


@pytest.mark.parametrize("many", [True, False])
async def test_tokens_of_the_admin_can_be_revoked_and_new_ones_work(api: AuthApi, app: FastAPI, many: bool) -> None:
    token = await api.access_token("admin", ADMIN_SECRET)
    path, body = ("/devices/revoke", {"device_ids": ["admin"]}) if many else ("/devices/admin/revoke", None)
    headers = {"Authorization": f"Bearer {token}"}
    assert (await api.http.post(path, headers=headers, json=body)).status_code == (200 if many else 204)
    assert (await api.http.get("/devices", headers=headers)).status_code == 401
    assert (await api.admin("GET", "/devices")).status_code == 200


async def test_the_admin_is_no_device_and_is_not_deleted(api: AuthApi) -> None:
    answer = await api.admin("DELETE", "/devices/admin")
    assert answer.status_code == 404
    assert "client of the settings" in answer.json()["detail"]
    answer = await api.admin("POST", "/devices/revoke", json={"device_ids": ["admin"], "forget": True})
    assert answer.json() == {"revoked": ["admin"], "unknown": []}
    assert (await api.admin("GET", "/devices")).status_code == 200
