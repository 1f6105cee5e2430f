"""What comes before a request reaches the application is bounded in time and size."""

import asyncio
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import uvicorn
from fastapi import FastAPI, Request
from fastapi.responses import PlainTextResponse

from libs.common.settings import Settings
from libs.common.web import create_app
from libs.common.web.serving import uvicorn_config
from tests.ports import free_port
from tests.unit.keyrings import plain_settings
from tests.unit.metrics import growth

TIMEOUT = 0.4  # seconds for the headers
LIMIT = 4096  # bytes of headers
ASK = b"GET /wait HTTP/1.1\r\nHost: x\r\n"


@asynccontextmanager
async def no_lifespan(_app: FastAPI) -> AsyncIterator[None]:
    yield


class Connection:
    """What a client sends byte by byte."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer

    async def send(self, data: bytes) -> None:
        self._writer.write(data)
        await self._writer.drain()

    async def refused_while_sending(self, block: bytes, times: int, pause: float = 0) -> bool:
        """Send a block many times; whether the server ended the connection before the last of them."""
        try:
            for _ in range(times):
                await self.send(block)
                await asyncio.sleep(pause)
        except ConnectionError:
            return True
        return False

    async def answer(self) -> tuple[int, bytes]:
        """Status and body of the next answer."""
        head = await self._reader.readuntil(b"\r\n\r\n")
        fields = dict(line.lower().split(": ", 1) for line in head.decode().split("\r\n")[1:] if line)
        return int(head.split()[1]), await self._reader.readexactly(int(fields["content-length"]))

    async def ended(self, within: float = 10) -> bool:
        """Wait until the server has ended the connection; whether it said nothing more."""
        async with asyncio.timeout(within):
            try:
                return await self._reader.read() == b""
            except ConnectionError:
                return True

    def close(self) -> None:
        self._writer.close()


@pytest.fixture
async def port() -> AsyncIterator[int]:
    """A server whose GET /wait?seconds=... answers after a while; POST /echo counts the body's bytes."""
    settings = plain_settings(header_timeout=TIMEOUT, max_header_bytes=LIMIT, max_chunk_size=2**20)
    async with serving(settings, build(settings)) as server:
        yield server.config.port


def build(settings: Settings) -> FastAPI:
    app = create_app("Test", "", "1", no_lifespan, dict, settings)

    @app.get("/wait")
    async def wait(seconds: float = 0) -> PlainTextResponse:
        await asyncio.sleep(seconds)
        return PlainTextResponse("waited")

    @app.post("/count")
    async def count(request: Request) -> PlainTextResponse:
        return PlainTextResponse(str(len(await request.body())))

    return app


@asynccontextmanager
async def serving(settings: Settings, app: FastAPI) -> AsyncIterator[uvicorn.Server]:
    server = uvicorn.Server(uvicorn_config(settings, app, free_port()))
    task = asyncio.create_task(server._serve())
    while not server.started:  # noqa: ASYNC110
        await asyncio.sleep(0.01)
    try:
        yield server
    finally:
        server.should_exit = True
        await task


@pytest.fixture
async def connection(port: int) -> AsyncIterator[Connection]:
    made = Connection(*await asyncio.open_connection("127.0.0.1", port))
    yield made
    made.close()


@pytest.mark.parametrize("sent", [b"", b"\r\n", b"GE", ASK, ASK + b"X-Half: a"])
async def test_a_connection_without_a_whole_head_is_dropped_by_the_deadline(
    connection: Connection, sent: bytes
) -> None:
    began = time.monotonic()
    if sent:
        await connection.send(sent)
    assert await connection.ended()
    assert time.monotonic() - began >= TIMEOUT * 0.9


async def test_a_head_that_drips_does_not_put_off_the_deadline(connection: Connection) -> None:
    await connection.send(ASK + b"X-Drip: ")
    assert await connection.refused_while_sending(b"a", 100, TIMEOUT / 10)


