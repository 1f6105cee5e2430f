"""The shell around every HTTP service."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from importlib.metadata import PackageNotFoundError
from typing import Any

import httpx
import pytest
import structlog
from fastapi import FastAPI, Request
from fastapi.responses import StreamingResponse
from prometheus_client import REGISTRY
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.types import Message
from structlog.testing import capture_logs

from libs.common.problems import Kind, Problem
from libs.common.security.jwks import KeysUnavailable
from libs.common.storage import StoreFull, StoreUnavailable
from libs.common.web import create_app, problem_responses
from libs.common.web.app import installed_version
from tests.unit.keyrings import plain_settings

SECRET_DETAIL = "at 10.0.0.7 with key abc"


@asynccontextmanager
async def no_lifespan(_app: FastAPI) -> AsyncIterator[None]:
    yield


def build(ready: Callable[[], Mapping[str, bool]] = dict, **values: Any) -> FastAPI:
    app = create_app("Test", "A service.", "1.2.3", no_lifespan, ready, plain_settings(**values))

    @app.get("/things/{thing}", responses=problem_responses(Kind.NOT_FOUND, Kind.NO_ROUTE, Kind.BUSY))
    async def thing(thing: str, size: int = 0) -> dict[str, Any]:
        structlog.stdlib.get_logger("test").info("working")
        return {"thing": thing, "size": size}

    @app.get("/fails/{how}")
    async def fails(how: str) -> None:
        raise {
            "problem": Problem(Kind.BUSY, "Come back", queue=7),
            "store": StoreUnavailable(SECRET_DETAIL),
            "full": StoreFull(SECRET_DETAIL),
            "keys": KeysUnavailable(SECRET_DETAIL),
            "teapot": HTTPException(418, "Short and stout", headers={"X-Handle": "here"}),
            "bug": RuntimeError(SECRET_DETAIL),
            "gone": ClientDisconnect(),
        }[how]

    @app.get("/breaks")
    async def breaks() -> StreamingResponse:
        async def blocks() -> AsyncIterator[bytes]:
            yield b"begun"
            raise RuntimeError(SECRET_DETAIL)

        return StreamingResponse(blocks())

    @app.post("/echo")
    async def echo(request: Request) -> StreamingResponse:
        return StreamingResponse(request.stream())

    return app


@asynccontextmanager
async def talking_to(app: FastAPI) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test") as client:
        yield client


@pytest.fixture
async def client() -> AsyncIterator[httpx.AsyncClient]:
    async with talking_to(build()) as client:
        yield client


def http_scope(method: str, path: str) -> dict[str, Any]:
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.4"},
        "method": method,
        "path": path,
        "query_string": b"",
        "headers": [],
    }


def assert_problem(answer: httpx.Response, kind: Kind) -> dict[str, Any]:
    document: dict[str, Any] = answer.json()
    assert answer.status_code == document["status"] == kind.status
    assert answer.headers["content-type"] == "application/problem+json"
    assert document["type"] == f"urn:hiper:problem:{kind.slug}"
    assert document["title"] == kind.title
    assert document["detail"]
    assert answer.headers["x-request-id"]
    return document


async def test_a_problem_is_answered_with_its_members_and_when_to_try_again(
    client: httpx.AsyncClient,
) -> None:
    answer = await client.get("/fails/problem")
    document = assert_problem(answer, Kind.BUSY)
    assert (document["detail"], document["queue"]) == ("Come back", 7)
    assert answer.headers["retry-after"] == "2"


async def test_a_request_that_does_not_fit_is_told_what_does_not(client: httpx.AsyncClient) -> None:
    document = assert_problem(await client.get("/things/a", params={"size": "hush"}), Kind.BAD_REQUEST)
    (error,) = document["errors"]
    assert error["loc"] == ["query", "size"]
    assert "query.size" in document["detail"]
    assert "hush" not in json.dumps(document)


async def test_there_is_nothing_at_an_unknown_address(client: httpx.AsyncClient) -> None:
    assert_problem(await client.get("/nowhere"), Kind.NO_ROUTE)
    assert_problem(await client.get("/things/a/"), Kind.NO_ROUTE)


async def test_a_method_that_is_not_taken_names_those_that_are(client: httpx.AsyncClient) -> None:
    answer = await client.put("/things/a")
    assert_problem(answer, Kind.METHOD_NOT_ALLOWED)
    assert answer.headers["allow"] == "GET"


@pytest.mark.parametrize(
    ("how", "kind"), [("store", Kind.STORE_UNAVAILABLE), ("full", Kind.STORE_FULL), ("keys", Kind.NOT_READY)]
)
async def test_a_store_that_is_away_or_full_tells_nothing_of_the_inside(
    client: httpx.AsyncClient, how: str, kind: Kind
) -> None:
    with capture_logs() as logs:
        answer = await client.get(f"/fails/{how}")
    assert_problem(answer, kind)
    assert answer.headers["retry-after"]
    assert SECRET_DETAIL not in answer.text
    assert SECRET_DETAIL in str(logs)


async def test_a_bug_is_a_500_that_tells_the_log_and_not_the_client(client: httpx.AsyncClient) -> None:
    with capture_logs() as logs:
        answer = await client.get("/fails/bug", headers={"X-Request-Id": "r-1"})
    assert_problem(answer, Kind.INTERNAL)
    assert SECRET_DETAIL not in answer.text
    assert answer.headers["x-request-id"] == "r-1"
    failure = next(line for line in logs if line["event"] == "request_failed")
    assert failure["exc_info"]
    assert failure["route"] == "/fails/{how}"


async def test_a_status_without_a_kind_is_a_problem_too(client: httpx.AsyncClient) -> None:
    answer = await client.get("/fails/teapot")
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.headers["x-handle"] == "here"
    assert answer.json() == {
        "type": "about:blank",
        "title": "I'm a Teapot",
        "status": 418,
        "detail": "Short and stout",
    }


async def test_an_answer_that_broke_in_the_middle_breaks_the_connection(client: httpx.AsyncClient) -> None:
    with capture_logs() as logs, pytest.raises(RuntimeError):
        await client.get("/breaks")
    assert {line["event"] for line in logs} == {"request_failed", "request"}


async def test_a_client_that_left_is_not_a_failure(client: httpx.AsyncClient) -> None:
    with capture_logs() as logs, pytest.raises(AssertionError):  # httpx wants an answer, and there is none
        await client.get("/fails/gone")
    assert [(line["event"], line["status"]) for line in logs] == [("request", 499)]


async def test_the_answer_to_head_has_no_body() -> None:
    """Seen at the application's edge: HTTP clients and servers would hide a body."""
    for path, status in (("/livez", 200), ("/nowhere", 404), ("/things/a", 405)):
        sent: asyncio.Queue[Message] = asyncio.Queue()
        await build()(http_scope("HEAD", path), asyncio.Queue().get, sent.put)
        start, body = sent.get_nowait(), sent.get_nowait()
        assert start["status"] == status
        assert b"x-request-id" in dict(start["headers"])
        assert body["body"] == b""
        assert sent.empty()


