"""Chunks are limited in size, time and rate."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from starlette.types import Message

from libs.common.problems import Problem
from libs.common.settings import Settings
from services.ingest.receive import Budget, Deadline, timed
from tests.unit.ingest.running import make_settings, stored
from tests.unit.ingest.talk import CountedBody, Device, accepted, digest, framed, header, refused, streamed

LIMIT = 1000  # bytes of a payload
CONTENT = bytes(range(200)) * 10


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return make_settings(tmp_path, max_chunk_size=LIMIT, body_idle_timeout=0.3, body_timeout=3)


@pytest.fixture
def budget(app: FastAPI) -> Budget:
    held: Budget = app.state.ingest.budget
    return held


async def test_a_chunk_of_the_limit_itself_is_taken(device: Device) -> None:
    accepted(await device.chunk("a", CONTENT, 0, LIMIT))
    accepted(await device.raw("a", CONTENT, LIMIT, 2 * LIMIT))


@pytest.mark.parametrize("size", [LIMIT + 1, 10 * LIMIT, 2**40])
async def test_a_content_length_beyond_the_limit_is_refused_before_the_body_is_read(
    device: Device, settings: Settings, size: int
) -> None:
    body = CountedBody([framed(CONTENT)])
    answer = await device.post("a", len(CONTENT), body, {"Content-Length": str(size + 9)})
    document = refused(answer, 413, "too-large")
    assert str(LIMIT) in document["detail"]
    assert (document["limited"], document["limit"]) == ("chunk", LIMIT)
    assert body.taken == 0
    assert stored(settings) == {}


async def test_a_range_with_a_digest_beyond_the_limit_is_refused_before_the_body_is_read(
    device: Device, settings: Settings
) -> None:
    """Without one it is a stream, which is stored while it comes."""
    body = CountedBody([CONTENT])
    headers = {"Content-Range": f"bytes 0-{LIMIT}/{len(CONTENT)}", "Content-Digest": digest(CONTENT[: LIMIT + 1])}
    answer = await device.post("a", len(CONTENT), body, headers)
    refused(answer, 413, "too-large")
    assert body.taken == 0
    assert stored(settings) == {}


async def test_a_content_length_that_is_not_that_of_the_range_is_refused_before_the_body_is_read(
    device: Device,
) -> None:
    body = CountedBody([CONTENT])
    headers = {"Content-Range": f"bytes 0-99/{len(CONTENT)}", "Content-Length": "101"}
    refused(await device.post("a", len(CONTENT), body, headers), 400, "malformed-chunk")
    assert body.taken == 0


async def test_of_a_body_without_length_only_the_header_is_read_if_it_claims_too_much(device: Device) -> None:
    body = CountedBody([header(0, LIMIT, 0), *[bytes(100)] * 20])
    refused(await device.post("a", len(CONTENT), body), 413, "too-large")
    assert body.taken == 1


async def test_a_body_longer_than_it_claims_is_not_read_to_its_end(device: Device, settings: Settings) -> None:
    body = CountedBody([header(0, 99, 0), *[bytes(100)] * 20])
    refused(await device.post("a", len(CONTENT), body), 400, "malformed-chunk")
    assert body.taken <= 3
    assert stored(settings) == {}


async def test_a_body_that_stops_is_given_up(device: Device, settings: Settings, budget: Budget) -> None:
    async def stops() -> AsyncIterator[bytes]:
        yield framed(CONTENT, 0, 500)[:100]
        await asyncio.sleep(30)

    async with asyncio.timeout(2.7):  # the idle timeout, not the whole one
        answer = await device.post("a", len(CONTENT), stops())
    refused(answer, 408, "timeout")
    assert answer.headers["connection"] == "close"
    assert stored(settings) == {}
    assert budget.held == 0


async def test_a_body_that_stops_within_its_header_is_given_up(device: Device, settings: Settings) -> None:
    async def stops() -> AsyncIterator[bytes]:
        yield framed(CONTENT)[:4]
        await asyncio.sleep(30)

    refused(await device.post("a", len(CONTENT), stops()), 408, "timeout")
    assert stored(settings) == {}


async def test_a_body_that_takes_too_long_in_all_is_given_up(device: Device, settings: Settings) -> None:
    async def crawls() -> AsyncIterator[bytes]:
        for byte in framed(CONTENT, 0, 500):
            yield bytes([byte])
            await asyncio.sleep(0.05)

    async with asyncio.timeout(15):
        refused(await device.post("a", len(CONTENT), crawls()), 408, "timeout")
    assert stored(settings) == {}


async def crawl(blocks: int) -> AsyncIterator[bytes]:
    """100 bytes every 10 ms: 10,000 bytes per second at most."""
    for _ in range(blocks):
        await asyncio.sleep(0.01)
        yield bytes(100)


async def test_a_body_below_the_least_rate_is_given_up_after_its_grace() -> None:
    with pytest.raises(Problem, match="crawled") as caught:
        async for _ in timed(crawl(100), Deadline(total=10, idle=10, least_rate=20_000, grace=0.1)):
            pass
    assert caught.value.kind.status == 408


async def test_a_body_above_the_least_rate_or_within_its_grace_arrives() -> None:
    for deadline in (
        Deadline(total=10, idle=10, least_rate=100, grace=0.01),
        Deadline(total=10, idle=10, least_rate=20_000, grace=10),
    ):
        assert sum([len(block) async for block in timed(crawl(20), deadline)]) == 2000


async def test_a_client_that_goes_away_in_mid_body_leaves_nothing(
    app: FastAPI, device: Device, settings: Settings, budget: Budget
) -> None:
    messages: list[Message] = [
        {"type": "http.request", "body": framed(CONTENT, 0, 500)[:100], "more_body": True},
        {"type": "http.disconnect"},
    ]
    sent: list[Message] = []

    async def receive() -> Message:
        return messages.pop(0)

    async def send(message: Message) -> None:
        sent.append(message)

    await app(upload_scope(device.token, b"filename=a&total_size=2000"), receive, send)
    assert sent[0]["status"] == 408
    assert stored(settings) == {}
    assert budget.held == 0


def upload_scope(token: str, query: bytes) -> dict[str, Any]:
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.4"},
        "method": "POST",
        "path": "/upload",
        "raw_path": b"/upload",
        "query_string": query,
        "headers": [(b"authorization", f"Bearer {token}".encode())],
    }


async def test_memory_is_given_back_whatever_became_of_the_chunk(device: Device, budget: Budget) -> None:
    accepted(await device.chunk("a", CONTENT, 0, 500))
    refused(await device.chunk("a", CONTENT[::-1], 0, 500), 409, "content-conflict")
    refused(await device.post("a", len(CONTENT), streamed(framed(CONTENT, 0, 500)[:-1])), 400, "malformed-chunk")
    assert budget.held == 0


@pytest.mark.parametrize(
    "query",
    [
        "filename=a&filename=b&total_size=1",
        "filename=a&total_size=1&total_size=2",
        "filename=a&total_size=1&owner=car-7&owner=fleet",
        "filename=a&total_size=1&x=" + "y" * 4096,
        "filename=a&total_size=1" + "".join(f"&x{n}=1" for n in range(16)),
    ],
)
async def test_a_query_that_says_something_twice_or_too_much_is_refused(device: Device, query: str) -> None:
    refused(await device.ask("POST", f"/upload?{query}", content=framed(b"x")), 400, "bad-request")
    refused(await device.ask("GET", f"/files?{query}"), 400, "bad-request")


@pytest.mark.parametrize(
    "name",
    [
        *("Authorization", "Content-Digest", "Content-Range", "Content-Type", "Host", "If-Match", "If-None-Match"),
        *("If-Range", "Range", "Repr-Digest"),
    ],
)
async def test_a_header_that_is_there_twice_is_refused(http: httpx.AsyncClient, device: Device, name: str) -> None:
    """Proxies differ in which of the two they take."""
    token = f"Bearer {device.token}"
    value = token if name == "Authorization" else "bytes 0-0/1"
    headers = [("Authorization", token), (name, value)] + ([] if name == "Authorization" else [(name, value)])
    answer = await http.post("/upload?filename=a&total_size=1", headers=headers, content=b"x")
    refused(answer, 400, "bad-request")
    assert "once" in answer.json()["detail"]
