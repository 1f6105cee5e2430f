"""Streams and waits: what they look like, when they end, and whose places they take."""

import asyncio
import json
import time
from collections.abc import AsyncGenerator, AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from fastapi import APIRouter, Depends, FastAPI
from fastapi.responses import Response

from libs.common.problems import Kind, Problem
from libs.common.security.tokens import TokenIssuer
from libs.common.settings import Settings
from libs.common.storage import StoreUnavailable
from services.embedded.app import build_app
from services.ingest import streams
from services.ingest.access import visit
from services.ingest.streams import Item, MayLast
from tests.unit.ingest.exchange import Exchange, ask
from tests.unit.ingest.running import make_settings, token_for
from tests.unit.metrics import value

SSE, JSONL = "text/event-stream", "application/jsonl"
ALLOWED = '{"default": {"concurrent_requests": 1}}'


class Source:
    """What the routes of this test show."""

    def __init__(self) -> None:
        self.queue: asyncio.Queue[Item | Exception | None] = asyncio.Queue()
        self.closed = 0
        self.greets = False  # with an item of its own for every client

    def show(self, *numbers: int) -> None:
        for number in numbers:
            self.queue.put_nowait(Item(json.dumps({"n": number}), id=f"v{number}"))

    async def items(self) -> AsyncGenerator[Item, None]:
        try:
            if self.greets:
                yield Item("{}")
            while (item := await self.queue.get()) is not None:
                if isinstance(item, Exception):
                    raise item
                yield item
        finally:
            self.closed += 1


@pytest.fixture
def source() -> Source:
    return Source()


@pytest.fixture
def quiet() -> Source:
    """What waits wait for."""
    return Source()


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    limits = {"default": {"concurrent_requests": 2}}
    return make_settings(
        tmp_path, max_streams=4, max_streams_per_device=3, limits_classes=limits, max_requests_in_flight=3
    )


@pytest.fixture
async def app(settings: Settings, source: Source, quiet: Source) -> AsyncIterator[FastAPI]:
    router = APIRouter(dependencies=[Depends(visit)])

    @router.get("/shown")
    async def shown(lasting: MayLast) -> Response:
        return await lasting.stream(source.items())

    @router.get("/awaited")
    async def awaited(lasting: MayLast, seconds: float) -> dict[str, Any]:
        item = await lasting.wait(anext(quiet.items()), seconds)
        return {"came": item and item.id}

    @router.get("/brief")
    async def brief() -> dict[str, int]:
        return {}

    app = build_app(settings)
    app.include_router(router)
    async with app.router.lifespan_context(app):
        yield app


@pytest.fixture
def token(settings: Settings) -> str:
    return token_for(settings)


def has(count: int) -> Any:
    return lambda exchange: len(exchange.events) >= count


def ended(exchange: Exchange) -> bool:
    return exchange.ended


async def test_server_sent_events_have_their_ids_and_a_retry_at_the_end(
    app: FastAPI, source: Source, token: str
) -> None:
    source.show(1, 2)
    source.queue.put_nowait(None)
    async with ask(app, "/shown", token, accept=SSE) as answer:
        await answer.until(ended)
    assert answer.status == 200
    assert answer.headers["content-type"].startswith(SSE)
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["x-accel-buffering"] == "no"
    assert answer.headers["vary"] == "Accept"
    assert answer.events[:2] == [{"id": "v1", "data": '{"n": 1}'}, {"id": "v2", "data": '{"n": 2}'}]
    assert 1000 <= int(answer.events[2]["retry"]) <= 5000
    assert source.closed == 1


async def test_json_lines_are_lines_of_json(app: FastAPI, source: Source, token: str) -> None:
    source.show(1, 2)
    source.queue.put_nowait(None)
    async with ask(app, "/shown", token, accept=JSONL) as answer:
        await answer.until(ended)
    assert answer.headers["content-type"].startswith(JSONL)
    assert answer.body == b'{"n": 1}\n{"n": 2}\n'


@pytest.mark.parametrize(("accept", "comment"), [(SSE, b":\n\n"), (JSONL, b"\n")])
async def test_a_quiet_stream_shows_that_it_lives(
    app: FastAPI, source: Source, token: str, monkeypatch: pytest.MonkeyPatch, accept: str, comment: bytes
) -> None:
    monkeypatch.setattr(streams, "QUIET", 0.01)
    source.show(1)
    async with ask(app, "/shown", token, accept=accept) as answer:
        await answer.until(lambda it: it.body.endswith(comment * 3))
        source.show(2)
        await answer.until(lambda it: b'{"n": 2}' in it.body)


async def test_a_problem_before_the_first_item_is_answered_as_always(app: FastAPI, source: Source, token: str) -> None:
    source.queue.put_nowait(Problem(Kind.NOT_FOUND, "No such thing."))
    async with ask(app, "/shown", token, accept=SSE) as answer:
        await answer.until(ended)
    assert (answer.status, answer.headers["content-type"]) == (404, "application/problem+json")
    assert source.closed == 1
    assert value("hiper_streams_open", manner="events") == 0


async def test_a_problem_later_is_the_last_item(app: FastAPI, source: Source, token: str) -> None:
    source.show(1)
    source.queue.put_nowait(Problem(Kind.NOT_FOUND, "Gone."))
    async with ask(app, "/shown", token, accept=SSE) as answer:
        await answer.until(ended)
    assert answer.events[1]["event"] == "problem"
    assert answer.shown[1]["type"] == "urn:hiper:problem:not-found"
    assert "retry" in answer.events[2]