@pytest.mark.parametrize("given", ["abc-1.2_3", "x" * 64])
async def test_a_request_id_is_echoed(client: httpx.AsyncClient, given: str) -> None:
    for path in ("/things/a", "/nowhere", "/fails/bug"):
        with capture_logs():  # a traceback takes a second to print in colour
            answer = await client.get(path, headers={"X-Request-Id": given})
        assert answer.headers.get_list("x-request-id") == [given]


@pytest.mark.parametrize("given", ["", "x" * 65, "a b", "a\tb", "<script>", "ä"])
async def test_a_request_id_that_is_not_plain_is_replaced(client: httpx.AsyncClient, given: str) -> None:
    answer = await client.get("/things/a", headers={b"X-Request-Id": given.encode()})
    assert answer.headers["x-request-id"] != given
    assert len(answer.headers["x-request-id"]) == 32
    other = await client.get("/things/a")
    assert other.headers["x-request-id"] != answer.headers["x-request-id"]


async def test_each_request_is_logged_once_under_its_id_without_its_query(client: httpx.AsyncClient) -> None:
    with capture_logs(processors=[structlog.contextvars.merge_contextvars]) as logs:
        await client.get("/things/a?size=1&token=hush", headers={"X-Request-Id": "r-1"})
        await client.get("/livez")
    ours, request, probe = logs
    assert (ours["event"], ours["request_id"]) == ("working", "r-1")
    assert request.pop("duration_ms") >= 0
    assert request == {
        "event": "request",
        "log_level": "info",
        "method": "GET",
        "route": "/things/{thing}",
        "status": 200,
        "request_id": "r-1",
    }
    assert (probe["log_level"], probe["route"]) == ("debug", "/livez")
    assert structlog.contextvars.get_contextvars() == {}


