"""A record of a device that somebody damaged concerns that device alone, and the operator is told."""

import json
from typing import Any

import pytest

from libs.common.storage.filesystem import FilesystemStore
from libs.common.uploads.layout import device_key
from tests.unit.auth.talk import AuthApi
from tests.unit.damage import DAMAGED
from tests.unit.trail import audited

HASH = {"salt": "00" * 16, "hash": "00" * 32, "expires_at": None}
WHOLE = {
    "device_id": "car-7",
    "scopes": ["files:read"],
    "created_at": "2026-01-01T00:00:00Z",
    "secrets": [HASH],
    "tokens_from": 0,
}
WRONG: dict[str, dict[str, Any]] = {
    "another device's": {"device_id": "car-8"},
    "no scope": {"scopes": ["everything"]},
    "a salt that is not hex": {"secrets": [HASH | {"salt": "zz"}]},
    "a hash that is no ASCII": {"secrets": [HASH | {"hash": "ä" * 64}]},
    "a secret without end": {"secrets": [HASH | {"expires_at": float("inf")}]},
    "tokens of no year": {"tokens_from": 10**30},
    "a class that cannot be": {"device_class": "a b"},
    "no list": {"secrets": 7},
}
BODIES = DAMAGED | {name: json.dumps(WHOLE | change).encode() for name, change in WRONG.items()}
BODIES["huge"] = b" " * 3_000_000


@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES.keys())
async def test_it_ends_nothing_and_can_be_revoked_and_deleted(
    api: AuthApi, store: FilesystemStore, body: bytes
) -> None:
    secret = await api.register("car-7")
    other = await api.register("car-9")
    await store.put(device_key("car-7"), body)

    with audited() as trail:
        refused = await api.token("car-7", secret)
        await api.token("car-7", secret)
    assert [line["device"] for line in trail if line["event"] == "device_damaged"] == ["car-7"]
    assert (refused.status_code, refused.json()["type"]) == (503, "urn:hiper:problem:device-damaged")
    assert "retry-after" in refused.headers
    assert (await api.token("car-9", other)).status_code == 200
    assert (await api.admin("GET", "/devices/car-7")).json()["type"] == "urn:hiper:problem:device-damaged"
    page = (await api.admin("GET", "/devices")).json()
    assert ([device["device_id"] for device in page["devices"]], page["damaged"]) == (["car-9"], ["car-7"])

    revoked = await api.admin("POST", "/devices/revoke", json={"device_ids": ["car-9", "car-7", "car-1"]})
    assert (sorted(revoked.json()["revoked"]), revoked.json()["unknown"]) == (["car-7", "car-9"], ["car-1"])
    assert (await api.admin("DELETE", "/devices/car-7")).status_code == 204
    assert (await api.admin("GET", "/devices")).json()["damaged"] == []
    await api.register("car-7")


async def test_foreign_objects_among_the_devices_stop_no_listing(api: AuthApi, store: FilesystemStore) -> None:
    for name in ("README", "a/b.json", "0.txt", "ä.json", f"{'9' * 100}.json", "admin"):
        await store.put(f"devices/{name}", b"what")
    for number in range(3):
        await api.register(f"car-{number}")
    found, after = list[str](), ""
    while after is not None:
        page = (await api.admin("GET", "/devices", params={"limit": 1, "after": after})).json()
        found += [device["device_id"] for device in page["devices"]]
        after = page["next"]
    assert found == ["car-0", "car-1", "car-2"]
