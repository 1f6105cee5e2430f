"""A broker and a store that die under load, a disk that is full, a clock that jumps."""

import asyncio
import random
import subprocess
import time
import uuid
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import pytest

from libs.common.storage import Buckets, ObjectStore
from libs.common.storage.filesystem import FilesystemStore
from libs.common.uploads.layout import record_key
from tests.backends import MinioServer, RabbitmqServer, Server
from tests.conftest import REQUIRED
from tests.e2e.conftest import backend_env
from tests.e2e.device import Device, new_device
from tests.e2e.leftovers import minio_store, nothing_left
from tests.e2e.processes import Deployment, embedded
from tests.faults.lanes import closing, faulty_deployment, started
from tests.faults.stories import STORIES, Upload, count_returned, until
from tests.faults.tables import table

MIB = 2**20
UNIT = 400_000  # bytes: files of 1 MB in chunks of 250 kB
SERVICES = {name: f"services.{name}" for name in ("auth", "ingest", "assembler", "janitor")}
INTERVALS = {"RECOVERY_INTERVAL": "1", "CLEANUP_INTERVAL": "1", "STALE_THRESHOLD": "60"}


@pytest.mark.parametrize("victim", ["minio", "rabbitmq"])
async def test_nothing_is_lost_when_a_backend_is_killed_under_load(
    victim: str, tmp_path: Path, minio: MinioServer, rabbitmq: RabbitmqServer
) -> None:
    await _killed_under_load(victim, tmp_path, minio, rabbitmq, files=8, kills=1)


@pytest.mark.chaos
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("victim", ["minio", "rabbitmq"])
async def test_nothing_is_lost_when_a_backend_is_killed_again_and_again(
    victim: str, tmp_path: Path, minio: MinioServer, rabbitmq: RabbitmqServer
) -> None:
    await _killed_under_load(victim, tmp_path, minio, rabbitmq, files=60, kills=5)


async def _killed_under_load(
    victim: str, directory: Path, minio: MinioServer, rabbitmq: RabbitmqServer, *, files: int, kills: int
) -> None:
    servers: dict[str, Server] = {"minio": minio, "rabbitmq": rabbitmq}
    env = {**backend_env(minio, rabbitmq), **INTERVALS}
    async with _services(directory, env, minio) as (deployment, buckets), _device(deployment) as car:
        uploads = [Upload(car, f"log-{n}", UNIT, buckets) for n in range(files)]
        sending = [asyncio.create_task(_paced(upload, pause=0.3 * kills)) for upload in uploads]
        for _ in range(kills):
            await asyncio.sleep(0.5)
            await asyncio.to_thread(servers[victim].kill)
            await asyncio.sleep(1)
            await asyncio.to_thread(servers[victim].start)
        await asyncio.gather(*sending)
        await tell(f"{victim} killed {kills} times", uploads, buckets.perm)
        await nothing_left(env, minio, rabbitmq, within=90)


async def _paced(upload: Upload, pause: float) -> None:
    """A device that goes on for a while, with pauses of at most so many seconds between its chunks."""
    for chunk in upload.chunks:
        await upload.send(chunk)
        await asyncio.sleep(random.uniform(0, pause))
    await upload.end("complete")


async def test_a_clock_that_jumps_an_hour_loses_nothing_and_makes_nothing_stale(
    tmp_path: Path, minio: MinioServer, rabbitmq: RabbitmqServer
) -> None:
    jumps = {"HIPER_CLOCK_JUMPS": "1.5", "ACCESS_TOKEN_EXPIRE_MINUTES": "600"}
    env = {**backend_env(minio, rabbitmq), **INTERVALS, **jumps}
    async with _services(tmp_path, env, minio) as (deployment, buckets), _device(deployment) as car:
        quiet, busy = Upload(car, "quiet", UNIT, buckets), [Upload(car, f"log-{n}", UNIT, buckets) for n in range(4)]
        await quiet.send(quiet.chunks[0])
        began = time.monotonic()
        await asyncio.gather(*(_paced(upload, pause=2) for upload in busy))
        while time.monotonic() - began < 5:  # seconds: each of the three times has come
            code, answer = await car.status("quiet")
            assert (code, answer.get("status")) in ((200, "pending"), (0, None), (503, 503))
            await asyncio.sleep(0.2)
        await STORIES["whole"].act(quiet)
        await quiet.end("complete")
        await tell("clock jumps an hour back and forth", [quiet, *busy], buckets.perm)
        await nothing_left(env, minio, rabbitmq)


