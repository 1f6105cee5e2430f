"""`hiper config check`: what is tried for each service. tests/e2e/test_policies.py has the rights on a real store."""

from pathlib import Path

import pytest

from libs.common.settings import Settings
from libs.common.wiring.checkup import check_connections
from libs.common.wiring.needs import Service

TRIED = {
    Service.INGEST: ["keys", "temp bucket", "perm bucket", "auth bucket"],
    Service.ASSEMBLER: ["temp bucket", "perm bucket"],
    Service.JANITOR: ["temp bucket", "perm bucket"],
    Service.AUTH: ["keys", "auth bucket"],
    Service.SERVE: ["keys", "temp bucket", "perm bucket", "auth bucket"],
}


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    places = {name: tmp_path / name for name in ("temp_upload_dir", "perm_upload_dir", "auth_dir")}
    return Settings.model_validate({"secret_key": "k" * 32, **places})


async def check(settings: Settings, service: Service, *, make: bool) -> dict[str, str]:
    return {found.name: found.trouble async for found in check_connections(settings, service, make=make)}


@pytest.mark.parametrize("service", Service)
async def test_each_service_has_tried_what_it_needs_at_its_start(settings: Settings, service: Service) -> None:
    assert await check(settings, service, make=True) == dict.fromkeys(TRIED[service], "")


@pytest.mark.parametrize("service", Service)
async def test_a_missing_bucket_is_named_and_can_be_left_missing(settings: Settings, service: Service) -> None:
    found = await check(settings, service, make=False)
    assert [name for name, trouble in found.items() if trouble] == [name for name in TRIED[service] if name != "keys"]
    assert not any(place.exists() for place in (settings.temp_upload_dir, settings.perm_upload_dir, settings.auth_dir))
