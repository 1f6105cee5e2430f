"""Something on the way answers instead of the server, for a while: a portal, a proxy, an ingress."""

import asyncio
from collections.abc import Callable

import pytest

from libs.client import HiperClient
from libs.client.errors import GatewayError, NotFoundError, UnauthorizedError
from tests.unit.client.conftest import ADMIN_SECRET
from tests.unit.client.live import LiveServer, OpenFar, Relay, first_of, pump

PAGE = "<html><body>Welcome. Please accept the terms of this network.</body></html>"


class Gateway(Relay):
    """Asks `spoils` with each request line whether to answer itself, and with which status; passes the rest on."""

    def __init__(self, server: LiveServer, spoils: Callable[[str], str], deaf: bool = False) -> None:
        super().__init__(server.port)
        self._spoils = spoils
        self._deaf = deaf  # whether spoiled requests reach the server too, and only their answers are lost
        self.spoiled = 0
        self.retry_after = 0  # seconds

    async def carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, far: OpenFar) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        status = self._spoils(head.decode().splitlines()[0])
        self.spoiled += bool(status)
        if not status or self._deaf:
            far_reader, far_writer = await far()
            far_writer.write(head.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))
            if not status:
                await first_of([pump(reader, far_writer), pump(far_reader, writer)])
                return
            await far_reader.read()
        fields = f"Content-Type: text/html\r\nContent-Length: {len(PAGE)}\r\nConnection: close"
        fields += f"\r\nRetry-After: {self.retry_after}" if self.retry_after else ""
        writer.write(f"HTTP/1.1 {status}\r\n{fields}\r\n\r\n{PAGE}".encode())
        await asyncio.sleep(0.05)  # so that the answer is seen before the end


def first(count: int, begin: str, status: str) -> Callable[[str], str]:
    """Spoils the first `count` requests whose line begins so."""
    left = count

    def spoils(line: str) -> str:
        nonlocal left
        if left and line.startswith(begin):
            left -= 1
            return status
        return ""

    return spoils


@pytest.mark.parametrize("status", ["404 Not Found", "200 OK", "302 Found", "502 Bad Gateway", "401 Unauthorized"])
@pytest.mark.parametrize("begin", ["POST /token", "POST /upload", "GET /files/f/status"])
async def test_an_upload_outlasts_what_a_gateway_says(server: LiveServer, begin: str, status: str) -> None:
    async with Gateway(server, first(2, begin, status)) as gateway:
        async with HiperClient(gateway.url, "admin", ADMIN_SECRET, retry_for=30) as client:
            result = await client.upload(b"x" * 100_000, "f", jobs=1)
        assert gateway.spoiled == 2
    assert (result.status, result.sent_bytes) == ("complete", 100_000)


async def test_a_file_is_deleted_before_it_is_complete_only_if_the_server_says_so(server: LiveServer) -> None:
    posted = False

    def not_found_after_the_bytes(line: str) -> str:
        nonlocal posted
        posted = posted or line.startswith("POST /upload")
        return "404 Not Found" if posted and "/status" in line else ""

    async with (
        Gateway(server, not_found_after_the_bytes) as gateway,
        HiperClient(gateway.url, "admin", ADMIN_SECRET, retry_for=1) as client,
    ):
        with pytest.raises(GatewayError, match="a gateway answered 404 Not Found"):
            await client.upload(b"x", "f")


@pytest.mark.parametrize("status", ["400 Bad Request", "401 Unauthorized", "403 Forbidden"])
async def test_a_secret_is_wrong_only_if_the_server_says_so(server: LiveServer, status: str) -> None:
    async with (
        Gateway(server, lambda line: status if line.startswith("POST /token") else "") as gateway,
        HiperClient(gateway.url, "admin", ADMIN_SECRET, retry_for=0) as client,
    ):
        with pytest.raises(GatewayError, match=f"a gateway answered {status}"):
            await client.verify()
    async with HiperClient(server.url, "admin", "wrong", retry_for=0) as client:
        with pytest.raises(UnauthorizedError, match="does not accept the id or the secret"):
            await client.verify()


async def test_a_file_is_gone_only_if_the_server_says_so(server: LiveServer, client: HiperClient) -> None:
    await client.upload(b"x", "f")
    async with (
        Gateway(server, lambda line: "404 Not Found" if "/files" in line else "") as gateway,
        HiperClient(gateway.url, "admin", ADMIN_SECRET, retry_for=0) as far,
    ):
        for ask in (far.status, far.delete):
            with pytest.raises(GatewayError):
                await ask("f")
    assert (await client.status("f")).status == "complete"


@pytest.mark.parametrize("status", ["504 Gateway Timeout", "200 OK"])
async def test_a_delete_that_took_effect_behind_a_gateway_s_answer_is_done(
    server: LiveServer, client: HiperClient, status: str
) -> None:
    await client.upload(b"x", "f")
    async with Gateway(server, first(1, "DELETE", status), deaf=True) as gateway:
        gateway.retry_after = 7  # by then the name is free again, and there is nothing to delete
        async with HiperClient(gateway.url, "admin", ADMIN_SECRET, retry_for=30) as far:
            await far.delete("f")
        assert gateway.spoiled == 1
    with pytest.raises(NotFoundError):
        await client.status("f")


class Stripping(Relay):
    """A proxy that takes the ETag from every answer."""

    async def carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, far: OpenFar) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        far_reader, far_writer = await far()
        far_writer.write(head.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))
        sending = asyncio.create_task(pump(reader, far_writer))
        lines = (await far_reader.readuntil(b"\r\n\r\n")).split(b"\r\n")
        writer.write(b"\r\n".join(line for line in lines if not line.lower().startswith(b"etag:")))
        await pump(far_reader, writer)
        sending.cancel()


async def test_an_upload_needs_no_etag_of_the_answers(server: LiveServer, client: HiperClient) -> None:
    data = bytes(range(256)) * 8192
    async with (
        Stripping(server.port) as proxy,
        HiperClient(proxy.url, "admin", ADMIN_SECRET, retry_for=30) as far,
    ):
        result = await far.upload(data, "f", chunk_size=2**18)
        assert (result.status, result.sent_bytes) == ("complete", len(data))
        assert result.session == (await client.status("f")).session
        assert (await far.upload(data, "f")).sent_bytes == 0
        await far.delete("f")


async def test_a_proxy_that_takes_only_small_requests_gets_small_ones(server: LiveServer) -> None:
    """nginx as it comes takes 1 MiB, and answers 413 with a page of its own."""

    def too_large(line: str) -> str:
        return "413 Request Entity Too Large" if gateway.spoiled < 2 and line.startswith("POST /upload") else ""

    async with (
        Gateway(server, too_large) as gateway,
        HiperClient(gateway.url, "admin", ADMIN_SECRET, retry_for=30) as client,
    ):
        result = await client.upload(b"x" * 2**20, "f", jobs=1)
    assert result.sent_bytes == 2**20
