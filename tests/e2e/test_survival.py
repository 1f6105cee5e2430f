"""Acknowledged bytes survive SIGKILL of every process, at any moment."""

import asyncio
import hashlib
import random
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.backends import MinioServer, RabbitmqServer
from tests.e2e.chaos import killing
from tests.e2e.conftest import QUICK, backend_env
from tests.e2e.device import Device, new_device
from tests.e2e.leftovers import nothing_left
from tests.e2e.processes import Deployment, separate

pytestmark = pytest.mark.timeout(1200)  # seconds; a gibibyte on two busy cores takes a while
MIB = 2**20
GIB = 2**30


@pytest.fixture(scope="module")
def gibibyte(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A file of that size, and its SHA-256."""
    path = tmp_path_factory.mktemp("source") / "drive.log"
    return path, write_random(path, GIB)


def write_random(path: Path, size: int) -> str:
    """A file of random bytes; its SHA-256."""
    digest, chance = hashlib.sha256(), random.Random(size)
    with path.open("wb") as file:
        for _ in range(size // MIB):
            block = chance.randbytes(MIB)
            digest.update(block)
            file.write(block)
    return digest.hexdigest()


async def test_a_gibibyte_survives_kills_in_the_middle(
    deployment: Deployment, gibibyte: tuple[Path, str], tmp_path: Path
) -> None:
    (source, digest), copy = gibibyte, tmp_path / "copy.log"
    served = [process for name, process in deployment.processes.items() if name != "auth"]
    async with new_device(deployment, "car-17") as car:
        async with killing(served, 17, (1.0, 3.0)) as killed:
            await _send_all(car, source, GIB)
        assert len(killed) >= 2
        await car.wait_for("drive.log", "complete", within=120)
        await _download(car, copy)
    assert hashlib.sha256(copy.read_bytes()).hexdigest() == digest


async def _send_all(car: Device, source: Path, size: int) -> None:
    """In 4 MiB chunks, always from where the server says that it is."""
    at = 0
    with source.open("rb") as file:
        while at < size:
            file.seek(at)
            answer = await car.send("drive.log", size, at, file.read(4 * MIB))
            assert answer["next_expected_byte"] >= at + 4 * MIB
            at = answer["next_expected_byte"]


async def _download(car: Device, copy: Path) -> None:
    async with car.download("drive.log") as answer:
        assert answer.status == 200
        with copy.open("wb") as file:
            async for block in answer.content.iter_chunked(MIB):
                file.write(block)


async def test_two_hundred_uploads_at_once_survive_kills_of_every_service(
    tmp_path: Path, minio: MinioServer, rabbitmq: RabbitmqServer
) -> None:
    env = backend_env(minio, rabbitmq)
    with separate(tmp_path, {**env, **QUICK}) as deployment:
        async with new_device(deployment, "car-17") as car:
            everyone = list(deployment.processes.values())
            async with killing(everyone, 23, (1.0, 3.0)) as killed:
                sent = await _uploads_until(car, lambda: len(killed) >= len(everyone))  # each once, before one again
            for number in range(sent):
                await car.wait_for(f"log-{number}", "complete", within=120)
                assert await car.content(f"log-{number}") == content_of(number)
        await nothing_left(env, minio, rabbitmq, within=90)


async def _uploads_until(car: Device, enough: Callable[[], bool]) -> int:
    """200 uploads at once, then 50 at once again and again until it is enough; how many there were."""
    sent, more = 0, 200
    async with asyncio.timeout(600):  # seconds
        while more:
            await asyncio.gather(*(_scattered_upload(car, number) for number in range(sent, sent + more)))
            sent, more = sent + more, 0 if enough() else 50
    return sent


def content_of(number: int) -> bytes:
    chance = random.Random(number)
    return chance.randbytes(chance.choice((1_000, 100_000, 400_000, 9 * MIB if number % 25 == 0 else 50_000)))


async def _scattered_upload(car: Device, number: int) -> None:
    """Chunks in random order, twice, overlapping, to any replica."""
    content, chance = content_of(number), random.Random(-number)
    step = max(1, len(content) // 5)
    chunks = [(at, content[at : at + step + chance.randrange(step)]) for at in range(0, len(content), step)] * 2
    chance.shuffle(chunks)
    for start, payload in chunks:
        await car.send(f"log-{number}", len(content), start, payload, raw=chance.random() < 0.5)
