"""What GET /devices shows of a device and its record does not hold: what the janitor saw at its last look."""

from pathlib import Path

import pytest

from libs.common.fleet.rows import DeviceRow
from libs.common.fleet.store import save
from libs.common.fleet.tables import DEVICES, Table
from libs.common.security.allowance import Allowance
from libs.common.settings import Settings
from libs.common.storage import Buckets
from services.auth.glances import FRESH, Glances
from services.auth.models import Device
from tests.unit.auth.talk import ADMIN_SECRET, AuthApi
from tests.unit.clocks import ManualClock
from tests.unit.keyrings import SECRET, plain_settings
from tests.uploads.hooked_store import Hooks

ROW = DeviceRow("car-7", 1_800_000_000.0, 1_700_000_000.0, "quota-exceeded: full", "default", 2, 500)
NOTHING = {"last_seen": None, "last_refusal": None}


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    files = {"temp_upload_dir": tmp_path / "temp", "perm_upload_dir": tmp_path / "perm"}
    limits = {"default": Allowance(stored_bytes=1000)}
    return plain_settings(secret_key=SECRET, admin_secret=ADMIN_SECRET, limits_classes=limits, **files)


def of_table(device: dict[str, object]) -> dict[str, object]:
    names = ("last_seen", "last_refusal", "uploads_open", "bytes_stored", "bytes_allowed")
    return {name: device[name] for name in names}


async def shown(api: AuthApi, device: str = "car-7") -> dict[str, object]:
    return of_table((await api.admin("GET", f"/devices/{device}")).json())


@pytest.fixture
async def api(api: AuthApi) -> AuthApi:
    await api.register("car-7")
    return api


async def test_a_device_is_shown_with_what_the_table_says(api: AuthApi, files: Buckets) -> None:
    await save(files.perm, DEVICES, Table(ROW.last_seen, [ROW], 1.0), replaces="")
    assert await shown(api) == {
        "last_seen": "2027-01-15T08:00:00Z",
        "last_refusal": {"when": "2023-11-14T22:13:20Z", "why": "quota-exceeded: full"},
        "uploads_open": 2,
        "bytes_stored": 500,
        "bytes_allowed": 1000,
    }
    page = (await api.admin("GET", "/devices")).json()
    assert [of_table(device) for device in page["devices"]] == [await shown(api)]


async def test_a_device_that_never_came_has_nothing(api: AuthApi, files: Buckets) -> None:
    await save(files.perm, DEVICES, Table(ROW.last_seen, [ROW], 1.0), replaces="")
    await api.register("car-8")
    assert await shown(api, "car-8") == NOTHING | {"uploads_open": 0, "bytes_stored": 0, "bytes_allowed": 1000}


async def test_without_a_table_nothing_is_known_but_what_is_allowed(api: AuthApi) -> None:
    assert await shown(api) == NOTHING | {"uploads_open": None, "bytes_stored": None, "bytes_allowed": 1000}


async def test_a_damaged_table_hides_no_device(api: AuthApi, files: Buckets) -> None:
    await files.perm.put(DEVICES.key, b"damaged")
    assert await shown(api) == NOTHING | {"uploads_open": None, "bytes_stored": None, "bytes_allowed": 1000}


async def test_however_many_ask_the_table_is_asked_for_once_in_five_seconds(
    files: Buckets, clock: ManualClock, api: AuthApi
) -> None:
    await save(files.perm, DEVICES, Table(ROW.last_seen, [ROW], 1.0), replaces="")
    hooks = Hooks()
    glances = Glances(hooks.over(files).perm, {}, clock)
    device = Device.model_validate((await api.admin("GET", "/devices/car-7")).json() | {"secrets": []})
    for _ in range(3):
        assert (await glances.at([device]))[0].uploads_open == 2
    assert len(hooks.calls) == 1
    clock.advance(FRESH)
    hooks.fail("fetch")
    assert (await glances.at([device]))[0].uploads_open is None
    assert len(hooks.calls) == 2
