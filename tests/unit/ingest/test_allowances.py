"""What a device may use: LIMITS_CLASSES, LIMITS_FLEET, MAX_REQUESTS_IN_FLIGHT."""

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from structlog.testing import capture_logs

from libs.common.security.rates import Rates, window
from libs.common.security.tokens import TokenIssuer
from libs.common.settings import Settings
from services.embedded.app import build_app
from tests.unit.ingest.running import OWNER, make_settings, park, token_for
from tests.unit.ingest.talk import CountedBody, Device, accepted, framed, refused
from tests.unit.shared_storage import SharedStorage

CONTENT = bytes(range(250)) * 4


@asynccontextmanager
async def running(settings: Settings) -> AsyncIterator[httpx.AsyncClient]:
    app = build_app(settings)
    transport = httpx.ASGITransport(app)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=transport, base_url="http://test") as client,
    ):
        yield client


@asynccontextmanager
async def limited(directory: Path, allowance: dict[str, Any], **more: Any) -> AsyncIterator[Device]:
    """A device of the class `default` with this allowance."""
    settings = make_settings(directory, limits_classes={"default": allowance}, **more)
    async with running(settings) as client:
        yield Device(client, token_for(settings))


def of_class(settings: Settings, device_class: str, subject: str = OWNER) -> str:
    scopes = ["files:read", "files:write"]
    return TokenIssuer(settings).issue(subject, scopes, device_class=device_class).encoded


# -- requests


async def test_a_device_over_its_rate_gets_429_and_when_to_come_back(tmp_path: Path) -> None:
    async with limited(tmp_path, {"requests_per_second": 0.1, "request_burst": 3}) as device:
        for _ in range(3):
            accepted(await device.ask("GET", "/files"))
        problem = refused(await device.ask("GET", "/files"), 429, "too-many-requests")
        assert problem["limit"] == "requests"


async def test_the_refusal_comes_before_a_byte_of_the_body_is_read(tmp_path: Path) -> None:
    async with limited(tmp_path, {"requests_per_second": 0.1}) as device:
        await device.ask("GET", "/files")
        body = CountedBody([framed(CONTENT)])
        refused(await device.post("a", len(CONTENT), body), 429, "too-many-requests")
        assert body.taken == 0


async def test_answers_tell_what_is_left(tmp_path: Path) -> None:
    async with limited(tmp_path, {"requests_per_second": 0.1, "request_burst": 3, "concurrent_requests": 2}) as device:
        answers = [await device.ask("GET", "/files/none/status") for _ in range(4)]
    policy = '"requests";q=3;qu="requests";w=30, "concurrency";q=2;qu="concurrent-requests"'
    assert [answer.headers["RateLimit-Policy"] for answer in answers] == [policy] * 4
    states = [re.fullmatch(r'"requests";r=(\d+);t=(\d+)', answer.headers["RateLimit"]) for answer in answers]
    assert [state and state[1] for state in states] == ["2", "1", "0", "0"]
    assert [answer.status_code for answer in answers] == [404, 404, 404, 429]


async def test_without_limits_answers_say_nothing_of_them(device: Device) -> None:
    answer = await device.ask("GET", "/files")
    assert not [name for name in answer.headers if name.startswith("ratelimit")]


async def test_each_device_has_its_own_rate_and_all_share_that_of_the_fleet(tmp_path: Path) -> None:
    own, fleet = {"requests_per_second": 0.1, "request_burst": 2}, {"requests_per_second": 0.1, "request_burst": 3}
    settings = make_settings(tmp_path, limits_classes={"default": own}, limits_fleet=fleet)
    async with running(settings) as client:
        first, second = (Device(client, token_for(settings, name)) for name in ("car-1", "car-2"))
        for device in (first, first, second):
            accepted(await device.ask("GET", "/files"))
        problem = refused(await second.ask("GET", "/files"), 429, "too-many-requests")
        assert problem["limit"] == "fleet-requests"
        assert refused(await first.ask("GET", "/files"), 429, "too-many-requests")["limit"] == "requests"


async def test_the_class_of_the_token_says_which_limits_count(tmp_path: Path) -> None:
    classes = {"default": {"requests_per_second": 0.1}, "truck": {}}
    settings = make_settings(tmp_path, limits_classes=classes)
    async with running(settings) as client:
        for device_class, status in (("truck", 200), ("default", 429), ("unknown", 429)):
            device = Device(client, of_class(settings, device_class, device_class))
            await device.ask("GET", "/files")
            assert (await device.ask("GET", "/files")).status_code == status


# -- bytes


async def test_uploaded_bytes_are_counted_before_they_are_read(tmp_path: Path) -> None:
    async with limited(tmp_path, {"bytes_per_second": 100}, max_chunk_size=1000, max_file_size=10_000) as device:
        for start in (0, 300, 600):
            accepted(await device.raw("a", CONTENT, start, start + 300))
        body = CountedBody([framed(CONTENT, 0, 300)])
        problem = refused(
            await device.post("a", len(CONTENT), body, {"Content-Length": "309"}), 429, "too-many-requests"
        )
        assert (problem["limit"], body.taken) == ("bytes", 0)
        accepted(await device.ask("GET", "/files"))


