"""How the client hears of changes: by streams, and by requests that wait where a stream does not come through."""

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing, asynccontextmanager
from typing import Any

import pytest

from libs.client import HiperClient, following
from libs.client.errors import NotFoundError, RejectedError, ServerAwayError
from libs.client.events import EventParser, ServerEvent
from libs.client.models import Status
from tests.unit.client.test_strangers import Tokens
from tests.unit.scripted_server import HANG_UP, Script, answer, scripted

OURS: dict[str, Any] = {"X_Request_Id": "1", "Content_Type": "application/json"}
STREAM = "HTTP/1.1 200 OK\r\nX-Request-Id: 1\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n"
NOT_FOUND = {"type": "urn:hiper:problem:not-found", "title": "Not found", "status": 404}


def state(received: int, total: int = 9) -> str:
    return json.dumps(
        {
            "filename": "f",
            "owner": "me",
            "status": "complete" if received == total else "pending",
            "total_size": total,
            "next_expected_byte": received,
            "received_bytes": received,
            "version": f"v{received}",
        }
    )


def plain(received: int, **headers: Any) -> bytes:
    return answer(200, state(received).encode(), **OURS, **headers)


def waited(received: int) -> bytes:
    return plain(received, Preference_Applied="wait=30")


def stream(*received: int, end: str = "retry: 10\n\n") -> bytes:
    events = [f"id: v{each}\ndata: {state(each)}\n\n" for each in received]
    return (STREAM + "".join(events) + end).encode()


@asynccontextmanager
async def watching(
    answers: Sequence[bytes], retry_for: float = 30
) -> AsyncIterator[tuple[Script, AsyncIterator[Status], list[float]]]:
    """A server that says this, what a watcher of `f` there sees, and the seconds that it says it waits after errors."""
    waits = list[float]()
    async with (
        scripted(answers) as script,
        HiperClient(
            f"http://{script.endpoint}",
            tokens=Tokens(),
            retry_for=retry_for,
            on_retry=lambda _, wait: waits.append(wait),
        ) as client,
        aclosing(client.watch("f")) as states,
    ):
        yield script, states, waits


async def received(states: AsyncIterator[Status]) -> list[int]:
    """What a watcher sees until the file is complete."""
    seen = list[int]()
    async with asyncio.timeout(10):
        async for each in states:
            seen.append(each.received_bytes)
            if each.status == "complete":
                break
    return seen


async def test_each_change_is_seen_once() -> None:
    async with watching([plain(1), stream(1, 4, 9)]) as (_, states, _):
        assert await received(states) == [1, 4, 9]


async def test_a_stream_that_ends_in_order_is_followed_by_another_without_an_error() -> None:
    async with watching([plain(1), stream(1, 4), stream(4), stream(4, 9)]) as (script, states, waits):
        assert await received(states) == [1, 4, 9]
        assert waits == []
    assert len(script.requests) == 4


async def test_a_stream_that_breaks_is_followed_by_another() -> None:
    broken = [plain(1), stream(1, 4, end=""), HANG_UP, stream(6, 9)]
    async with watching(broken) as (_, states, waits):
        assert await received(states) == [1, 4, 6, 9]
        assert waits


async def test_patience_ends_where_nothing_comes_any_more() -> None:
    async with watching([plain(1), stream(1, 4, end=""), HANG_UP], retry_for=0.1) as (_, states, _):
        with pytest.raises(ServerAwayError):
            await received(states)


async def test_a_comment_is_a_sign_of_life_and_no_change() -> None:
    async with watching([plain(1), stream(1, end=":\n\n:\n\nretry: 10\n\n"), stream(9)]) as (_, states, _):
        assert await received(states) == [1, 9]