async def test_a_full_disk_is_said_loses_nothing_and_uploads_go_on_once_there_is_room(tmp_path: Path) -> None:
    with _small_disk(tmp_path / "data", 20 * MIB), embedded(tmp_path, **INTERVALS) as deployment:
        temp, perm = FilesystemStore(tmp_path / "data/temp"), FilesystemStore(tmp_path / "data/perm")
        buckets = Buckets(temp, perm)
        async with closing(temp, perm), _device(deployment) as car:
            hog, log = Upload(car, "hog", 8 * MIB, buckets), Upload(car, "log", 3 * MIB, buckets)
            refused = await _fill(hog) or await _fill(log)
            assert refused["type"] == "urn:hiper:problem:store-full"
            assert refused["status"] == 507
            for upload in (hog, log):  # what was acknowledged is still served
                await count_returned(upload, perm)
                assert upload.returned == upload.acknowledged.total()
            sending = asyncio.create_task(log.send(*log.chunks))
            await hog.cancel()  # also possible without room, and makes some
            await sending
            await log.end("complete")
            await tell("disk is full for a while", [log], perm)
            await until(lambda: _holds_only(temp, record_key(hog.file)))  # which a sweep removes after a minute


async def _fill(upload: Upload) -> dict[str, object]:
    """Send chunks but the last until one is refused; how."""
    for chunk in upload.chunks[:-1]:
        payload, total = upload.content[chunk.start : chunk.end], len(upload.content)
        code, answer = await upload.device.try_once(upload.name, total, chunk.start, payload)
        if code == 507:
            return answer
        assert code == 200, answer
        upload.acknowledged.add(chunk)
    return {}


async def _holds_only(store: ObjectStore, key: str) -> bool:
    return [info.key for info in (await store.list("")).objects] == [key]


@contextmanager
def _small_disk(path: Path, size: int) -> Iterator[None]:
    """A disk of so many bytes."""
    path.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(path)], capture_output=True)
    if mounted.returncode:
        (pytest.fail if REQUIRED else pytest.skip)(f"cannot mount a small disk: {mounted.stderr!r}")
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", str(path)], check=True)


@asynccontextmanager
async def _services(
    directory: Path, env: dict[str, str], minio: MinioServer
) -> AsyncIterator[tuple[Deployment, Buckets]]:
    temp, perm = (minio_store(env, minio, bucket) for bucket in ("TEMP", "PERM"))
    async with closing(temp, perm), started(faulty_deployment(directory, env, SERVICES)) as deployment:
        yield deployment, Buckets(temp, perm)


@asynccontextmanager
async def _device(deployment: Deployment) -> AsyncIterator[Device]:
    async with new_device(deployment, f"car-{uuid.uuid4().hex[:8]}") as car:
        yield car


async def tell(title: str, uploads: Sequence[Upload], perm: ObjectStore) -> None:
    """Read everything back, and add the row to the run's tables; nothing may be lost."""
    for upload in uploads:
        await count_returned(upload, perm)
    acknowledged = sum(upload.acknowledged.total() for upload in uploads)
    returned = sum(upload.returned for upload in uploads)
    row = (title, *(f"{number:,}" for number in (len(uploads), acknowledged, returned, acknowledged - returned)))
    table("Outages", "what", "files", "acknowledged, bytes", "came back", "lost").rows.append(row)
    assert acknowledged == returned == sum(len(upload.content) for upload in uploads)
