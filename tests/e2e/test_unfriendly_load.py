"""Load that is not friendly: slow crowds, silent connections, one that wants everything, a reconnect storm.

The short form is part of `make test`; UNFRIENDLY=long sends the chunks of the slow crowd to their end, to MinIO too.
"""

import asyncio
import os
import statistics
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from pathlib import Path

import aiohttp
import psutil
import pytest
from pydantic import SecretStr

from libs.common.security.tokens import TokenIssuer
from libs.common.settings import Settings
from libs.common.web.serving import raise_file_limit
from tests.e2e.conftest import backend_env
from tests.e2e.processes import SECRETS, Process, running

LONG = os.environ.get("UNFRIENDLY") == "long"
MIB = 2**20
CROWD = 1000  # devices
RATE = 10_000  # bytes per second of each
MOST_RESIDENT = 400 * MIB  # bytes of memory of the ingest process
SILENCE = 2  # seconds that the server waits for headers, or within a body
ISSUER = TokenIssuer(Settings(_env_file=None, secret_key=SecretStr(SECRETS["SECRET_KEY"])))


def token(name: str) -> str:
    return ISSUER.issue(name, ["files:read", "files:write"]).encoded


def request_head(port: int, name: str, filename: str, size: int) -> bytes:
    """The head of an upload of one chunk."""
    return (
        f"POST /upload?filename={filename}&total_size={size} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n"
        f"Authorization: Bearer {token(name)}\r\nContent-Range: bytes 0-{size - 1}/{size}\r\n"
        f"Content-Length: {size}\r\n\r\n"
    ).encode()


@contextmanager
def ingest(
    directory: Path, store: Mapping[str, str] | None = None, *, started: bool = True, **env: str
) -> Iterator[Process]:
    """An ingest process, on the store of some settings, or on a directory."""
    everywhere = {**SECRETS, "LOG_LEVEL": "ERROR", "TMPDIR": str(directory), **(store or {})}
    process = Process("services.ingest", {**everywhere, **env}, directory / "ingest.log")
    with running({"ingest": process} if started else {}):
        try:
            yield process
        finally:
            process.kill()


@asynccontextmanager
async def connected(port: int) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        yield reader, writer
    finally:
        writer.close()


async def upload(http: aiohttp.ClientSession, url: str, name: str, filename: str, body: bytes) -> tuple[int, int]:
    """Status and Retry-After (seconds) of one small file in one chunk; status 0 where nobody listens."""
    headers = {"Authorization": f"Bearer {token(name)}", "Content-Range": f"bytes 0-{len(body) - 1}/{len(body)}"}
    params = {"filename": filename, "total_size": str(len(body))}
    try:
        async with http.post(f"{url}/upload", params=params, data=body, headers=headers) as answer:
            await answer.read()
            return answer.status, int(answer.headers.get("Retry-After", 0))
    except aiohttp.ClientConnectionError:
        return 0, 0


async def latency(url: str, prefix: str, count: int) -> float:
    """Median seconds of a friendly device's uploads, repetitions included."""
    seconds = []
    async with aiohttp.ClientSession() as http:
        for number in range(count):
            began = time.perf_counter()
            while (answer := await upload(http, url, "friendly", f"{prefix}-{number}", b"x" * 16_384))[0] != 200:
                assert answer[0] == 503  # a machine so busy that the store misses its deadlines
                await asyncio.sleep(answer[1])
            seconds.append(time.perf_counter() - began)
            await asyncio.sleep(0.05)
    return statistics.median(seconds)


async def buffered(url: str) -> float:
    """Payload bytes of the requests under way, by the metrics of the process."""
    async with aiohttp.ClientSession() as http, http.get(f"{url}/metrics") as answer:
        lines = [line for line in (await answer.text()).splitlines() if line.startswith("hiper_ingest_buffered_bytes{")]
    return sum(float(line.split()[1]) for line in lines)


async def crawl(port: int, number: int, enough: asyncio.Event) -> int:
    """Send a chunk of 1 MiB at the rate; the status of the answer, 0 where it was left when there was enough."""
    await asyncio.sleep(number % 100 / 100)
    async with connected(port) as (reader, writer):
        writer.write(request_head(port, f"slow-{number}", "slow.bin", MIB))
        for start in range(0, MIB, RATE):
            if enough.is_set() and not LONG:
                return 0
            writer.write(bytes(min(RATE, MIB - start)))
            await writer.drain()
            await asyncio.sleep(1)
        return int((await reader.readline()).split()[1])