async def test_a_store_that_goes_away_ends_the_stream_and_who_comes_back_is_told(
    app: FastAPI, source: Source, token: str
) -> None:
    source.show(1)
    source.queue.put_nowait(StoreUnavailable("away"))
    async with ask(app, "/shown", token, accept=SSE) as answer:
        await answer.until(ended)
    assert "retry" in answer.events[1]
    source.queue.put_nowait(StoreUnavailable("away"))
    async with ask(app, "/shown", token, accept=SSE) as answer:
        await answer.until(ended)
    assert answer.status == 503


async def test_a_drain_ends_streams_and_waits_at_once(app: FastAPI, source: Source, token: str) -> None:
    source.show(1)
    async with ask(app, "/shown", token, accept=SSE) as stream, ask(app, "/awaited?seconds=60", token) as wait:
        await stream.until(has(1))
        await asyncio.sleep(0.05)
        app.state.drain.begin(25)
        await stream.until(ended)
        await wait.until(ended)
    assert "retry" in stream.events[1]
    assert wait.json == {"came": None}


async def test_a_stream_ends_with_its_token(app: FastAPI, source: Source, settings: Settings) -> None:
    brief = settings.model_copy(update={"access_token_expire_minutes": 2 / 60})
    token = TokenIssuer(brief).issue("car-7", ["files:read"]).encoded
    source.show(1)
    began = time.monotonic()
    async with ask(app, "/shown", token, accept=SSE) as answer:
        await answer.until(ended)
    assert time.monotonic() - began < 5
    assert "retry" in answer.events[1]


async def test_a_stream_ends_when_its_device_is_revoked(
    app: FastAPI, source: Source, token: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streams, "QUIET", 0.01)
    source.show(1)
    async with ask(app, "/shown", token, accept=SSE) as answer:
        await answer.until(has(1))
        app.state.authn.revocations.learn({"car-7": int(time.time()) + 5})
        source.show(2)
        await answer.until(ended)
    assert [event.get("id") for event in answer.events] == ["v1", None], "nothing is shown after it"


async def test_a_client_that_leaves_ends_its_stream_and_its_wait(
    app: FastAPI, source: Source, quiet: Source, token: str
) -> None:
    source.show(1)
    async with ask(app, "/shown", token, accept=SSE) as answer:
        await answer.until(has(1))
        assert value("hiper_streams_open", manner="events") == 1
    assert value("hiper_streams_open", manner="events") == 0
    assert source.closed == 1
    async with ask(app, "/awaited?seconds=60", token):
        await asyncio.sleep(0.05)
        assert value("hiper_streams_open", manner="wait") == 1
    assert value("hiper_streams_open", manner="wait") == 0
    assert quiet.closed == 1


async def test_a_client_that_does_not_read_has_one_block_of_items_and_no_more(
    app: FastAPI, source: Source, token: str
) -> None:
    source.show(*range(10_000))
    async with ask(app, "/shown", token, reads=False, accept=SSE) as answer:
        await answer.until(lambda it: it.status == 200)
        await asyncio.sleep(0.5)
        taken = 10_000 - source.queue.qsize()
        assert 32 * 1024 / 40 < taken < 32 * 1024 / 20, "items of 20 to 40 bytes are written together"
    assert source.closed == 1


async def test_a_wait_ends_when_something_comes(app: FastAPI, quiet: Source, token: str) -> None:
    async with ask(app, "/awaited?seconds=60", token) as answer:
        quiet.show(7)
        await answer.until(ended)
    assert answer.json == {"came": "v7"}


async def test_streams_have_a_limit_for_each_device_and_for_all(
    app: FastAPI, source: Source, token: str, settings: Settings
) -> None:
    source.greets = True
    other = token_for(settings, "car-8")
    async with (
        ask(app, "/shown", token, accept=SSE) as one,
        ask(app, "/shown", token, accept=JSONL) as two,
        ask(app, "/awaited?seconds=60", token),
    ):
        await one.until(has(1))
        await two.until(lambda it: it.body)
        async with ask(app, "/shown", token, accept=SSE) as refused:
            await refused.until(ended)
        assert (refused.status, refused.json["limit"]) == (429, "streams")
        assert int(refused.headers["retry-after"]) >= 5
        async with ask(app, "/shown", other, accept=SSE) as more:
            await more.until(has(1))
            async with ask(app, "/awaited?seconds=1", other) as too_many:
                await too_many.until(ended)
            assert (too_many.status, too_many.json["limit"]) == (429, "streams")
    async with ask(app, "/awaited?seconds=0.1", token) as again:
        await again.until(ended)
    assert again.status == 200, "places come back"


async def test_streams_and_waits_take_no_place_of_other_requests(app: FastAPI, source: Source, token: str) -> None:
    """The device may have two requests under way, and the server three."""
    source.greets = True
    async with (
        ask(app, "/shown", token, accept=SSE) as one,
        ask(app, "/shown", token, accept=SSE) as two,
        ask(app, "/awaited?seconds=60", token),
    ):
        await one.until(has(1))
        await two.until(has(1))
        async with ask(app, "/brief", token) as answer:
            await answer.until(ended)
        assert answer.status == 200


async def test_how_long_a_stream_lasts_is_no_latency(app: FastAPI, source: Source, token: str) -> None:
    source.show(1)
    source.queue.put_nowait(None)
    async with ask(app, "/shown", token, accept=SSE) as answer:
        await answer.until(ended)
    about = {"route": "/shown", "method": "GET", "status": "200"}
    assert value("hiper_http_requests_total", **about) >= 1
    assert value("hiper_http_request_duration_seconds_count", **about) == 0
