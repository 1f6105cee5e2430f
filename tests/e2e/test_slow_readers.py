"""An update goes out to 500 devices at once, and most of them stand in a tunnel: nobody else notices."""

import asyncio
import os
import socket
import statistics
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import aiohttp
import psutil
import pytest

from services.ingest.download_turns import TURNS
from tests.e2e.conftest import QUICK, backend_env
from tests.e2e.device import Device, new_device
from tests.e2e.processes import Deployment, embedded

STALLED, STEADY = 450, 50  # devices
CONTENT = os.urandom(2**20) * 8  # of the update: more than what sockets and read-ahead hold for one device
SLICE, PAUSE = 32 * 1024, 0.5  # bytes and seconds: how a steady device reads
RANGE = 2**19  # bytes that it wants: twice what sockets and read-ahead hold for it
TRIES = 20
MOST_RESIDENT = 450 * 2**20  # bytes of memory of the process


@pytest.fixture(params=["directory", "minio"])
def deployment(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Deployment]:
    env = {"ANSWER_IDLE_TIMEOUT": "600"}  # no device is cut off meanwhile, however busy the machine is
    if request.param == "minio":
        env |= backend_env(request.getfixturevalue("minio"), request.getfixturevalue("rabbitmq"))
        env |= {"EVENT_BUS": "memory"}
    with embedded(tmp_path, **QUICK, **env) as running:
        yield running


@asynccontextmanager
async def asked(deployment: Deployment, token: str, last: int) -> AsyncIterator[socket.socket]:
    """A device that asked for the update, and whose radio takes 4 KiB ahead."""
    port, loop = int(deployment.auth.rpartition(":")[2]), asyncio.get_running_loop()
    with socket.socket() as made:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        made.setblocking(False)
        await loop.sock_connect(made, ("127.0.0.1", port))
        head = (
            f"GET /files/update HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\nRange: bytes=0-{last}\r\n\r\n"
        )
        await loop.sock_sendall(made, head.encode())
        assert await loop.sock_recv(made, 12) == b"HTTP/1.1 206"
        yield made


async def read_steadily(connection: socket.socket, size: int) -> bytes:
    """The body of an answer, as a device on a weak radio takes it."""
    loop, got = asyncio.get_running_loop(), b""
    while b"\r\n\r\n" not in got:
        got += await loop.sock_recv(connection, 4096)
    body = bytearray(got.partition(b"\r\n\r\n")[2])
    while len(body) < size:
        taken = len(body) + SLICE
        while len(body) < min(taken, size):
            block = await loop.sock_recv(connection, SLICE)
            assert block, "the server ended the answer"
            body += block
        await asyncio.sleep(PAUSE)
    return bytes(body)


async def latency(device: Device, prefix: str) -> float:
    """Median seconds of another device's upload and download, each of which succeeds at once."""
    seconds = []
    for number in range(TRIES):
        began = time.perf_counter()
        status, answer = await device.try_once(f"{prefix}-{number}", 16_384, 0, bytes(16_384))
        assert status == 200, answer
        async with device.download("small") as got:
            assert (got.status, await got.read()) == (200, b"small")
        seconds.append(time.perf_counter() - began)
        await asyncio.sleep(0.05)
    return statistics.median(seconds)


async def downloads(deployment: Deployment) -> dict[str, float]:
    """How many downloads are under way, by what they do."""
    async with aiohttp.ClientSession() as http, http.get(f"{deployment.auth}/metrics") as answer:
        rows = [line for line in (await answer.text()).splitlines() if line.startswith("hiper_downloads_open{")]
    return {row.split('"')[1]: float(row.split()[1]) for row in rows}


def connections_to(process: psutil.Process, endpoint: str) -> int:
    port = int(endpoint.rpartition(":")[2])
    return sum(1 for each in process.net_connections("tcp") if each.raddr and each.raddr.port == port)


async def test_500_slow_readers_take_nothing_from_another_device(deployment: Deployment) -> None:
    serve = deployment.processes["serve"]
    assert serve.popen
    process = psutil.Process(serve.popen.pid)
    async with new_device(deployment, "fleet-car") as car, new_device(deployment, "other") as other:
        for device, name, content in ((car, "update", CONTENT), (other, "small", b"small")):
            await device.send(name, len(content), 0, content)
            await device.wait_for(name, "complete")
        before = await latency(other, "before")
        async with AsyncExitStack() as stack:
            crowd = []
            for number in range(STALLED + STEADY):
                last = len(CONTENT) - 1 if number < STALLED else RANGE - 1
                crowd.append(await stack.enter_async_context(asked(deployment, car.token, last)))
            reading = [asyncio.create_task(read_steadily(each, RANGE)) for each in crowd[STALLED:]]
            async with asyncio.timeout(60):
                while sum((await downloads(deployment)).values()) < STALLED:  # noqa: ASYNC110
                    await asyncio.sleep(0.2)
            during = await latency(other, "during")
            seen = await downloads(deployment)
            async with asyncio.timeout(120):
                bodies = await asyncio.gather(*reading)
            resident = process.memory_info().rss
            held = connections_to(process, serve.env["MINIO_ENDPOINT"]) if "MINIO_ENDPOINT" in serve.env else 0
            settled = await downloads(deployment)
    print(f"latency {before:.4f} s, then {during:.4f} s; {resident / 2**20:.0f} MiB; {seen}; {held} connections")
    assert during < 8 * before  # seconds, of three dozen store calls on a machine that does other things too
    assert seen["turn"] < TURNS
    assert settled == {"store": 0, "turn": 0, "client": STALLED}
    assert held <= 2 * TURNS
    assert resident < MOST_RESIDENT
    assert set(bodies) == {CONTENT[:RANGE]}