@pytest.fixture(params=["a directory", *(["MinIO"] if LONG else [])])
def store(request: pytest.FixtureRequest) -> dict[str, str]:
    """The settings of a store."""
    if request.param == "a directory":
        return {}
    return backend_env(request.getfixturevalue("minio"), request.getfixturevalue("rabbitmq"))


async def test_a_thousand_slow_devices_cost_little_memory_and_slow_down_nobody(
    tmp_path: Path, store: dict[str, str]
) -> None:
    raise_file_limit()
    with ingest(tmp_path, store) as process:
        assert process.popen
        seen, enough = psutil.Process(process.popen.pid), asyncio.Event()
        before = await latency(process.url, "before", 20)
        crowd = [asyncio.create_task(crawl(process.port, number, enough)) for number in range(CROWD)]
        async with asyncio.timeout(60):
            while await buffered(process.url) < CROWD * MIB:  # noqa: ASYNC110  # until all are under way
                await asyncio.sleep(0.2)
        during = await latency(process.url, "during", 20)
        resident = [seen.memory_info().rss]
        enough.set()
        statuses = await asyncio.gather(*crowd)
        resident.append(seen.memory_info().rss)
    print(f"{max(resident) / MIB:.0f} MiB, latency {before:.4f} s, then {during:.4f} s; {dict(Counter(statuses))}")
    assert max(resident) < MOST_RESIDENT
    assert during < 5 * before
    assert set(statuses) == {200 if LONG else 0}  # though all chunks end within the same second


async def test_connections_that_say_nothing_more_are_dropped_by_the_deadline(tmp_path: Path) -> None:
    with ingest(tmp_path, HEADER_TIMEOUT=str(SILENCE), BODY_IDLE_TIMEOUT=str(SILENCE)) as process:
        head = request_head(process.port, "mute", "mute.bin", 100)
        async with AsyncExitStack() as stack:
            readers = []
            for number in range(150):
                reader, writer = await stack.enter_async_context(connected(process.port))
                writer.write((b"", head[:40], head)[number % 3])
                readers.append(reader)
            await latency(process.url, "meanwhile", 3)
            async with asyncio.timeout(60):
                answers = await asyncio.gather(*(reader.read() for reader in readers))
    assert [answer.split(b" ")[1:2] for answer in answers] == [[], [], [b"408"]] * 50


async def test_a_device_over_its_share_gets_429_while_others_go_on(tmp_path: Path) -> None:
    with ingest(tmp_path, LIMITS_CLASSES='{"default": {"concurrent_requests": 4}}') as process:
        async with AsyncExitStack() as stack:
            http = await stack.enter_async_context(aiohttp.ClientSession())
            pairs = [await stack.enter_async_context(connected(process.port)) for _ in range(4)]
            for number, (_, writer) in enumerate(pairs):
                writer.write(request_head(process.port, "greedy", f"big-{number}", 1000))
            async with asyncio.timeout(30):
                while await buffered(process.url) < 4000:  # noqa: ASYNC110  # until all four are under way
                    await asyncio.sleep(0.05)
            answer = await upload(http, process.url, "greedy", "more", b"x")
            assert answer[0] == 429
            assert answer[1] > 0
            assert (await upload(http, process.url, "modest", "mine", b"x"))[0] == 200
            for reader, writer in pairs:
                writer.write(bytes(1000))
                assert (await reader.readline()).split()[1] == b"200"
            assert (await upload(http, process.url, "greedy", "more", b"x"))[0] == 200


async def test_a_reconnect_storm_is_shed_with_spread_pauses_and_drains(tmp_path: Path) -> None:
    devices, told = 80, list[int]()

    async def come_back(http: aiohttp.ClientSession, url: str, number: int) -> None:
        while (answer := await upload(http, url, f"device-{number}", "trip.log", b"x" * 1000))[0] != 200:
            assert answer[0] in {0, 503}
            if answer[0] == 503:
                told.append(answer[1])
            await asyncio.sleep(answer[1] or 0.2)

    with ingest(tmp_path, started=False, MAX_REQUESTS_IN_FLIGHT="4") as process:
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as http:
            storm = [asyncio.create_task(come_back(http, process.url, number)) for number in range(devices)]
            await asyncio.to_thread(process.start)
            async with asyncio.timeout(100):
                await asyncio.gather(*storm)
    assert len(told) >= devices / 10
    assert len(set(told)) >= 5
