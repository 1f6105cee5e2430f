"""A name is never closed: after a DELETE, while its upload is parked, and for a second replica."""

import asyncio
import os
import time
import urllib.request
import uuid
from collections.abc import AsyncIterator, Iterator

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.backends import MinioServer, RabbitmqServer
from tests.e2e.conftest import QUICK, backend_env
from tests.e2e.device import Device, new_device
from tests.e2e.processes import Deployment, separate

MIB = 2**20
STALE = 4  # seconds
QUIET = 7.0  # seconds after the answer to the DELETE of a complete file, when the next one may be complete


@pytest.fixture(scope="module")
def replicas(
    tmp_path_factory: pytest.TempPathFactory, minio: MinioServer, rabbitmq: RabbitmqServer
) -> Iterator[Deployment]:
    """Two of ingest and two of the assembler."""
    env = {**backend_env(minio, rabbitmq), **QUICK, "STALE_THRESHOLD": str(STALE)}
    with separate(tmp_path_factory.mktemp("replicas"), env) as deployment:
        yield deployment


@pytest.fixture
async def car(replicas: Deployment) -> AsyncIterator[Device]:
    async with new_device(replicas, f"car-{uuid.uuid4().hex[:8]}") as device:
        yield device


async def send_all(car: Device, name: str, content: bytes, size: int = MIB, first: int = 0) -> None:
    """Chunk after chunk; each is acknowledged at the first try."""
    for start in range(first, len(content), size):
        code, answer = await car.try_once(name, len(content), start, content[start : start + size])
        assert (code, answer.get("next_expected_byte")) == (200, min(start + size, len(content))), answer


async def seconds_until_complete(car: Device, name: str, content: bytes) -> float:
    began = time.monotonic()
    await send_all(car, name, content)
    await car.wait_for(name, "complete")
    took = time.monotonic() - began
    assert await car.content(name) == content
    return took


async def test_the_name_of_an_upload_that_was_deleted_takes_another_file_at_once(car: Device) -> None:
    fresh = await seconds_until_complete(car, "fresh", os.urandom(9 * MIB))
    await car.send("log", 20 * MIB, 0, os.urandom(MIB))
    assert (await car.request("DELETE", "/files/log"))[0] == 204
    assert await seconds_until_complete(car, "log", os.urandom(9 * MIB)) < fresh + 5  # no `quiet` of 6 s


async def test_the_name_of_a_file_that_was_deleted_takes_bytes_at_once_and_is_complete_in_7_seconds(
    car: Device,
) -> None:
    await seconds_until_complete(car, "log", os.urandom(9 * MIB))
    assert (await car.request("DELETE", "/files/log"))[0] == 204
    assert await seconds_until_complete(car, "log", os.urandom(3 * MIB + 1)) < QUIET


async def test_a_chunk_that_comes_while_its_upload_is_parked_or_right_after_is_acknowledged(car: Device) -> None:
    content = os.urandom(2 * MIB + 1)
    parked: list[str] = []

    async def upload(name: str, pause: float | None) -> None:
        code, answer = await car.try_once(name, len(content), 0, content[:MIB])
        assert code == 200
        if pause is None:
            await car.wait_for(name, "partial")
            parked.append(name)
        else:
            await asyncio.sleep(pause)
        await send_all(car, name, content, first=MIB)
        assert (await car.status(name))[1]["session"] == answer["session"]
        await car.wait_for(name, "complete")
        assert await car.content(name) == content

    pauses = [None, None, *(STALE + step / 4 for step in range(14))]  # the sweeps come every 2 seconds
    await asyncio.gather(*(upload(f"log-{n}", pause) for n, pause in enumerate(pauses)))
    assert len(parked) == 2


async def test_two_replicas_that_take_turns_store_each_chunk_once_and_every_file_completes(
    car: Device, replicas: Deployment
) -> None:
    contents = {f"log-{n}": os.urandom(9 * MIB) for n in range(4)}
    before = puts(replicas)
    await asyncio.gather(*(alternate(car, name, content) for name, content in contents.items()))
    opening = 2  # puts of the record
    assert puts(replicas) - before == sum(opening + len(content) // MIB for content in contents.values())
    for name, content in contents.items():
        await car.wait_for(name, "complete")
        assert await car.content(name) == content


async def alternate(car: Device, name: str, content: bytes) -> None:
    one_each = [Device(car.http, [api], car.token, car.name) for api in car.apis]
    for number, start in enumerate(range(0, len(content), MIB)):
        chunk = content[start : start + MIB]
        code, answer = await one_each[number % 2].try_once(name, len(content), start, chunk)
        assert (code, answer.get("next_expected_byte")) == (200, start + len(chunk)), answer


def puts(replicas: Deployment) -> float:
    """How often the replicas of ingest put something into the temporary bucket."""
    total = 0.0
    for api in replicas.apis:
        with urllib.request.urlopen(f"{api}/metrics", timeout=10) as answer:
            for family in text_string_to_metric_families(answer.read().decode()):
                for sample in family.samples:
                    about = (sample.labels.get("bucket"), sample.labels.get("operation"))
                    if sample.name == "hiper_store_calls_total" and about == ("temp", "put"):
                        total += sample.value
    return total
