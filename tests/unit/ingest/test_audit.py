"""What ingest writes into the audit trail: publishing, and what is done to the files of others."""

import httpx

from libs.common.settings import Settings
from tests.unit.ingest.running import token_for
from tests.unit.ingest.talk import Device, accepted
from tests.unit.trail import audited


def operator(http: httpx.AsyncClient, settings: Settings, *scopes: str) -> Device:
    return Device(http, token_for(settings, "ops-1", " ".join(scopes)))


async def test_a_device_with_its_own_files_and_those_of_the_fleet_makes_no_line(
    device: Device, http: httpx.AsyncClient, settings: Settings
) -> None:
    publisher = operator(http, settings, "fleet:write")
    accepted(await publisher.chunk("map.bin", b"abc", 0, 2, owner="fleet"))
    with audited() as lines:
        accepted(await device.chunk("drive.bin", b"hello", 0, 4))
        await device.ask("GET", "/files")
        await device.ask("GET", "/files", params={"owner": "fleet"})
        for name, owner in (("drive.bin", "car-7"), ("map.bin", "fleet")):
            got = await device.ask("GET", f"/files/{name}", params={"owner": owner}, headers={"Range": "bytes=0-1"})
            assert got.status_code == 206
        assert (await device.ask("DELETE", "/files/drive.bin")).status_code == 204
    assert lines == []


async def test_publishing_makes_one_line_for_an_upload(http: httpx.AsyncClient, settings: Settings) -> None:
    publisher = operator(http, settings, "fleet:write")
    with audited() as lines:
        for start in range(3):
            answer = accepted(await publisher.chunk("map.bin", b"abc", start, start + 1, owner="fleet"))
    (line,) = lines
    assert line.items() >= {"event": "fleet_published", "actor": "ops-1", "file": "map.bin"}.items()
    assert line["session"] == answer["session"]


async def test_reading_the_file_of_another_is_recorded(
    device: Device, http: httpx.AsyncClient, settings: Settings
) -> None:
    accepted(await device.chunk("drive.bin", b"hello", 0, 3))
    reader = operator(http, settings, "fleet:read")
    with audited() as lines:
        await reader.ask("GET", "/files", params={"owner": "car-7"})
        answer = await reader.ask("GET", "/files/drive.bin", params={"owner": "car-7"}, headers={"Range": "bytes=0-1"})
    assert answer.status_code == 206
    assert [(line["event"], line["actor"], line["owner"]) for line in lines] == [
        ("foreign_files_listed", "ops-1", "car-7"),
        ("foreign_file_read", "ops-1", "car-7"),
    ]


async def test_deleting_what_is_not_ones_own_is_recorded_with_its_outcome(
    http: httpx.AsyncClient, settings: Settings
) -> None:
    publisher = operator(http, settings, "fleet:write")
    accepted(await publisher.chunk("map.bin", b"abc", 0, 1, owner="fleet"))
    with audited() as lines:
        for name in ("map.bin", "nothing.bin"):
            await publisher.ask("DELETE", f"/files/{name}", params={"owner": "fleet"})
    assert [(line["event"], line["owner"], line["file"], line["outcome"]) for line in lines] == [
        ("foreign_file_deleted", "fleet", "map.bin", "success"),
        ("foreign_file_deleted", "fleet", "nothing.bin", "refused"),
    ]


async def test_what_a_token_does_not_allow_is_recorded(device: Device) -> None:
    with audited() as lines:
        await device.ask("GET", "/files", params={"owner": "car-8"})
        await device.chunk("map.bin", b"abc", 0, 1, owner="fleet")
    assert [(line["event"], line["actor"]) for line in lines] == [("access_refused", "car-7")] * 2
    assert "fleet:read" in lines[0]["reason"]


async def test_a_look_at_all_uploads_makes_one_line_an_hour(http: httpx.AsyncClient, settings: Settings) -> None:
    reader = operator(http, settings, "fleet:read")
    with audited() as lines:
        for owner in ({}, {}, {"owner": "car-7"}, {"owner": "car-7"}, {"owner": "fleet"}):
            accepted(await reader.ask("GET", "/uploads", params=owner))
    told = [(line["event"], line["actor"], line["owner"]) for line in lines]
    assert told == [("foreign_files_listed", "ops-1", "*"), ("foreign_files_listed", "ops-1", "car-7")]
