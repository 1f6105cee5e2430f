"""GET /uploads that lasts: a stream of changes, and an answer at the first change."""

import time
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from libs.common.settings import Settings
from services.ingest import fleet_stream
from tests.unit.ingest.exchange import Exchange, ask
from tests.unit.ingest.running import make_settings, token_for
from tests.unit.ingest.talk import Device, accepted, refused

CONTENT = b"0123456789"
SSE, JSONL = "text/event-stream", "application/jsonl"


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return make_settings(tmp_path, fleet_interval=0.05)


@pytest.fixture
def operator(settings: Settings) -> str:
    return token_for(settings, "op", "fleet:read")


def told(stream: Exchange) -> list[tuple[str, str]]:
    """The changes, each with the name and the offset that it tells of."""
    return [
        (
            item["change"],
            f"{upload['filename']} {upload['next_expected_byte']}" if (upload := item.get("upload")) else "",
        )
        for item in stream.shown
    ]


async def listed(stream: Exchange) -> None:
    await stream.until(lambda found: ("bookmark", "") in told(found))


class TestStreams:
    async def test_the_list_comes_first_and_then_each_change_within_about_a_second(
        self, app: FastAPI, device: Device, operator: str
    ) -> None:
        async with ask(app, "/uploads", operator, accept=SSE) as stream:
            await listed(stream)
            assert told(stream)[0] == ("list", "")
            sent = time.monotonic()
            accepted(await device.chunk("a", CONTENT, 0, 4))
            await stream.until(lambda found: told(found)[-1] == ("added", "a 4"))
            assert time.monotonic() - sent < 3
            accepted(await device.chunk("a", CONTENT, 4, 6))
            await stream.until(lambda found: ("changed", "a 6") in told(found))
            accepted(await device.chunk("b", CONTENT, 0, 2))
            await stream.until(lambda found: ("added", "b 2") in told(found))
            assert (await device.delete("a")).status_code == 204
            await stream.until(lambda found: told(found)[-1][0] == "removed")

    async def test_what_is_there_already_is_listed(self, app: FastAPI, device: Device, operator: str) -> None:
        async with ask(app, "/uploads", operator, accept=SSE) as first:
            await listed(first)
            accepted(await device.chunk("a", CONTENT, 0, 4))
            await first.until(lambda found: ("added", "a 4") in told(found))
            async with ask(app, "/uploads", operator, accept=SSE) as second:
                await listed(second)
                assert told(second) == [("list", ""), ("listed", "a 4"), ("bookmark", "")]

    async def test_only_what_matches_is_told(self, app: FastAPI, device: Device, operator: str) -> None:
        async with ask(app, "/uploads?prefix=b", operator, accept=SSE) as stream:
            await listed(stream)
            for name in ("a", "b"):
                accepted(await device.chunk(name, CONTENT, 0, 4))
            await stream.until(lambda found: told(found)[-1][0] == "added")
            assert told(stream)[-2:] == [("bookmark", ""), ("added", "b 4")]

    async def test_a_reader_that_comes_back_goes_on_where_it_was(
        self, app: FastAPI, device: Device, operator: str
    ) -> None:
        async with ask(app, "/uploads", operator, accept=SSE) as first:
            await listed(first)
        accepted(await device.chunk("a", CONTENT, 0, 4))
        last = [event["id"] for event in first.events if "id" in event][-1]
        async with ask(app, "/uploads", operator, accept=SSE, last_event_id=last) as again:
            await again.until(lambda found: told(found))
            assert told(again) == [("added", "a 4")]
        async with ask(app, "/uploads", operator, accept=SSE, last_event_id="v00000000-1") as foreign:
            await listed(foreign)
            assert told(foreign) == [("list", ""), ("listed", "a 4"), ("bookmark", "")]

    async def test_a_bookmark_comes_now_and_then_and_says_as_of_when(
        self, app: FastAPI, operator: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(fleet_stream, "BOOKMARK", 0.2)
        async with ask(app, "/uploads", operator, accept=SSE) as stream:
            await stream.until(lambda found: told(found).count(("bookmark", "")) >= 3)
        assert {"version", "as_of", "live"} < stream.shown[-1].keys()

    async def test_lines_of_json_are_the_same(self, app: FastAPI, operator: str) -> None:
        async with ask(app, "/uploads", operator, accept=JSONL) as stream:
            await stream.until(lambda found: b"bookmark" in found.body)
        assert stream.headers["content-type"] == JSONL
        assert stream.body.startswith(b'{"change":"list"')

    async def test_without_the_scope_it_does_not_begin(self, app: FastAPI, device: Device) -> None:
        async with ask(app, "/uploads?owner=car-8", device.token, accept=SSE) as stream:
            await stream.until(lambda found: found.ended)
        assert stream.status == 403
        assert stream.json["required_scope"] == "fleet:read"


class TestWaits:
    async def version(self, device: Device) -> str:
        page: dict[str, Any] = accepted(await device.ask("GET", "/uploads"))
        return str(page["version"])

    async def test_an_answer_comes_at_the_first_change(self, app: FastAPI, device: Device) -> None:
        version = await self.version(device)
        async with ask(app, f"/uploads?after={version}", device.token, prefer="wait=30") as waiting:
            accepted(await device.chunk("a", CONTENT, 0, 4))
            await waiting.until(lambda found: found.ended)
        assert waiting.headers["preference-applied"] == "wait=30"
        assert [item["filename"] for item in waiting.json["uploads"]] == ["a"]
        assert waiting.json["version"] != version

    async def test_without_a_change_it_comes_after_the_time_with_the_same_version(self, device: Device) -> None:
        version, began = await self.version(device), time.monotonic()
        answer = await device.ask("GET", "/uploads", params={"after": version}, headers={"Prefer": "wait=1"})
        assert time.monotonic() - began > 0.9
        assert accepted(answer)["version"] == version

    async def test_a_version_of_another_server_is_answered_at_once(self, device: Device) -> None:
        query = {"after": "v00000000-7"}
        began = time.monotonic()
        accepted(await device.ask("GET", "/uploads", params=query, headers={"Prefer": "wait=30"}))
        assert time.monotonic() - began < 10

    async def test_what_is_neither_a_version_nor_a_cursor_is_refused(
        self, http: httpx.AsyncClient, settings: Settings
    ) -> None:
        device = Device(http, token_for(settings))
        for after in ("v1", "vzzzzzzzz-1", "v00000000-", "x"):
            refused(await device.ask("GET", "/uploads", params={"after": after}), 400, "bad-request")