async def test_what_a_request_binds_to_the_log_does_not_reach_the_next(client: httpx.AsyncClient) -> None:
    structlog.contextvars.bind_contextvars(subject="car-6")
    with capture_logs(processors=[structlog.contextvars.merge_contextvars]) as logs:
        await client.get("/things/a")
    assert all("subject" not in line for line in logs)


async def test_requests_are_counted_and_timed_by_route_method_and_status(client: httpx.AsyncClient) -> None:
    def count(name: str, **labels: str) -> float:
        return REGISTRY.get_sample_value(name, labels) or 0

    expected = [
        {"route": "/things/{thing}", "method": "GET", "status": "200"},
        {"route": "unmatched", "method": "GET", "status": "404"},
        {"route": "/fails/{how}", "method": "GET", "status": "500"},
        {"route": "unmatched", "method": "other", "status": "404"},
    ]
    names = ["hiper_http_requests_total", "hiper_http_request_duration_seconds_count"]
    before = [count(name, **labels) for name in names for labels in expected]
    for method, path in (("GET", "/things/a"), ("GET", "/no"), ("GET", "/fails/bug"), ("BREW", "/no")):
        with capture_logs():
            await client.request(method, path)
    after = [count(name, **labels) for name in names for labels in expected]
    assert after == [value + 1 for value in before]


async def test_metrics_are_there_for_prometheus(client: httpx.AsyncClient) -> None:
    await client.get("/things/a")
    answer = await client.get("/metrics")
    assert answer.headers["content-type"].startswith("text/plain")
    assert 'hiper_http_requests_total{method="GET",route="/things/{thing}",status="200"}' in answer.text


async def test_liveness_does_not_depend_on_anything_and_readiness_does() -> None:
    there = {"store": False, "bus": True, "revocations": False}
    async with talking_to(build(lambda: there)) as client:
        assert (await client.get("/livez")).text == "ok"
        document = assert_problem(await client.get("/readyz"), Kind.NOT_READY)
        assert document["missing"] == ["revocations", "store"]
        there.update(store=True, revocations=True)
        assert (await client.get("/readyz")).text == "ok"


async def test_what_is_not_http_passes_through() -> None:
    """The lifespan, for one: startup completes."""
    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)

    received = [{"type": "lifespan.shutdown"}, {"type": "lifespan.startup"}]

    async def receive() -> Message:
        return received.pop()

    await build()({"type": "lifespan"}, receive, send)
    assert [message["type"] for message in sent] == [
        "lifespan.startup.complete",
        "lifespan.shutdown.complete",
    ]


async def test_bodies_stream_through_the_shell_both_ways() -> None:
    """The first block of the answer is out before the second block of the request comes in."""
    sent: asyncio.Queue[Message] = asyncio.Queue()
    received: asyncio.Queue[Message] = asyncio.Queue()
    serving = asyncio.create_task(build()(http_scope("POST", "/echo"), received.get, sent.put))
    received.put_nowait({"type": "http.request", "body": b"one", "more_body": True})
    async with asyncio.timeout(5):
        assert (await sent.get())["type"] == "http.response.start"
        assert (await sent.get())["body"] == b"one"
        assert sent.empty()
        received.put_nowait({"type": "http.request", "body": b"two", "more_body": False})
        assert (await sent.get())["body"] == b"two"
        await serving


async def test_openapi_documents_problems_and_nothing_that_is_never_sent(client: httpx.AsyncClient) -> None:
    document = (await client.get("/openapi.json")).json()
    assert document["info"] == {"title": "Test", "description": "A service.", "version": "1.2.3"}
    responses = document["paths"]["/things/{thing}"]["get"]["responses"]
    assert set(responses) == {"200", "404", "503", "default"}
    content = responses["404"]["content"]["application/problem+json"]
    assert set(content["examples"]) == {"not-found", "no-route"}
    assert set(content["schema"]["required"]) == {"type", "title", "status", "detail"}
    assert "HTTPValidationError" not in json.dumps(document)
    assert (await client.get("/docs")).status_code == 200


def test_the_version_is_that_of_the_installed_distribution(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("libs.common.web.app.distribution_version", {"hiper-automotive": "1.2.3"}.__getitem__)
    assert installed_version() == "1.2.3"


def test_a_checkout_that_is_not_installed_has_version_zero(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(name: str) -> str:
        raise PackageNotFoundError(name)

    monkeypatch.setattr("libs.common.web.app.distribution_version", absent)
    assert installed_version() == "0"
