"""A client must read its answers: slowly, if it likes, but steadily."""

import asyncio
import contextlib
import socket
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import uvicorn
from fastapi.responses import Response, StreamingResponse

from libs.common.web import create_app
from libs.common.web.serving import uvicorn_config
from tests.ports import free_port
from tests.unit.keyrings import plain_settings
from tests.unit.metrics import value
from tests.unit.test_http1 import no_lifespan

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells what a client has acknowledged")
LIMIT = 1.0  # seconds that a client may read nothing
RATE = 20_000  # bytes per second that it must read
SIZE = 400_000  # bytes of an answer
CUT = "hiper_http_answers_cut_total"


@pytest.fixture
async def port() -> AsyncIterator[int]:
    """A server whose GET /blocks streams an answer; GET /whole gives it at once, and /last closes the connection."""
    settings = plain_settings(answer_idle_timeout=LIMIT, answer_least_rate=RATE)
    app = create_app("Test", "", "1", no_lifespan, dict, settings)

    async def blocks() -> AsyncIterator[bytes]:
        for _ in range(SIZE // 10_000):
            yield bytes(10_000)

    @app.get("/blocks")
    async def streamed() -> StreamingResponse:
        return StreamingResponse(blocks(), headers={"Content-Length": str(SIZE)})

    @app.get("/whole")
    async def whole() -> Response:
        return Response(bytes(SIZE))

    @app.get("/last")
    async def last() -> Response:
        return Response(bytes(SIZE), headers={"Connection": "close"})

    config = uvicorn_config(settings, app, free_port())
    server = uvicorn.Server(config)
    serving = asyncio.create_task(server._serve())
    while not server.started:  # noqa: ASYNC110
        await asyncio.sleep(0.01)
    yield config.port
    server.should_exit = True
    await serving
    assert not server.server_state.connections


@pytest.fixture(params=["blocks", "whole", "last"])
async def client(request: pytest.FixtureRequest, port: int) -> AsyncIterator[socket.socket]:
    """A client that asked, and has read nothing yet; its own machine takes 4 KiB ahead."""
    with socket.socket() as made:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        made.setblocking(False)
        await asyncio.get_running_loop().sock_connect(made, ("127.0.0.1", port))
        made.send(f"GET /{request.param} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        yield made


async def read(client: socket.socket, size: int, pause: float) -> int:
    """Read `size` bytes, then pause, and so on; how many bytes came before the whole answer or the end."""
    got = 0
    with contextlib.suppress(ConnectionError):
        while got < SIZE and (block := await asyncio.get_running_loop().sock_recv(client, size)):
            got += len(block)
            await asyncio.sleep(pause)
    return got


async def cut_since(before: float) -> float:
    """Seconds until a connection was cut."""
    began = time.monotonic()
    async with asyncio.timeout(10 * LIMIT):
        while value(CUT) == before:  # noqa: ASYNC110
            await asyncio.sleep(0.02)
    return time.monotonic() - began


async def test_a_client_that_reads_nothing_is_cut(client: socket.socket) -> None:
    assert await cut_since(value(CUT)) >= LIMIT * 0.9
    assert await read(client, 65_536, 0) < SIZE


async def test_so_is_one_that_crawls(client: socket.socket) -> None:
    reading = asyncio.create_task(read(client, RATE // 100, 0.1))
    await cut_since(value(CUT))
    assert not reading.done()
    reading.cancel()


async def test_a_client_that_reads_slowly_and_steadily_gets_all_of_it(client: socket.socket) -> None:
    before = value(CUT)
    assert await read(client, RATE // 2, 0.05) >= SIZE
    assert value(CUT) == before


async def test_what_a_stalled_client_leaves_unread_is_not_piled_up_in_the_kernel(
    client: socket.socket, port: int
) -> None:
    """By default the kernel takes 4 MiB for each: 500 such clients would end a replica of 2 GiB."""
    await asyncio.sleep(LIMIT / 2)
    assert 0 < max(queued(port)) < 350_000


def queued(port: int) -> list[int]:
    """Bytes that the kernel holds for the client of each connection of the server."""
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()]
    return [int(row[4].split(":")[0], 16) for row in rows if row[1].endswith(f":{port:04X}")]
