"""The edges that the project brings hand on a body as it comes: when the link breaks, the bytes before are kept."""

import asyncio
import contextlib
import os
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.deploy import switches
from tests.deploy.chart import DEV, nginx_annotations, render
from tests.deploy.test_compose_edge import caddy
from tests.e2e.device import Device, new_device
from tests.e2e.processes import Deployment, embedded
from tests.nginx import nginx

MIB = 2**20
SIZE = 200 * MIB
BLOCK = os.urandom(MIB)
# https://kubernetes.github.io/ingress-nginx/user-guide/nginx-configuration/annotations/
DIRECTIVES = {"proxy-body-size": "client_max_body_size"}
SECONDS = {"proxy-read-timeout", "proxy-send-timeout"}
NO_DIRECTIVES = {"upstream-hash-by"}  # there is one replica here


@dataclass
class Address:
    port: int
    tls: ssl.SSLContext | None = None

    async def send(self, car: Device, start: int, end: int, cut: int | None = None) -> str:
        """The file's bytes [start, end) in one body; the first line of the answer. With `cut` the connection ends
        before that byte."""
        reader, writer = await asyncio.open_connection("localhost", self.port, ssl=self.tls)
        head = (
            f"POST /upload?filename=long HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {car.token}\r\n"
            f"Content-Type: application/octet-stream\r\nContent-Range: bytes {start}-{end - 1}/{SIZE}\r\n"
            f"Content-Length: {end - start}\r\nConnection: close\r\n\r\n"
        )
        try:
            writer.write(head.encode())
            last = end if cut is None else cut
            for at in range(start, last, MIB):
                writer.write((BLOCK[start % MIB :] + BLOCK)[: min(MIB, last - at)])
                await writer.drain()
            if cut is None:
                return (await reader.readline()).decode()
            return ""
        finally:
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()


@contextmanager
def of_the_chart(service: int, directory: Path) -> Iterator[Address]:
    """nginx with what the annotations of the chart's Ingress make of its configuration."""
    ingress = {"ingress": switches.INGRESS}
    found = nginx_annotations(render(DEV, ingress), "ingest")
    lines = [
        f"{DIRECTIVES.get(name, name.replace('-', '_'))} {value}{'s' if name in SECONDS else ''};"
        for name, value in found.items()
        if name not in NO_DIRECTIVES
    ]
    lines.remove("proxy_http_version 1.1;")  # the test's own configuration has it
    with nginx(directory, "\n".join([*lines, f"location / {{ proxy_pass http://127.0.0.1:{service}; }}"])) as port:
        yield Address(port)


@contextmanager
def of_compose(deployment: Deployment, directory: Path) -> Iterator[Address]:
    serve = deployment.processes["serve"]
    with caddy(directory, {"auth": serve, "ingest": serve}) as edge:
        yield Address(edge.port, ssl.create_default_context(cafile=edge.ca))


@pytest.mark.parametrize("kind", ["the chart's nginx", "the Caddy of compose"])
async def test_a_long_body_that_breaks_off_at_the_edge_keeps_what_came_and_goes_on(tmp_path: Path, kind: str) -> None:
    server, proxy = tmp_path / "server", tmp_path / "proxy"
    server.mkdir()
    proxy.mkdir()
    with embedded(server) as deployment:
        port = deployment.processes["serve"].port
        edge = of_the_chart(port, proxy) if kind == "the chart's nginx" else of_compose(deployment, proxy)
        with edge as address:
            async with new_device(deployment, "car-1") as car:
                await address.send(car, 0, SIZE, cut=SIZE // 2)
                kept = await _kept(car, SIZE // 2 - 8 * MIB)
                assert "200" in await address.send(car, kept, SIZE)
                await car.wait_for("long", "complete")
                assert await car.content("long") == BLOCK * (SIZE // MIB)


async def _kept(car: Device, least: int) -> int:
    """`next_expected_byte`, once it has reached what must be kept and stays the same."""
    kept = -1
    async with asyncio.timeout(60):
        while True:
            status, answer = await car.status("long")
            if status == 200 and least <= answer["next_expected_byte"] == kept:
                return kept
            kept = answer.get("next_expected_byte", -1)
            await asyncio.sleep(1)
