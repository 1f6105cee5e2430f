"""Status that is pushed, by real processes: through another replica, without the broker, and with every event lost."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from typing import Any

import aio_pika
import aiohttp
import pytest

from tests.backends import MinioServer, RabbitmqServer, rabbitmq_server
from tests.e2e.conftest import QUICK, backend_env
from tests.e2e.device import Device, new_device
from tests.e2e.processes import Deployment, separate

pytestmark = pytest.mark.timeout(180)  # seconds
EXCHANGE = "hiper.events"
CHUNK = 100  # bytes
TOTAL = 100 * CHUNK
HEARD = 5.0  # seconds: less than the 9 to 10 from one look to the next when nothing is heard
LOOKED = 15.0  # seconds: 10, and a busy machine


@pytest.fixture(scope="module")
def broker() -> Iterator[RabbitmqServer]:
    """A broker of this module's own, to be killed and emptied."""
    with rabbitmq_server(name="status") as server:
        yield server


@pytest.fixture(scope="module")
def deployment(
    tmp_path_factory: pytest.TempPathFactory, minio: MinioServer, broker: RabbitmqServer
) -> Iterator[Deployment]:
    with separate(tmp_path_factory.mktemp("status"), {**backend_env(minio, broker), **QUICK}) as running:
        yield running


class Watcher:
    """A stream of one file's status at one replica, and every offset that it showed."""

    def __init__(self, stream: aiohttp.ClientResponse) -> None:
        self._stream = stream
        self.offsets: list[int] = []

    async def until(self, holds: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        """The first state from now on that is like that."""
        async for line in self._stream.content:
            if line.strip():
                state: dict[str, Any] = json.loads(line)
                self.offsets.append(state["next_expected_byte"])
                if holds(state):
                    return state
        raise AssertionError(f"the stream ended after {self.offsets}")


@asynccontextmanager
async def watching(car: Device, replica: str, name: str) -> AsyncIterator[Watcher]:
    headers = {"Authorization": f"Bearer {car.token}", "Accept": "application/jsonl"}
    url, endless = f"{replica}/files/{name}/status", aiohttp.ClientTimeout(total=None)
    async with car.http.get(url, headers=headers, timeout=endless) as stream:
        assert stream.status == 200, await stream.text()
        yield Watcher(stream)


async def seen_after(car: Device, watcher: Watcher, chunk: int) -> float:
    """Send a chunk; the seconds from its acknowledgement until the watcher sees it."""
    await car.send("drive.log", TOTAL, chunk * CHUNK, b"a" * CHUNK)
    sent = time.monotonic()
    async with asyncio.timeout(60):
        await watcher.until(lambda state: state["next_expected_byte"] == (chunk + 1) * CHUNK)
    return time.monotonic() - sent


async def discard_every_event(broker: RabbitmqServer) -> None:
    """Make the exchange anew, without any binding: publishers go on as before, and nobody hears them."""
    connection = await aio_pika.connect(broker.url)
    async with connection:
        channel = await connection.channel()
        await channel.exchange_delete(EXCHANGE)
        await channel.declare_exchange(EXCHANGE, aio_pika.ExchangeType.TOPIC, durable=True)


def heard_by(broker: RabbitmqServer) -> list[str]:
    """The queues of processes that listen, and that the exchange still knows. The assembler makes its own binding anew
    as soon as an event for it finds no queue."""
    rows = broker.control("--silent", "list_bindings", "source_name", "destination_name").splitlines()
    return [row for row in rows if row.startswith(EXCHANGE) and "listener" in row]


async def test_a_device_waits_for_its_file_with_one_request(deployment: Deployment) -> None:
    one, other = deployment.apis
    async with new_device(deployment, "car-1") as car:
        car.apis = [one]
        await car.send("drive.log", 2 * CHUNK, 0, b"a" * CHUNK)
        await car.send("drive.log", 2 * CHUNK, CHUNK, b"a" * CHUNK)
        async with watching(car, other, "drive.log") as watcher, asyncio.timeout(60):
            await watcher.until(lambda state: state["status"] == "complete")
        assert await car.content("drive.log") == b"a" * 2 * CHUNK


async def test_a_request_that_waits_is_answered_by_the_change_that_comes_through_another_replica(
    deployment: Deployment,
) -> None:
    one, other = deployment.apis
    async with new_device(deployment, "car-2") as car:
        car.apis = [one]
        await car.send("drive.log", TOTAL, 0, b"a" * CHUNK)
        _, state = await car.status("drive.log")
        waiting = asyncio.create_task(waited(car, f"{other}/files/drive.log/status?after={state['version']}"))
        await asyncio.sleep(1)
        assert not waiting.done()
        await car.send("drive.log", TOTAL, CHUNK, b"a" * CHUNK)
        async with asyncio.timeout(HEARD):
            assert (await waiting)["next_expected_byte"] == 2 * CHUNK


async def waited(car: Device, url: str) -> dict[str, Any]:
    headers = {"Authorization": f"Bearer {car.token}", "Prefer": "wait=50"}
    async with car.http.get(url, headers=headers) as answer:
        assert answer.status == 200, await answer.text()
        state: dict[str, Any] = await answer.json()
        return state


async def test_a_watcher_sees_what_goes_through_another_replica_whatever_events_are_lost(
    deployment: Deployment, broker: RabbitmqServer
) -> None:
    """The last of this module: it leaves the exchange without bindings."""
    one, other = deployment.apis
    async with new_device(deployment, "car-3") as car:
        car.apis = [one]
        await car.send("drive.log", TOTAL, 0, b"a" * CHUNK)
        async with watching(car, other, "drive.log") as watcher:
            await watcher.until(lambda state: state["next_expected_byte"] == CHUNK)
            # Each is sent just after a look, and the next one is 10 s away unless an event is heard.
            assert [await seen_after(car, watcher, chunk) < HEARD for chunk in (1, 2, 3)] == [True] * 3

            await discard_every_event(broker)
            assert await seen_after(car, watcher, 4) < LOOKED
            assert heard_by(broker) == []

            broker.kill()
            try:
                assert await seen_after(car, watcher, 5) < LOOKED
            finally:
                await asyncio.to_thread(broker.start)
        assert watcher.offsets == sorted(watcher.offsets)