async def test_the_largest_chunk_gets_through_however_low_the_rate(tmp_path: Path) -> None:
    async with limited(tmp_path, {"bytes_per_second": 1}, max_chunk_size=1000, max_file_size=10_000) as device:
        accepted(await device.chunk("a", CONTENT))


async def test_downloads_are_slowed_down_not_refused(tmp_path: Path) -> None:
    content = bytes(600_000)
    async with limited(tmp_path, {"bytes_per_second": 1_000_000}) as device:
        await device.upload("a", content)
        began = asyncio.get_running_loop().time()
        for _ in range(2):
            assert (await device.ask("GET", "/files/a")).content == content
        assert asyncio.get_running_loop().time() - began > 0.3


# -- requests under way


class SlowBody:
    """A body of which the last byte comes when `finish` is set."""

    def __init__(self) -> None:
        self.begun, self.finish = asyncio.Event(), asyncio.Event()

    async def __aiter__(self) -> AsyncIterator[bytes]:
        body = framed(CONTENT)
        self.begun.set()
        yield body[:-1]
        await self.finish.wait()
        yield body[-1:]


@asynccontextmanager
async def uploading(device: Device, filename: str) -> AsyncIterator[None]:
    """While the device sends a chunk, slowly."""
    body = SlowBody()
    sending = asyncio.create_task(device.post(filename, len(CONTENT), aiter(body)))
    async with asyncio.timeout(10):
        await body.begun.wait()
    yield
    body.finish.set()
    accepted(await sending)


async def test_over_its_share_of_requests_at_once_a_device_waits_and_others_go_on(tmp_path: Path) -> None:
    settings = make_settings(tmp_path, limits_classes={"default": {"concurrent_requests": 2}})
    async with running(settings) as client:
        device, other = (Device(client, token_for(settings, name)) for name in ("car-1", "car-2"))
        async with uploading(device, "a"), uploading(device, "b"):
            problem = refused(await device.ask("GET", "/files"), 429, "too-many-requests")
            assert problem["limit"] == "concurrency"
            accepted(await other.chunk("a", CONTENT))
        accepted(await device.ask("GET", "/files"))


async def test_a_download_holds_its_place_until_its_last_byte(tmp_path: Path) -> None:
    content = bytes(1_500_000)
    allowance = {"concurrent_requests": 1, "bytes_per_second": 3_000_000}
    async with limited(tmp_path, allowance) as device:
        accepted(await device.chunk("a", content))
        await asyncio.sleep(0.1)
        download = asyncio.create_task(device.ask("GET", "/files/a", headers={"Range": "bytes=0-"}))
        await asyncio.sleep(0.15)
        assert not download.done()
        refused(await device.ask("GET", "/files"), 429, "too-many-requests")
        assert (await download).content == content
        accepted(await device.ask("GET", "/files"))


async def test_requests_beyond_those_that_a_process_takes_are_shed_but_for_probes(tmp_path: Path) -> None:
    settings = make_settings(tmp_path, max_requests_in_flight=1)
    async with running(settings) as client:
        device = Device(client, token_for(settings))
        async with uploading(device, "a"):
            answers = [await device.ask("GET", "/files") for _ in range(30)]
            for answer in answers:
                refused(answer, 503, "busy")
            assert len({answer.headers["retry-after"] for answer in answers}) > 3
            assert (await client.get("/livez")).status_code == 200
        accepted(await device.ask("GET", "/files"))


# -- uploads and bytes stored


async def test_a_device_has_so_many_uploads_open_and_finishes_them_first(tmp_path: Path) -> None:
    async with limited(tmp_path, {"open_uploads": 2}) as device:
        for name in ("a", "b"):
            accepted(await device.chunk(name, CONTENT, 0, 100))
        body = CountedBody([framed(CONTENT, 0, 100)])
        problem = refused(await device.post("c", len(CONTENT), body), 429, "too-many-uploads")
        assert (problem["open"], problem["limit"], body.taken) == (["a", "b"], 2, 0)
        accepted(await device.chunk("a", CONTENT, 100))
        await device.completed("a")
        await asyncio.sleep(1.1)  # a listing that refuses is younger
        accepted(await device.chunk("c", CONTENT, 0, 100))


async def test_an_upload_reserves_its_room_and_507_says_what_to_delete(tmp_path: Path) -> None:
    async with limited(tmp_path, {"stored_bytes": 2500}) as device:
        await device.upload("done", CONTENT)
        accepted(await device.chunk("open", CONTENT, 0, 1))
        body = CountedBody([framed(CONTENT)])
        problem = refused(await device.post("more", len(CONTENT), body), 507, "quota-exceeded")
        assert (problem["used"], problem["allowed"], problem["needed"], body.taken) == (2000, 2500, 1000, 0)
        assert {"filename": "done", "size": 1000} in problem["files"]
        accepted(await device.chunk("small", CONTENT[:500]))