async def test_the_deadline_holds_for_the_second_request_of_a_connection_too(connection: Connection) -> None:
    await connection.send(ASK + b"\r\n")
    assert await connection.answer() == (200, b"waited")
    await connection.send(b"\r\n")  # a blank line is no request
    assert await connection.ended()


async def test_an_idle_connection_and_a_slow_answer_are_not_held_against_the_client(connection: Connection) -> None:
    for _ in range(2):
        await connection.send(ASK + b"\r\n")
        assert await connection.answer() == (200, b"waited")
        await asyncio.sleep(TIMEOUT * 2)
    await connection.send(ASK.replace(b"/wait", b"/wait?seconds=1") + b"\r\nGET /wa")
    assert await connection.answer() == (200, b"waited")  # half a request behind it does not break it
    assert await connection.ended()


async def test_a_body_may_take_longer_than_a_head(connection: Connection) -> None:
    await connection.send(b"POST /count HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\n")
    for _ in range(4):
        await asyncio.sleep(TIMEOUT / 2)
        await connection.send(b"x")
    assert await connection.answer() == (200, b"4")


def refused(answer: tuple[int, bytes]) -> str:
    document = json.loads(answer[1])
    assert document["status"] == answer[0]
    return str(document["type"])


@pytest.mark.parametrize(
    "head",
    [
        ASK + b"X-Long: " + b"a" * (LIMIT + 1) + b"\r\n\r\n",
        ASK + b"".join(b"X-%d: a\r\n" % n for n in range(101)) + b"\r\n",
        b"GET /wait?" + b"a" * (LIMIT + 1) + b" HTTP/1.1\r\nHost: x\r\n\r\n",
        ASK + b"X-No-End: " + b"a" * (LIMIT + 1),
    ],
    ids=["bytes", "fields", "address", "without end"],
)
async def test_a_head_that_is_too_large_is_answered_with_431(connection: Connection, head: bytes) -> None:
    with growth("hiper_http_problems_total", type="headers-too-large", status="431") as counted:
        await connection.send(head)
        assert refused(await connection.answer()) == "urn:hiper:problem:headers-too-large"
        assert await connection.ended()
    assert counted.by == 1


async def test_what_just_fits_is_taken_however_it_is_cut(connection: Connection) -> None:
    head = ASK + b"X-Long: " + b"a" * (LIMIT - 100) + b"\r\n\r\n"
    for at in range(0, len(head), 500):
        await connection.send(head[at : at + 500])
        await asyncio.sleep(0.005)
    assert await connection.answer() == (200, b"waited")


async def test_100_mb_of_headers_are_not_taken(connection: Connection) -> None:
    await connection.send(ASK + b"X-No-End: ")
    assert await connection.refused_while_sending(b"a" * 2**20, 100)


@pytest.mark.parametrize("tail", [b"4;ext=", b"0\r\nX-Trailer: "], ids=["chunk extension", "trailer"])
async def test_nor_are_endless_lines_within_a_chunked_body(connection: Connection, tail: bytes) -> None:
    await connection.send(b"POST /count HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n" + tail)
    assert await connection.refused_while_sending(b"a" * 2**20, 100)


async def test_a_long_chunked_body_in_small_pieces_is_taken(connection: Connection) -> None:
    await connection.send(b"POST /count HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
    for _ in range(LIMIT // 4):
        await connection.send(b"1\r\n")
        await asyncio.sleep(0)
        await connection.send(b"a\r\n")
    await connection.send(b"0\r\n\r\n")
    assert await connection.answer() == (200, str(LIMIT // 4).encode())


async def test_what_is_not_http_is_answered_with_a_problem(connection: Connection) -> None:
    with growth("hiper_http_problems_total", type="bad-request", status="400") as counted:
        await connection.send(b"\x16\x03\x01 hello\r\n\r\n")
        assert refused(await connection.answer()) == "urn:hiper:problem:bad-request"
    assert counted.by == 1
