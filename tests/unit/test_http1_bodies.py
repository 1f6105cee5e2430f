"""A body reaches the application byte by byte as it was sent, however it comes."""

import asyncio
import hashlib
import random
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import pytest
from fastapi import Request
from fastapi.responses import PlainTextResponse

from libs.common.web.http1.messages import MessageProtocol
from tests.unit.keyrings import plain_settings
from tests.unit.test_http1 import Connection, build, serving

BODIES = 12  # one behind the other on a connection
CUTS = (1, 7, 4096, 70_000, 300_000)  # bytes
SIZES = (0, 1, 9, 1000, 65_536, 65_545, 300_000)  # bytes
HEAD = b"POST /%b HTTP/1.1\r\nHost: x\r\n"
LIKE_A_REQUEST = HEAD % b"count" + b"Content-Length: 0\r\n\r\n"
WITH_LENGTH = b"Content-Length: %d\r\n\r\n%b" % (len(LIKE_A_REQUEST), LIKE_A_REQUEST)
IN_CHUNKS = b"Transfer-Encoding: chunked\r\n\r\n%x\r\n%b\r\n0\r\n\r\n" % (len(LIKE_A_REQUEST), LIKE_A_REQUEST)


@asynccontextmanager
async def connected(rng: random.Random, slow: float = 0.3) -> AsyncIterator[Connection]:
    """To a server whose POST /digest takes this share of a body's blocks slowly, and the others at once."""
    settings = plain_settings()
    app = build(settings)

    @app.post("/digest")
    async def digest(request: Request) -> PlainTextResponse:
        done = hashlib.sha256()
        async for block in request.stream():
            done.update(block)
            if rng.random() < slow:
                await asyncio.sleep(0.005)
        return PlainTextResponse(done.hexdigest())

    async with serving(settings, app) as server:
        connection = Connection(*await asyncio.open_connection("127.0.0.1", server.config.port))
        yield connection
        connection.close()


def request(rng: random.Random, body: bytes) -> bytes:
    """A request with the body, in one of the two forms that HTTP/1.1 has."""
    head = b"POST /digest HTTP/1.1\r\nHost: x\r\n"
    if rng.random() < 0.5:
        return head + b"Content-Length: %d\r\n\r\n" % len(body) + body
    chunks = b"".join(b"%x\r\n%b\r\n" % (len(chunk), chunk) for chunk in pieces(rng, body))
    return head + b"Transfer-Encoding: chunked\r\n\r\n" + chunks + b"0\r\n\r\n"


def pieces(rng: random.Random, data: bytes) -> Iterator[bytes]:
    """The data, cut at random: into crumbs, into large blocks."""
    at = 0
    while at < len(data):
        size = rng.choice(CUTS)
        yield data[at : at + size]
        at += size


@pytest.mark.parametrize("seed", range(6))
async def test_every_body_arrives_as_it_was_sent(seed: int) -> None:
    rng = random.Random(seed)
    bodies = [rng.randbytes(rng.choice(SIZES)) for _ in range(BODIES)]
    async with connected(rng) as connection, asyncio.timeout(30), asyncio.TaskGroup() as tasks:
        wire = b"".join(request(rng, body) for body in bodies)
        tasks.create_task(sent(connection, list(pieces(rng, wire))))
        for body in bodies:
            assert await connection.answer() == (200, hashlib.sha256(body).hexdigest().encode())


async def sent(connection: Connection, parts: list[bytes]) -> None:
    for part in parts:
        await connection.send(part)
        await asyncio.sleep(0)


@pytest.mark.parametrize("form", [WITH_LENGTH, IN_CHUNKS], ids=["with length", "in chunks"])
@pytest.mark.parametrize("path", [b"digest", b"refused"])
async def test_a_body_ends_where_its_head_says_wherever_the_segments_are_cut(
    form: bytes, path: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also the body of a request that is answered before its body is read. The next request follows at once, and the
    bodies look like requests, so a border that is one byte wrong gives other answers."""
    heard = asyncio.Queue[int]()  # bytes of each segment
    original = MessageProtocol.data_received

    def data_received(protocol: MessageProtocol, data: bytes) -> None:
        heard.put_nowait(len(data))
        original(protocol, data)

    monkeypatch.setattr(MessageProtocol, "data_received", data_received)
    wire = HEAD % path + form + HEAD % b"digest" + form
    digest = hashlib.sha256(LIKE_A_REQUEST).hexdigest().encode()
    async with connected(random.Random(0), slow=0) as connection, asyncio.timeout(30):
        for cut in range(1, len(wire) + 1):
            for segment in (wire[:cut], wire[cut:]):
                await connection.send(segment)
                unheard = len(segment)
                while unheard:
                    unheard -= await heard.get()
            status, body = await connection.answer()
            assert status == 404 if path == b"refused" else (status, body) == (200, digest)
            assert await connection.answer() == (200, digest)


async def test_a_block_that_comes_alone_is_not_copied_and_crumbs_are_gathered(monkeypatch: pytest.MonkeyPatch) -> None:
    """Gathered in a bytearray: bytes would be copied once more for each crumb."""
    parsed, waiting, taken = list[bytes](), list[type](), list[bytes]()
    original = MessageProtocol.on_body

    def on_body(protocol: MessageProtocol, body: bytes) -> None:
        original(protocol, body)
        parsed.append(body)
        waiting.append(type(protocol.cycle.body))

    monkeypatch.setattr(MessageProtocol, "on_body", on_body)
    settings = plain_settings()
    app = build(settings)

    @app.post("/keep")
    async def keep(request: Request) -> PlainTextResponse:
        taken.append(await anext(request.stream()))
        return PlainTextResponse("kept")

    async with serving(settings, app) as server:
        connection = Connection(*await asyncio.open_connection("127.0.0.1", server.config.port))
        head = b"POST /keep HTTP/1.1\r\nHost: x\r\n"
        await connection.send(head + b"Content-Length: 20000\r\n\r\n" + b"a" * 20_000)
        assert await connection.answer() == (200, b"kept")
        await connection.send(head + b"Transfer-Encoding: chunked\r\n\r\n2\r\nab\r\n2\r\ncd\r\n2\r\nef\r\n0\r\n\r\n")
        assert await connection.answer() == (200, b"kept")
        connection.close()
    assert taken[0] is parsed[0]
    assert taken[1] == b"abcdef"
    assert waiting == [bytes, bytes, bytearray, bytearray]
