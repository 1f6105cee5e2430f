"""All uploads at a glance, with real processes: through another replica, without the broker, and by the next look."""

import asyncio
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.backends import MinioServer, RabbitmqServer, rabbitmq_server
from tests.e2e.conftest import QUICK, backend_env
from tests.e2e.device import Device, new_device
from tests.e2e.processes import Deployment, separate

pytestmark = pytest.mark.timeout(300)  # seconds
INTERVAL = 2.0  # seconds between two looks of the janitor
SLACK = 10.0  # seconds: a busy machine, and the look for a new table


@pytest.fixture(scope="module")
def broker() -> Iterator[RabbitmqServer]:
    """A broker of this module's own, to be killed."""
    with rabbitmq_server(name="fleet") as server:
        yield server


@pytest.fixture
def deployment(tmp_path: Path, minio: MinioServer, broker: RabbitmqServer) -> Iterator[Deployment]:
    env = {**backend_env(minio, broker), **QUICK, "FLEET_INTERVAL": str(INTERVAL)}
    with separate(tmp_path, env) as running:
        yield running


async def listed(car: Device, replica: str) -> dict[str, Any]:
    async with car.http.get(f"{replica}/uploads", headers={"Authorization": f"Bearer {car.token}"}) as answer:
        assert answer.status == 200, await answer.text()
        page: dict[str, Any] = await answer.json()
        return page


async def until(car: Device, replica: str, holds: Callable[[dict[str, Any]], bool], within: float = 60) -> float:
    """Seconds until the list is like that."""
    began = time.monotonic()
    async with asyncio.timeout(within):
        while not holds(await listed(car, replica)):  # noqa: ASYNC110  # another process
            await asyncio.sleep(0.1)
    return time.monotonic() - began


def offset(page: dict[str, Any]) -> int:
    return page["uploads"][0]["next_expected_byte"] if page["uploads"] else 0


async def test_a_row_is_fresh_at_the_other_replica_and_without_the_broker_by_the_next_look(
    deployment: Deployment, broker: RabbitmqServer
) -> None:
    one, other = deployment.apis
    async with new_device(deployment, "car-17") as car:
        car.apis = [one]
        await until(car, other, lambda page: bool(page["live"]))
        await car.send("drive.log", 1000, 0, b"a" * 100)
        assert await until(car, other, lambda page: offset(page) == 100) < 2
        broker.kill()
        try:
            await until(car, other, lambda page: not page["live"])
            await car.send("drive.log", 1000, 100, b"a" * 100)
            assert await until(car, other, lambda page: offset(page) == 200) < INTERVAL + SLACK
            assert (await listed(car, other))["as_of"]
        finally:
            broker.start()
        await until(car, other, lambda page: bool(page["live"]), within=90)


async def test_a_stream_at_the_other_replica_shows_a_chunk_within_about_a_second(deployment: Deployment) -> None:
    one, other = deployment.apis
    async with new_device(deployment, "car-17") as car:
        car.apis = [one]
        headers = {"Authorization": f"Bearer {car.token}", "Accept": "application/jsonl"}
        async with car.http.get(f"{other}/uploads", headers=headers) as stream:
            assert stream.status == 200
            await _line_with(stream, '"change":"bookmark"')
            sent = time.monotonic()
            await car.send("drive.log", 1000, 0, b"a" * 100)
            await _line_with(stream, '"next_expected_byte":100')
            assert time.monotonic() - sent < 3


async def _line_with(stream: aiohttp.ClientResponse, text: str) -> None:
    async with asyncio.timeout(30):
        async for line in stream.content:
            if text in line.decode():
                return
    raise AssertionError(f"the stream ended without {text}")