async def test_a_problem_in_a_stream_is_the_error_that_it_would_be_as_an_answer() -> None:
    gone = stream(1, end=f"event: problem\ndata: {json.dumps(NOT_FOUND)}\n\nretry: 10\n\n")
    async with watching([plain(1), gone]) as (_, states, _):
        with pytest.raises(NotFoundError, match="Not found"):
            await received(states)
    rejected: dict[str, Any] = NOT_FOUND | {"type": "urn:hiper:problem:file-rejected", "status": 410}
    async with watching([plain(1), stream(1, end=f"event: problem\ndata: {json.dumps(rejected)}\n\n")]) as (
        _,
        states,
        _,
    ):
        with pytest.raises(RejectedError):
            await received(states)


async def test_a_problem_that_passes_is_waited_out() -> None:
    full = {"type": "urn:hiper:problem:store-unavailable", "title": "No store", "status": 503}
    broken = stream(1, end=f"event: problem\ndata: {json.dumps(full)}\n\n")
    async with watching([plain(1), broken, stream(9)]) as (_, states, waits):
        assert await received(states) == [1, 9]
        assert len(waits) == 1


async def test_a_full_server_is_asked_again_after_the_time_that_it_says() -> None:
    busy = {"type": "urn:hiper:problem:too-many-requests", "title": "Too many", "status": 429}
    refused = answer(429, json.dumps(busy).encode(), Content_Type="application/problem+json", Retry_After="1")
    async with watching([plain(1), refused, stream(9)]) as (_, states, waits):
        assert await received(states) == [1, 9]
        assert waits[0] >= 1


async def test_requests_wait_where_a_proxy_keeps_the_stream_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(following, "SILENCE", 0.2)
    kept_back = STREAM.replace("Connection: close\r\n", "").encode()
    async with watching([plain(1), kept_back, waited(4), waited(4), waited(9)]) as (script, states, waits):
        assert await received(states) == [1, 4, 9]
        assert waits == []
    assert script.requests[2:] == ["GET /files/f/status?after=v1"] + ["GET /files/f/status?after=v4"] * 2


async def test_requests_wait_where_a_proxy_ends_each_stream_without_a_word() -> None:
    async with watching([plain(1), STREAM.encode(), waited(4), waited(9)]) as (_, states, _):
        assert await received(states) == [1, 4, 9]


async def test_a_stream_that_fell_silent_after_a_word_is_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(following, "SILENCE", 0.2)
    silent = stream(4, end="").replace(b"Connection: close\r\n", b"")
    async with watching([plain(1), silent, stream(9)]) as (_, states, _):
        assert await received(states) == [1, 4, 9]


async def test_a_server_that_knows_neither_is_asked_now_and_then() -> None:
    async with watching([plain(1), plain(1), plain(1), plain(4), plain(9)]) as (script, states, _):
        assert await received(states) == [1, 4, 9]
    assert len(script.requests) == 5


class TestEventStream:
    """https://html.spec.whatwg.org/multipage/server-sent-events.html#event-stream-interpretation"""

    @staticmethod
    def events(text: str) -> list[ServerEvent]:
        parser = EventParser()
        return [event for line in text.splitlines(keepends=True) if (event := parser.feed(line.encode()))]

    def test_lines_of_data_are_joined(self) -> None:
        assert self.events("data: a\ndata:b\ndata\n\n") == [ServerEvent("", "", "a\nb\n")]

    def test_an_id_stays_until_another_one_and_a_kind_does_not(self) -> None:
        assert self.events("id: 1\nevent: x\ndata: a\n\ndata: b\n\n") == [
            ServerEvent("1", "x", "a"),
            ServerEvent("1", "", "b"),
        ]

    def test_an_id_without_data_counts_for_what_follows(self) -> None:
        assert self.events("id: 2\n\n:\n\ndata: a\n\n") == [ServerEvent("2", "", "a")]

    def test_what_is_unknown_and_what_the_end_cut_off_is_left_out(self) -> None:
        assert self.events("other: 1\r\n: comment\r\ndata: a\r\n\r\ndata: cut") == [ServerEvent("", "", "a")]

    def test_retry_is_in_milliseconds(self) -> None:
        parser = EventParser()
        for line in (b"retry: 1500\n", b"retry: soon\n", b"\n"):
            parser.feed(line)
        assert parser.retry == 1.5
