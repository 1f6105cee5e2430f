"""Addresses of a server that are not just a host and a port, from the first request to the file."""

import asyncio
import socket
from contextlib import closing
from pathlib import Path

import pytest

from libs.client import HiperClient
from libs.client.errors import GatewayError
from tests.unit.client.conftest import ADMIN_SECRET
from tests.unit.client.live import LiveServer, OpenFar, Relay, first_of, pump


class Heads(Relay):
    """Rewrites the first line of each request, and keeps the heads."""

    def __init__(self, target_port: int, prefix: str = "") -> None:
        super().__init__(target_port)
        self._prefix = prefix
        self.heads: list[str] = []

    async def carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, far: OpenFar) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        self.heads.append(head)
        far_reader, far_writer = await far()
        own = head.replace(f" {self._prefix}/", " /", 1).replace("\r\n\r\n", "\r\nConnection: close\r\n\r\n")
        far_writer.write(own.encode())
        await first_of([pump(reader, far_writer), pump(far_reader, writer)])


async def test_a_path_in_front_of_the_routes_is_kept(server: LiveServer, tmp_path: Path) -> None:
    async with (
        Heads(server.port, "/fleet/hiper") as edge,
        HiperClient(f"{edge.url}/fleet/hiper/", "admin", ADMIN_SECRET, retry_for=10) as client,
    ):
        await client.upload(b"x", "f")
        await client.download("f", tmp_path / "f")
        await client.devices.register("car-7")
        await client.delete("f")
    assert all(head.split(" ")[1].startswith("/fleet/hiper/") for head in edge.heads)


async def test_a_redirect_gets_no_token_and_no_secret_to_another_host(server: LiveServer) -> None:
    class Redirecting(Relay):
        async def carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, far: OpenFar) -> None:
            await reader.readuntil(b"\r\n\r\n")
            fields = f"Location: {other.url}/token\r\nContent-Length: 0\r\nConnection: close"
            writer.write(f"HTTP/1.1 307 Temporary Redirect\r\n{fields}\r\n\r\n".encode())
            await asyncio.sleep(0.05)

    async with (
        Heads(server.port) as other,
        Redirecting(server.port) as edge,
        HiperClient(edge.url, "admin", ADMIN_SECRET, retry_for=1) as client,
    ):
        for ask in (client.verify(), client.status("f")):
            with pytest.raises(GatewayError, match="sends us from"):
                await ask
    assert other.heads == []


def _ipv6() -> bool:
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::1", 0))
    except OSError:
        return False
    return True


@pytest.mark.skipif(not _ipv6(), reason="this machine has no IPv6")
async def test_an_address_with_a_zone_is_reached_and_the_server_is_not_told_the_zone(server: LiveServer) -> None:
    heads: list[str] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with closing(writer):  # although the test may end in the pause
            heads.append((await reader.readuntil(b"\r\n\r\n")).decode())
            writer.write(b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
            await asyncio.sleep(0.05)

    async with await asyncio.start_server(serve, "::1", 0) as listener:
        port = listener.sockets[0].getsockname()[1]
        zone = 1  # by name only link-local addresses are found, and this machine may have none
        async with HiperClient(f"http://[::1%25{zone}]:{port}", "admin", ADMIN_SECRET, retry_for=0) as client:
            with pytest.raises(GatewayError):
                await client.verify()
    assert f"\r\nHost: [::1]:{port}\r\n" in heads[0]