async def test_a_device_has_so_many_files_whatever_their_size(tmp_path: Path) -> None:
    """Empty files take no bytes, and are objects of the store all the same."""
    async with limited(tmp_path, {"stored_files": 2}) as device:
        await device.upload("empty", b"")
        accepted(await device.chunk("open", CONTENT, 0, 1))
        problem = refused(await device.chunk("more", b""), 507, "quota-exceeded")
        assert (problem["files_stored"], problem["files_allowed"]) == (2, 2)
        accepted(await device.chunk("open", CONTENT, 1))
        await device.completed("open")


async def test_what_is_deleted_makes_room(tmp_path: Path) -> None:
    async with limited(tmp_path, {"stored_bytes": 1500}) as device:
        await device.upload("old", CONTENT)
        refused(await device.chunk("new", CONTENT), 507, "quota-exceeded")
        assert (await device.ask("DELETE", "/files/old")).status_code == 204
        accepted(await device.chunk("new", CONTENT))


async def test_an_upload_that_has_begun_goes_on_over_the_quota(tmp_path: Path) -> None:
    """Of the device in the tunnel at 97 %, whatever became of its quota: through a process that knows nothing."""
    async with limited(tmp_path, {}) as device:
        accepted(await device.chunk("tunnel", CONTENT, 0, 970))
        accepted(await device.chunk("other", CONTENT, 0, 970))
    async with limited(tmp_path, {"stored_bytes": 1, "open_uploads": 1}) as device:
        accepted(await device.chunk("tunnel", CONTENT, 970))
        await device.completed("tunnel")
        accepted(await device.chunk("tunnel", CONTENT, 970))  # again: the answer may have been lost
        refused(await device.chunk("new", CONTENT), 429, "too-many-uploads")


async def test_a_partial_file_counts_whole_and_can_be_resumed(tmp_path: Path) -> None:
    async with limited(tmp_path, {"stored_bytes": 1500}) as device:
        settings = make_settings(tmp_path)
        await park(settings, "parked", CONTENT, (0, 10))
        problem = refused(await device.chunk("new", CONTENT), 507, "quota-exceeded")
        assert problem["used"] == 1000
        accepted(await device.chunk("parked", CONTENT, 10))


async def test_uploads_that_begin_at_once_do_not_pass_the_limit_together(tmp_path: Path) -> None:
    async with limited(tmp_path, {"open_uploads": 3}) as device:
        answers = await asyncio.gather(*(device.chunk(f"f{n}", CONTENT, 0, 1) for n in range(10)))
    assert sorted(answer.status_code for answer in answers) == [200] * 3 + [429] * 7


async def test_what_is_published_to_the_fleet_counts_for_nobody(tmp_path: Path) -> None:
    settings = make_settings(tmp_path, limits_classes={"default": {"stored_bytes": 1}})
    async with running(settings) as client:
        publisher = Device(client, token_for(settings, scopes="fleet:write"))
        accepted(await publisher.chunk("map", CONTENT, owner="fleet"))


# -- the storage of the counters


@pytest.mark.parametrize("mode", ["broken", "silent"])
async def test_while_the_storage_is_away_nothing_is_limited_and_the_log_says_so(
    mode: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(SharedStorage, "mode", mode)
    monkeypatch.setattr("libs.common.security.rates.PATIENCE", 0.05)
    rates, once = Rates("shared://"), window("requests", "requests", 0.1, 1)
    with capture_logs() as logs:
        assert all([await rates.take(once, OWNER) for _ in range(50)])
        assert (await rates.left(once, OWNER)).remaining == once.quota
    assert [line["event"] for line in logs] == ["limits_storage_away"]


async def test_once_the_storage_is_back_it_counts_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("libs.common.security.rates.PAUSE", 0.0)
    rates, once = Rates("shared://"), window("requests", "requests", 0.1, 1)
    monkeypatch.setattr(SharedStorage, "mode", "broken")
    assert await rates.take(once, OWNER)
    monkeypatch.setattr(SharedStorage, "mode", "there")
    assert [await rates.take(once, OWNER) for _ in range(2)] == [True, False]


async def test_an_upload_of_unknown_length_grows_only_into_the_room_that_is_left(tmp_path: Path) -> None:
    async with limited(tmp_path, {"stored_bytes": 1500}) as device:
        for start in (0, 500):
            grown = {"Content-Range": f"bytes {start}-{start + 499}/*"}
            accepted(await device.ask("POST", "/upload?filename=grows", content=CONTENT[:500], headers=grown))
        refused(await device.chunk("other", CONTENT[:501]), 507, "quota-exceeded")
        too_much = {"Content-Range": "bytes 1000-1500/*"}
        answer = await device.ask("POST", "/upload?filename=grows", content=CONTENT[:501], headers=too_much)
        assert refused(answer, 507, "quota-exceeded")["needed"] == 501
