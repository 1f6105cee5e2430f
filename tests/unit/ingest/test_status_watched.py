"""The status of a file at its next change, and with each change."""

import asyncio
import json
from typing import Any

import pytest
from fastapi import FastAPI

from libs.common.settings import Settings
from libs.common.storage.metered import DURATION
from services.ingest.watching import EACH
from tests.unit.ingest.exchange import Exchange, ask
from tests.unit.ingest.running import token_for
from tests.unit.ingest.talk import Device

URL = "/files/a/status"
SSE = "text/event-stream"
CONTENT = b"0123456789"


@pytest.fixture
def token(settings: Settings) -> str:
    return token_for(settings)


def ended(exchange: Exchange) -> bool:
    return exchange.ended


async def version(device: Device) -> str:
    return str((await device.http.get(URL, headers={"Authorization": f"Bearer {device.token}"})).json()["version"])


async def test_a_wait_is_answered_at_the_first_change(app: FastAPI, device: Device, token: str) -> None:
    await device.chunk("a", CONTENT, 0, 4)
    seen = await version(device)
    async with ask(app, f"{URL}?after={seen}", token, prefer="wait=30") as answer:
        await asyncio.sleep(0.3)
        assert not answer.status
        await device.chunk("a", CONTENT, 4, 6)
        await answer.until(ended)
    assert answer.json["next_expected_byte"] == 6
    assert answer.json["version"] != seen
    assert answer.headers["preference-applied"] == "wait=30"
    assert answer.headers["vary"] == "Accept, Prefer"
    assert answer.headers["etag"]


async def test_a_wait_without_a_change_is_answered_with_the_same_version(
    app: FastAPI, device: Device, token: str
) -> None:
    await device.chunk("a", CONTENT, 0, 4)
    seen = await version(device)
    async with ask(app, f"{URL}?after={seen}", token, prefer="wait=1") as answer:
        await answer.until(ended)
    assert (answer.status, answer.json["version"]) == (200, seen)


@pytest.mark.parametrize("after", ["x", "0" * 3000, "%00", "%F0%9F%9A%97", "-1"])
async def test_a_version_that_is_not_ours_is_answered_at_once(
    app: FastAPI, device: Device, token: str, after: str
) -> None:
    await device.chunk("a", CONTENT, 0, 4)
    async with ask(app, f"{URL}?after={after}", token, prefer="wait=60") as answer:
        await answer.until(ended, within=3)
    assert (answer.status, answer.json["next_expected_byte"]) == (200, 4)


async def test_the_first_who_waits_is_answered_by_the_first_look(app: FastAPI, device: Device, token: str) -> None:
    await device.chunk("a", CONTENT, 0, 4)
    async with ask(app, f"{URL}?after=x", token, prefer="wait=60") as answer:
        await answer.until(ended, within=EACH * 0.8)
    assert (answer.status, answer.json["next_expected_byte"]) == (200, 4)


@pytest.mark.parametrize(("query", "prefer"), [("", "wait=60"), ("?after=x", ""), ("?after=x", "wait=soon")])
async def test_without_a_version_or_a_wait_the_answer_is_as_it_was(
    app: FastAPI, device: Device, token: str, query: str, prefer: str
) -> None:
    await device.chunk("a", CONTENT, 0, 4)
    async with ask(app, URL + query, token, prefer=prefer) as answer:
        await answer.until(ended, within=3)
    assert answer.status == 200
    assert "preference-applied" not in answer.headers


async def test_who_saw_nothing_waits_for_a_file_to_come(app: FastAPI, device: Device, token: str) -> None:
    async with ask(app, f"{URL}?after=", token, prefer="wait=30") as answer:
        await asyncio.sleep(0.1)
        await device.chunk("a", CONTENT, 0, 4)
        await answer.until(ended)
    assert (answer.status, answer.json["next_expected_byte"]) == (200, 4)


async def test_who_saw_nothing_and_waits_in_vain_is_told_that_nothing_is_there(app: FastAPI, token: str) -> None:
    for query in (f"{URL}?after=", f"{URL}?after=gone", URL):
        async with ask(app, query, token, prefer="wait=1") as answer:
            await answer.until(ended, within=3)
        assert (answer.status, answer.json["type"]) == (404, "urn:hiper:problem:not-found")


async def test_a_stream_shows_the_state_and_each_change_until_the_file_is_complete(
    app: FastAPI, device: Device, token: str
) -> None:
    await device.chunk("a", CONTENT, 0, 4)
    async with ask(app, URL, token, accept=SSE) as answer:
        await answer.until(lambda it: len(it.events) == 1)
        await device.chunk("a", CONTENT, 4, 10)
        await answer.until(lambda it: it.shown[-1]["status"] == "complete")
    assert answer.shown[0]["next_expected_byte"] == 4
    assert [event["id"] for event in answer.events] == [shown["version"] for shown in answer.shown]
    offsets = [shown["next_expected_byte"] for shown in answer.shown]
    assert offsets == sorted(offsets)


async def test_json_lines_are_the_same_documents(app: FastAPI, device: Device, token: str) -> None:
    await device.chunk("a", CONTENT, 0, 4)
    async with ask(app, URL, token, accept="application/jsonl") as answer:
        await answer.until(lambda it: it.body.endswith(b"\n"))
    plain = await device.http.get(URL, headers={"Authorization": f"Bearer {token}"})
    assert json.loads(answer.body) == plain.json()


async def test_a_deleted_file_ends_the_stream_with_a_problem_that_says_so(
    app: FastAPI, device: Device, token: str
) -> None:
    await device.chunk("a", CONTENT, 0, 4)
    async with ask(app, URL, token, accept=SSE) as answer:
        await answer.until(lambda it: it.events)
        await device.http.delete("/files/a", headers={"Authorization": f"Bearer {token}"})
        await answer.until(ended)
    assert answer.events[-2]["event"] == "problem"
    assert answer.shown[-1]["status"] == 404
    assert "retry" in answer.events[-1]


async def test_a_stream_of_what_is_not_there_or_not_for_this_token_does_not_begin(
    app: FastAPI, token: str, settings: Settings
) -> None:
    for url, status in ((URL, 404), (f"{URL}?owner=car-8", 403)):
        async with ask(app, url, token, accept=SSE) as answer:
            await answer.until(ended)
        assert (answer.status, answer.headers["content-type"]) == (status, "application/problem+json")


async def test_watchers_of_one_file_share_their_looks(app: FastAPI, device: Device, token: str) -> None:
    """90 streams, for 3 seconds: without sharing that is 90 looks at once."""
    await device.chunk("a", CONTENT, 0, 4)
    from contextlib import AsyncExitStack

    before = _reads()
    async with AsyncExitStack() as stack:
        answers = [await stack.enter_async_context(ask(app, URL, token, accept=SSE)) for _ in range(90)]
        for answer in answers:
            await answer.until(lambda it: it.events)
        await asyncio.sleep(3)
    assert _reads() - before < 40


def _reads() -> float:
    """Calls of the temporary bucket."""
    samples: list[Any] = [sample for metric in DURATION.collect() for sample in metric.samples]
    return float(sum(s.value for s in samples if s.name.endswith("_count") and s.labels["bucket"] == "temp"))
