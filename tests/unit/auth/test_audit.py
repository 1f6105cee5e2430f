"""What auth writes into the audit trail: who did what to which device, from where, and with which outcome."""

from dataclasses import replace
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from structlog.testing import capture_logs

from libs.common.settings import MIN_SECRET_BYTES, Settings
from libs.common.storage import StoreUnavailable
from libs.common.storage.filesystem import FilesystemStore
from libs.common.uploads.layout import device_key
from tests.unit.auth.talk import ADMIN_SECRET, AuthApi
from tests.unit.metrics import growth
from tests.unit.trail import audited

BY_ADMIN = {"actor": "admin", "address": "127.0.0.1", "outcome": "success", "reason": ""}


def only(lines: list[dict[str, Any]]) -> dict[str, Any]:
    (line,) = lines
    return line


async def test_registering_says_who_what_and_which_device(api: AuthApi) -> None:
    with audited() as lines:
        await api.register("car-7", scopes=["files:write", "files:read"])
    assert only(lines).items() >= BY_ADMIN.items()
    assert only(lines).items() >= {"event": "device_registered", "device": "car-7", "device_class": "default"}.items()
    assert only(lines)["scopes"] == ["files:read", "files:write"]
    assert only(lines)["request"] == "POST /devices"


@pytest.mark.parametrize(
    ("method", "path", "says"),
    [
        ("POST", "/secret", {"event": "secret_renewed", "old_refused": False}),
        ("POST", "/secret?revoke_old=true", {"event": "secret_renewed", "old_refused": True}),
        ("POST", "/revoke", {"event": "tokens_revoked"}),
        (
            "DELETE",
            "",
            {"event": "device_deleted", "old_scopes": ["files:read", "files:write"], "old_class": "default"},
        ),
    ],
)
async def test_changes_of_a_device_say_who_and_what(api: AuthApi, method: str, path: str, says: dict[str, Any]) -> None:
    await api.register("car-7")
    with audited() as lines:
        await api.admin(method, f"/devices/car-7{path}")
    assert only(lines).items() >= {**BY_ADMIN, **says, "device": "car-7"}.items()


async def revoked_together(api: AuthApi, *device_ids: str, forget: bool = False) -> list[tuple[str, str, str]]:
    """The lines of one call: event, device, outcome."""
    with audited() as lines:
        await api.admin("POST", "/devices/revoke", json={"device_ids": device_ids, "forget": forget})
    assert {line["actor"] for line in lines} == {"admin"}
    return [(line["event"], line["device"], line["outcome"]) for line in lines]


async def test_revoking_many_makes_a_line_for_each_id_those_of_no_device_too(api: AuthApi) -> None:
    await api.register("car-7")
    assert await revoked_together(api, "car-7", "car-8", "admin") == [
        ("tokens_revoked", "car-7", "success"),
        ("tokens_revoked", "admin", "success"),
        ("tokens_revoked", "car-8", "refused"),
    ]


async def test_forgetting_many_says_which_were_deleted(api: AuthApi, store: FilesystemStore) -> None:
    for device_id in ("car-7", "car-9"):
        await api.register(device_id)
    await store.put(device_key("car-9"), b"damaged")
    lines = await revoked_together(api, "car-7", "car-8", "car-9", forget=True)
    assert [line for line in lines if line[0] != "device_damaged"] == [
        ("tokens_revoked", "car-7", "success"),
        ("tokens_revoked", "car-9", "success"),
        ("tokens_revoked", "car-8", "refused"),
        ("device_deleted", "car-7", "success"),
        ("device_deleted", "car-9", "success"),
    ]


async def test_another_class_is_recorded_with_the_one_before(app: FastAPI, api: AuthApi) -> None:
    await api.register("car-7")
    app.state.auth = replace(app.state.auth, classes={"default", "truck"})
    with audited() as lines:
        await api.admin("PATCH", "/devices/car-7", json={"device_class": "truck"})
    says = {"event": "device_reclassified", "device": "car-7", "old_class": "default", "new_class": "truck"}
    assert only(lines).items() >= {**BY_ADMIN, **says}.items()


async def test_what_was_refused_is_recorded_as_refused(api: AuthApi) -> None:
    await api.register("car-7")
    with audited() as lines:
        await api.admin("POST", "/devices", json={"device_id": "car-7"})
        await api.admin("DELETE", "/devices/car-8")
    assert [(line["event"], line["device"], line["outcome"]) for line in lines] == [
        ("device_registered", "car-7", "refused"),
        ("device_deleted", "car-8", "refused"),
    ]
    assert [line["reason"].partition(":")[0] for line in lines] == ["device-exists", "device-not-found"]


