"""How far a file is."""

import asyncio
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import httpx
import pytest

from libs.common.settings import Settings
from services.ingest.app import build_app
from tests.unit.ingest.running import OWNER, park, reject, token_for
from tests.unit.ingest.talk import Device, accepted, refused

CONTENT = bytes(range(100))
FIELDS = {
    "filename",
    "owner",
    "status",
    "next_expected_byte",
    "last_updated",
    "total_size",
    "received_bytes",
    "missing_ranges",
    "missing_ranges_truncated",
    "content_type",
    "labels",
    "parks_at",
    "session",
    "version",
    "waiting_for",
}


async def test_it_tells_what_is_there_and_what_is_missing(device: Device) -> None:
    session = accepted(await device.chunk("a.json", CONTENT, 0, 20))["session"]
    accepted(await device.chunk("a.json", CONTENT, 50, 60))
    answer = await device.status("a.json")
    status = accepted(answer)
    updated, parks = (datetime.fromisoformat(status.pop(name)) for name in ("last_updated", "parks_at"))
    assert datetime.now(UTC) - updated < timedelta(seconds=10)
    assert parks - updated == timedelta(hours=1)
    assert status.pop("version")
    assert status == {
        "filename": "a.json",
        "owner": OWNER,
        "status": "pending",
        "next_expected_byte": 20,
        "total_size": 100,
        "received_bytes": 30,
        "missing_ranges": [[20, 50], [60, 100]],
        "missing_ranges_truncated": False,
        "content_type": "application/json",
        "labels": {},
        "session": session,
        "waiting_for": "device",
    }
    assert answer.headers["cache-control"] == "no-store"


async def test_of_a_complete_file_nothing_is_missing(device: Device) -> None:
    session = await device.upload("a", CONTENT)
    status = accepted(await device.status("a"))
    assert set(status) == FIELDS
    assert (status["status"], status["session"], status["missing_ranges"]) == ("complete", session, [])
    assert status["next_expected_byte"] == status["received_bytes"] == status["total_size"] == 100
    assert (status["waiting_for"], status["parks_at"]) == (None, None)


async def test_a_partial_file_keeps_its_session_and_can_be_resumed(device: Device, settings: Settings) -> None:
    await park(settings, "a", CONTENT, (0, 20), (50, 60))
    answer = await device.status("a")
    status = accepted(answer)
    assert set(status) == FIELDS
    assert (status["status"], status["next_expected_byte"]) == ("partial", 20)
    assert (status["received_bytes"], status["missing_ranges"]) == (30, [[20, 50], [60, 100]])
    assert answer.headers["etag"] == f'"{status["session"]}"'
    assert (status["waiting_for"], status["parks_at"]) == ("device", None)

    pin = {"If-Match": answer.headers["etag"]}
    assert accepted(await device.chunk("a", CONTENT, 20, 50, pin))["next_expected_byte"] == 60
    resumed = accepted(await device.status("a"))
    assert (resumed["status"], resumed["missing_ranges"]) == ("pending", [[60, 100]])
    assert accepted(await device.chunk("a", CONTENT, 60, 100, pin))["next_expected_byte"] == 100
    await device.completed("a")
    assert (await device.get("a")).content == CONTENT


async def test_every_change_gives_the_status_another_version(device: Device, settings: Settings) -> None:
    await park(settings, "a", CONTENT, (0, 20))
    seen = [accepted(await device.status("a"))["version"]]
    for start, end in ((20, 30), (40, 50), (25, 35), (60, 61)):
        accepted(await device.chunk("a", CONTENT, start, end))
        seen.append(accepted(await device.status("a"))["version"])
        assert accepted(await device.status("a"))["version"] == seen[-1]
    accepted(await device.chunk("a", CONTENT, 30, 100))
    seen.append((await device.completed("a"))["version"])
    assert len(set(seen)) == len(seen)


async def test_a_file_of_which_all_bytes_are_there_waits_for_the_assembler(settings: Settings) -> None:
    app = build_app(settings)  # ingest by itself
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test") as http,
    ):
        device = Device(http, token_for(settings))
        accepted(await device.chunk("a", CONTENT, 0, 50))
        accepted(await device.chunk("a", CONTENT, 50, 100))
        status = accepted(await device.status("a"))
    assert (status["status"], status["waiting_for"], status["parks_at"]) == ("pending", "assembler", None)


async def test_of_a_rejected_upload_the_problem_says_what_it_waits_for(device: Device, settings: Settings) -> None:
    await reject(settings, "a", CONTENT)
    assert refused(await device.status("a"), 410, "file-rejected")["waiting_for"] == "Wrong digest."


async def test_a_partial_file_keeps_its_size_and_its_bytes(device: Device, settings: Settings) -> None:
    await park(settings, "a", CONTENT, (0, 20))
    other_size = await device.chunk("a", CONTENT + b"x", 20, 30)
    assert other_size.json()["existing_total_size"] == 100
    assert (await device.chunk("a", bytes(100), 10, 30)).json()["type"] == "urn:hiper:problem:content-conflict"
    assert (await device.get("a", {"Range": "bytes=0-"})).content == CONTENT[:20]


async def test_last_updated_moves_forward_with_every_chunk(device: Device) -> None:
    seen = []
    for at in range(0, 100, 20):
        accepted(await device.chunk("a", CONTENT, at, at + 20))
        if at < 80:
            seen.append(datetime.fromisoformat(accepted(await device.status("a"))["last_updated"]))
        await asyncio.sleep(0.02)
    seen.append(datetime.fromisoformat((await device.completed("a"))["last_updated"]))
    assert all(earlier < later for earlier, later in pairwise(seen))


async def test_last_updated_does_not_go_back_when_a_part_is_assembled(device: Device, settings: Settings) -> None:
    part, content = 8 * 2**20, bytes(9 * 2**20)
    accepted(await device.chunk("a", content, 0, part))
    before = datetime.fromisoformat(accepted(await device.status("a"))["last_updated"])
    uploads = settings.perm_upload_dir / ".hiper" / "multipart"
    async with asyncio.timeout(10):
        while not any(file.stat().st_size for file in uploads.glob("*/parts")):  # noqa: ASYNC110  # a file sets no event
            await asyncio.sleep(0.02)
    status = accepted(await device.status("a"))
    assert status["next_expected_byte"] == part
    assert datetime.fromisoformat(status["last_updated"]) >= before


@pytest.mark.parametrize(("gaps", "truncated"), [(100, False), (101, True)])
async def test_of_many_missing_ranges_the_first_hundred_are_told(device: Device, gaps: int, truncated: bool) -> None:
    content = bytes(2 * gaps)
    answers = await asyncio.gather(*(device.raw("a", content, at, at + 1) for at in range(0, 2 * gaps, 2)))
    assert {answer.status_code for answer in answers} == {200}
    status = accepted(await device.status("a"))
    assert status["missing_ranges"] == [[at, at + 1] for at in range(1, 2 * gaps, 2)][:100]
    assert status["missing_ranges_truncated"] == truncated
    assert status["received_bytes"] == gaps
