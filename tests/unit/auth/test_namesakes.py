"""Ids that people take for one another are not registered."""

import pytest

from libs.common.storage import Listing
from libs.common.storage.filesystem import FilesystemStore
from libs.common.uploads.layout import DEVICES, device_key
from services.auth.namesakes import looks_reserved, namesake
from tests.unit.auth.talk import AuthApi

ALIKE = [
    "Fleet",
    "FLEET",
    "f1eet",
    "fIeet",
    "Admin",
    "ADMIN",
    "adm1n",
    "admln",
    "adrnin",
    "ad-min",
    "admin.",
    "Helm-Test",
]


@pytest.mark.parametrize("device_id", ALIKE)
async def test_what_looks_like_a_reserved_id_is_refused(api: AuthApi, device_id: str) -> None:
    answer = await api.admin("POST", "/devices", json={"device_id": device_id})
    assert answer.status_code == 400
    assert "looks like 'fleet', 'admin' or 'helm-test'" in answer.json()["detail"]


@pytest.mark.parametrize("device_id", ["fleet-7", "admin2", "administrator", "feet", "Car-7", "0", "WVWZZZ1JZXW000001"])
def test_what_only_resembles_one_is_taken(device_id: str) -> None:
    assert not looks_reserved(device_id)


async def test_the_second_of_two_ids_that_differ_in_case_is_refused(api: AuthApi) -> None:
    await api.register("Car-7")
    for second in ("car-7", "CAR-7", "cAR-7"):
        answer = await api.admin("POST", "/devices", json={"device_id": second})
        assert (answer.status_code, answer.json()["type"]) == (409, "urn:hiper:problem:device-exists")
        assert "There is a device 'Car-7', which differs in case alone" in answer.json()["detail"]
    await api.register("car-70")
    await api.admin("DELETE", "/devices/Car-7")
    await api.register("car-7")


@pytest.mark.parametrize("old", ["Fleet", "ADMIN", "Car-7"])
async def test_ids_that_were_registered_before_go_on_working(api: AuthApi, store: FilesystemStore, old: str) -> None:
    secret = await api.register("car-7")
    body = b"".join([block async for block in _blocks(store)]).replace(b"car-7", old.encode())
    await store.put(device_key(old), body)
    assert (await api.token(old, secret)).status_code == 200
    assert (await api.admin("POST", f"/devices/{old}/secret")).status_code == 200
    assert (await api.admin("DELETE", f"/devices/{old}")).status_code == 204


async def _blocks(store: FilesystemStore):  # type: ignore[no-untyped-def]
    async with store.get(device_key("car-7")) as blocks:
        async for block in blocks:
            yield block


async def test_a_namesake_is_found_among_many_by_few_listings(
    store: FilesystemStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    for n in range(300):
        await store.put(device_key(f"VIN-{n:05}"), b"")
    await store.put(device_key("VIN-00007-x"), b"")
    listings, whole = list[str](), store.list

    async def counted(prefix: str, *, start_after: str = "", limit: int = 1000) -> Listing:
        listings.append(prefix.removeprefix(DEVICES))
        return await whole(prefix, start_after=start_after, limit=min(limit, 4))

    monkeypatch.setattr(store, "list", counted)
    for device_id, found in (
        ("vin-00007", "VIN-00007"),
        ("VIN-00299", None),
        ("Vin-00007-X", "VIN-00007-x"),
        ("vin-99999", None),
    ):
        listings.clear()
        assert await namesake(store, device_id) == found
        assert len(listings) <= 2 * len(device_id) + 2
    assert await namesake(store, "VIN-00007-x") is None
