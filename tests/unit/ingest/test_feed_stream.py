"""GET /feed that lasts: a stream of outcomes, and a page that waits for one."""

import asyncio
import time

import httpx
import pytest
from fastapi import FastAPI

from libs.common.feed import reading, tail
from libs.common.feed.positions import Position
from libs.common.settings import Settings
from services.ingest import feed_stream
from tests.unit.ingest.exchange import Exchange, ask
from tests.unit.ingest.running import OWNER, token_for
from tests.unit.ingest.test_feed import done, gone, put

SSE, JSONL = "text/event-stream", "application/jsonl"


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "CLOSED_AFTER", 0.1)
    monkeypatch.setattr(tail, "EACH", 0.05)


@pytest.fixture
def token(settings: Settings) -> str:
    return token_for(settings)


def told(stream: Exchange) -> list[str]:
    return [item["event"]["id"] for item in stream.shown if "event" in item]


async def test_a_stream_shows_what_is_kept_and_then_what_comes(app: FastAPI, settings: Settings, token: str) -> None:
    await put(settings, done(1), done(2, "car-8"))
    async with ask(app, "/feed", token, accept=SSE) as stream:
        await stream.until(lambda found: len(told(found)) == 1)
        await put(settings, gone(1))
        await stream.until(lambda found: len(told(found)) == 2)
    assert told(stream) == [done(1).id, gone(1).id]


async def test_a_reader_that_comes_back_misses_nothing_and_gets_nothing_twice(
    app: FastAPI, settings: Settings, token: str
) -> None:
    """As an EventSource does it: the same address, and the id of the last event."""
    found, last = list[str](), ""
    for number in range(1, 6):
        await put(settings, done(number), gone(number))
        expected = 1 if number % 2 else 2
        async with ask(app, "/feed", token, accept=SSE, last_event_id=last) as stream:
            await stream.until(lambda found, least=expected: len(told(found)) >= least)
        found += told(stream)
        last = [event["id"] for event in stream.events if "id" in event][-1]
    await asyncio.sleep(0.3)
    async with ask(app, "/feed", token, accept=SSE, last_event_id=last) as stream:
        await stream.until(lambda found: found.shown)
        await asyncio.sleep(0.3)
    found += told(stream)
    assert found == [each.id for number in range(1, 6) for each in (done(number), gone(number))]


async def test_the_id_of_an_event_is_its_cursor(app: FastAPI, settings: Settings, token: str) -> None:
    await put(settings, done(1))
    async with ask(app, "/feed", token, accept=SSE) as stream:
        await stream.until(lambda found: told(found))
    assert stream.events[-1]["id"] == stream.shown[-1]["cursor"]


async def test_lines_of_json_tell_cursor_and_event(app: FastAPI, settings: Settings, token: str) -> None:
    await put(settings, done(1))
    async with ask(app, "/feed", token, accept=JSONL) as stream:
        await stream.until(lambda found: found.body.count(b"\n") >= 2)
    assert stream.headers["content-type"] == JSONL
    assert b'"id": "' + done(1).id.encode() in stream.body.splitlines()[1]


async def test_bookmarks_carry_a_reader_on_to_whom_nothing_comes(
    app: FastAPI, settings: Settings, token: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feed_stream, "MARK", 0.1)
    monkeypatch.setattr(feed_stream, "LOOK", 0.1)
    async with ask(app, "/feed?after=now", token, accept=SSE) as stream:
        await stream.until(lambda found: len(found.shown) >= 3)
    cursors = [Position.parse(item["cursor"]) for item in stream.shown]
    assert cursors == sorted(cursors)
    assert cursors[-1] > cursors[0]


@pytest.mark.parametrize("accept", [SSE, JSONL])
async def test_a_stream_with_a_foreign_cursor_or_without_a_scope_does_not_begin(
    app: FastAPI, settings: Settings, token: str, accept: str
) -> None:
    other = token_for(settings, OWNER, "files:write")
    for path, who, status in (
        ("/feed?after=AAAA", token, 400),
        ("/feed", other, 403),
        ("/feed?owner=car-8", token, 403),
    ):
        async with ask(app, path, who, accept=accept) as stream:
            await stream.until(lambda found: found.ended)
        assert stream.status == status


async def test_a_page_waits_for_the_first_outcome(http: httpx.AsyncClient, settings: Settings, token: str) -> None:
    headers = {"Authorization": f"Bearer {token}", "Prefer": "wait=10"}
    began = time.monotonic()
    waiting = asyncio.create_task(http.get("/feed", params={"after": "now"}, headers=headers))
    await asyncio.sleep(0.5)
    assert not waiting.done()
    await put(settings, done(1, "car-8"), done(2))
    answer = await waiting
    assert [event["id"] for event in answer.json()["events"]] == [done(2).id]
    assert answer.headers["Preference-Applied"] == "wait=10"
    assert time.monotonic() - began < 8


async def test_a_page_that_waits_in_vain_is_empty_and_has_a_cursor(
    http: httpx.AsyncClient, settings: Settings, token: str
) -> None:
    headers = {"Authorization": f"Bearer {token}", "Prefer": "wait=1"}
    page = (await http.get("/feed", params={"after": "now"}, headers=headers)).json()
    assert (page["events"], page["more"]) == ([], False)
    assert Position.parse(page["next"])
