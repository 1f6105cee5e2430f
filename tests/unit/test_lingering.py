"""A client reads the answer to a request whose body the server does not want, however it is sent (RFC 9112, section
9.6); and nobody keeps a connection by sending on."""

import asyncio
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import uvicorn
from starlette.requests import Request
from starlette.responses import PlainTextResponse

from libs.common.problems import Kind, Problem
from libs.common.web import create_app
from tests.unit.keyrings import plain_settings
from tests.unit.test_http1 import Connection, no_lifespan, serving

WHOLE, SILENCE = 1.5, 0.6  # seconds for the rest of a body, and between two pieces of it
SIZE = 12 * 2**20  # more than the buffers of a connection hold
MOST = 16 * 2**20  # bytes that the server throws away
REFUSALS = (Kind.UNAUTHORIZED, Kind.FORBIDDEN, Kind.TOO_LARGE, Kind.TOO_MANY_REQUESTS, Kind.BUSY, Kind.STORE_FULL)


@pytest.fixture
async def server() -> AsyncIterator[uvicorn.Server]:
    """Refuses every POST to /refuse/{slug} with the problem of that slug, and reads nothing of it."""
    settings = plain_settings(body_timeout=WHOLE, body_idle_timeout=SILENCE, max_chunk_size=MOST // 4)
    app = create_app("Test", "", "1", no_lifespan, dict, settings)

    @app.post("/refuse/{slug}")
    async def refuse(slug: str) -> None:
        raise Problem(next(kind for kind in Kind if kind.slug == slug), "no")

    @app.post("/count")
    async def count(request: Request) -> PlainTextResponse:
        return PlainTextResponse(str(len(await request.body())))

    async with serving(settings, app) as running:
        yield running


@asynccontextmanager
async def connected(server: uvicorn.Server) -> AsyncIterator[Connection]:
    made = Connection(*await asyncio.open_connection("127.0.0.1", server.config.port))
    try:
        yield made
    finally:
        made.close()


def head(kind: Kind, *fields: str, version: str = "1.1", size: int = SIZE) -> bytes:
    lines = (f"POST /refuse/{kind.slug} HTTP/{version}", "Host: x", f"Content-Length: {size}", *fields, "", "")
    return "\r\n".join(lines).encode()


async def gone(server: uvicorn.Server, within: float) -> float:
    """How long it takes until the server has no connection left."""
    began = time.monotonic()
    async with asyncio.timeout(within):
        while server.server_state.connections:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    return time.monotonic() - began


@pytest.mark.parametrize("kind", REFUSALS, ids=lambda kind: str(kind.status))
@pytest.mark.parametrize(
    ("version", "fields"),
    [("1.1", ()), ("1.1", ("Connection: close",)), ("1.0", ()), ("1.1", ("Expect: 100-continue",))],
    ids=["kept", "closed", "HTTP/1.0", "asked and not waited"],
)
async def test_a_client_that_sends_all_before_it_reads_learns_that_it_is_refused(
    server: uvicorn.Server, kind: Kind, version: str, fields: tuple[str, ...]
) -> None:
    async with connected(server) as client:
        await client.send(head(kind, *fields, version=version))
        await asyncio.sleep(0.02)  # the answer is on its way before the body
        await client.send(b"x" * SIZE)
        status, body = await client.answer()
        assert (status, json.loads(body)["type"]) == (kind.status, f"urn:hiper:problem:{kind.slug}")
        if version == "1.0" or fields:
            assert await client.ended()
            return
        await client.send(head(kind, size=0))  # the connection is still good
        assert (await client.answer())[0] == kind.status


async def test_what_is_no_http_is_answered_even_if_more_of_it_comes(server: uvicorn.Server) -> None:
    async with connected(server) as client:
        await client.send(b"\x16\x03\x01\r\n\r\n")
        await client.send(b"x" * SIZE)
        assert (await client.answer())[0] == 400


async def test_a_body_that_is_no_http_is_not_answered_a_second_time(server: uvicorn.Server) -> None:
    sent = head(Kind.FORBIDDEN).replace(b"Content-Length: %d" % SIZE, b"Transfer-Encoding: chunked")
    async with connected(server) as client:
        await client.send(sent)
        assert (await client.answer())[0] == 403
        await client.send(b"not a size\r\n")
        assert await client.ended()


@pytest.mark.parametrize("fields", [(), ("Connection: close",)], ids=["kept", "closed"])
async def test_a_body_that_does_not_end_is_given_up_by_the_deadline(
    server: uvicorn.Server, fields: tuple[str, ...]
) -> None:
    async with connected(server) as client:
        await client.send(head(Kind.FORBIDDEN, *fields))
        assert (await client.answer())[0] == 403
        began = time.monotonic()
        assert await client.refused_while_sending(b"x", 100, SILENCE / 4)
        assert time.monotonic() - began >= WHOLE * 0.8


async def test_a_silent_client_is_given_up_sooner(server: uvicorn.Server) -> None:
    async with connected(server) as client:
        await client.send(head(Kind.FORBIDDEN, "Connection: close"))
        assert (await client.answer())[0] == 403
        assert SILENCE * 0.5 <= await gone(server, 10) < WHOLE


@pytest.mark.parametrize("fields", [(), ("Connection: close",)], ids=["kept", "closed"])
async def test_a_body_without_end_is_given_up_by_its_size(server: uvicorn.Server, fields: tuple[str, ...]) -> None:
    async with connected(server) as client:
        await client.send(head(Kind.FORBIDDEN, *fields, size=10**12))
        assert await client.refused_while_sending(b"x" * 2**20, 4 * MOST // 2**20)


async def test_a_connection_is_gone_once_the_client_has_closed_it(server: uvicorn.Server) -> None:
    async with connected(server) as client:
        await client.send(head(Kind.FORBIDDEN, "Connection: close", size=0))
        assert (await client.answer())[0] == 403
        assert await client.ended()
    assert await gone(server, 10) < SILENCE


async def test_clients_that_owe_nothing_do_not_hold_up_the_end_of_a_process(server: uvicorn.Server) -> None:
    async with connected(server) as idle, connected(server) as lingering:
        await idle.send(head(Kind.FORBIDDEN, size=0))
        await lingering.send(head(Kind.FORBIDDEN, "Connection: close", size=0))
        assert [(await client.answer())[0] for client in (idle, lingering)] == [403, 403]
        for connection in list(server.server_state.connections):
            connection.shutdown()
        assert await gone(server, 10) < SILENCE / 2


async def test_what_waits_for_a_body_that_turned_out_to_be_no_http_hears_of_the_end(server: uvicorn.Server) -> None:
    async with connected(server) as client:
        await client.send(b"POST /count HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n")
        await asyncio.sleep(0.05)
        assert server.server_state.tasks
        await client.send(b"not a size\r\n")
        assert (await client.answer())[0] == 400
        async with asyncio.timeout(SILENCE):
            while server.server_state.tasks:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