async def test_what_broke_off_may_have_been_done(
    api: AuthApi, store: FilesystemStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    await api.register("car-7")

    async def away(*_args: object, **_kwargs: object) -> None:
        raise StoreUnavailable("the store is away")

    monkeypatch.setattr(FilesystemStore, "delete_many", away)
    with audited() as lines:
        await api.admin("DELETE", "/devices/car-7")
    assert only(lines).items() >= {"event": "device_deleted", "outcome": "unknown"}.items()
    assert await revoked_together(api, "car-7", "car-8", forget=True) == [
        ("tokens_revoked", "car-7", "unknown"),
        ("tokens_revoked", "car-8", "unknown"),
    ]


async def test_a_token_says_to_whom_and_for_what(api: AuthApi) -> None:
    secret = await api.register("car-7")
    with capture_logs() as lines:
        await api.access_token("car-7", secret, scope="files:read")
    says = {"event": "token_issued", "actor": "car-7", "outcome": "success", "device_class": "default"}
    line = next(line for line in lines if line["event"] == "token_issued")
    assert line.items() >= says.items()
    assert line["scopes"] == ["files:read"]


async def test_a_failed_login_says_from_where_and_why(api: AuthApi) -> None:
    await api.register("car-7")
    with audited() as lines:
        await api.token("car-7", "wrong")
        await api.token("never-was", "wrong")
        await api.token("admin", "wrong")
    says = {"event": "authentication_failed", "address": "127.0.0.1", "outcome": "refused"}
    assert all(line.items() >= says.items() for line in lines)
    assert [line["actor"] for line in lines] == ["car-7", "never-was", "admin"]
    assert all(line["reason"].startswith("invalid-client: ") for line in lines)


async def test_a_guess_beyond_the_limit_is_recorded_as_a_failed_login(api: AuthApi, settings: Settings) -> None:
    for _ in range(settings.token_failures_per_client):
        await api.token("car-7", "wrong")
    with audited() as lines:
        await api.token("car-7", "wrong")
    assert only(lines).items() >= {"event": "authentication_failed", "actor": "car-7", "outcome": "refused"}.items()
    assert only(lines)["reason"].startswith("too-many-requests: ")


async def test_every_line_is_counted_for_the_alerts(api: AuthApi) -> None:
    with growth("hiper_audit_events_total", event="authentication_failed", outcome="refused") as counted:
        for _ in range(3):
            await api.token("car-7", "wrong")
    assert counted.by == 3


async def test_every_way_to_fail_at_the_login_is_recorded(api: AuthApi) -> None:
    secret = await api.register("car-7")
    with audited() as lines:
        await api.http.post("/token", data={"grant_type": "client_credentials"})
        await api.http.post("/token", data={"grant_type": "client_credentials"}, headers={"Authorization": "Basic ?"})
        await api.token("car-7", secret, scope="admin")
    assert [line["event"] for line in lines] == ["authentication_failed", "authentication_failed", "access_refused"]


async def test_a_device_that_swaps_id_and_secret_has_neither_in_the_log(api: AuthApi) -> None:
    secret = await api.register("car-7")
    with capture_logs() as everything:
        await api.token(secret, "car-7")
        await api.token(ADMIN_SECRET, "admin")
    assert secret not in str(everything)
    assert ADMIN_SECRET not in str(everything)
    assert {line["actor"] for line in everything if "actor" in line} == {"unknown"}


async def test_a_long_id_is_shown_once_it_proves_to_be_registered(api: AuthApi) -> None:
    long = "d" * MIN_SECRET_BYTES
    with audited() as before:
        await api.token(long, "wrong")
    await api.register(long)
    with audited() as after:
        await api.token(long, "wrong")
    assert [only(before)["actor"], only(after)["actor"]] == ["unknown", long]


@pytest.mark.parametrize("name", ["\x1b[2J", "a\nforged line", "a" * 5_000, "{}", "../admin", "a\u202eb"])
async def test_a_failed_login_writes_no_text_of_its_choice(api: AuthApi, name: str) -> None:
    with audited() as lines:
        await api.token(name, "wrong")
    assert only(lines)["actor"] == "unknown"
    assert len(str(only(lines))) < 1000


async def test_a_refused_request_says_why(api: AuthApi) -> None:
    secret = await api.register("car-7")
    token = await api.access_token("car-7", secret)
    with audited() as lines:
        await api.http.get("/devices", headers={"Authorization": f"Bearer {token}"})
        await api.http.get("/devices", headers={"Authorization": "Bearer nonsense"})
        await api.http.get("/devices")
    assert [(line["event"], line["actor"], line["reason"].partition(":")[0]) for line in lines] == [
        ("access_refused", "car-7", "forbidden"),
        ("access_refused", "unknown", "unauthorized"),
        ("access_refused", "unknown", "unauthorized"),
    ]


@pytest.mark.parametrize(
    ("peer", "shown"), [("::ffff:192.0.2.7", "192.0.2.7"), ("2001:DB8::1", "2001:db8::1"), ("\x1b]0;x", "unknown")]
)
async def test_an_address_is_an_address(app: FastAPI, peer: str, shown: str) -> None:
    transport = httpx.ASGITransport(app, client=(peer, 4711))
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
        with audited() as lines:
            await AuthApi(client).token("car-7", "wrong")
    assert only(lines)["address"] == shown


async def test_nothing_else_is_called_a_security_event(api: AuthApi) -> None:
    with audited() as lines:
        await api.admin("GET", "/devices")
        await api.admin("GET", "/devices/car-7")
        await api.http.get("/nowhere")
    assert lines == []
