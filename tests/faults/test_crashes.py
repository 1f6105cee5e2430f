"""SIGKILL at every named step of the way of a chunk, of `advance`, parking, cancelling and
rejecting: nothing acknowledged is lost."""

import asyncio
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from libs.common.storage import Buckets, ObjectStore, list_all
from libs.common.storage.filesystem import FilesystemStore
from libs.common.uploads.layout import FEED, FLEET_DEVICES, FLEET_UPLOADS, MIN_PART_SIZE, SEEN
from tests.backends import MinioServer, RabbitmqServer
from tests.e2e.conftest import backend_env
from tests.e2e.device import new_device
from tests.e2e.leftovers import minio_store, nothing_left
from tests.faults.lanes import Case, Lane, cases, closing, faulty_deployment, started
from tests.faults.points import GROUPS, INGEST, TIDY, Step
from tests.faults.stories import Upload, count_returned, expected_key, kept_records
from tests.faults.tables import table

pytestmark = pytest.mark.timeout(900)  # seconds: a hundred processes are started
LANES = 4  # servers that share the cases of one threshold
AT_ONCE = 6  # servers: a lane that waits for garbage to grow old takes no processor
PART = 64 * 2**10  # bytes
KEPT_CLOSED = {"HIPER_KEPT_CLOSED": "7"}  # seconds: longer than a lease and SLACK


@pytest.mark.parametrize("group", GROUPS)
async def test_nothing_is_lost_whichever_step_a_server_on_a_directory_dies_at(group: str, tmp_path: Path) -> None:
    await _all_on_directories(tmp_path, group, cases(GROUPS[group], "before"))


@pytest.mark.chaos
@pytest.mark.parametrize("group", GROUPS)
async def test_nothing_is_lost_whichever_step_a_server_on_a_directory_dies_after(group: str, tmp_path: Path) -> None:
    await _all_on_directories(tmp_path, group, cases(GROUPS[group], "after"))


async def _all_on_directories(directory: Path, group: str, every: Sequence[Case]) -> None:
    shares = [share[n::LANES] for share in by_threshold(every) for n in range(min(LANES, len(share)))]
    gate = asyncio.Semaphore(AT_ONCE)

    async def lane(number: int, share: Sequence[Case]) -> list[tuple[Case, Upload]]:
        async with gate:
            return await _on_directory(make_directory(directory / str(number)), share)

    told = [row for rows in await asyncio.gather(*map(lane, range(len(shares)), shares)) for row in rows]
    tell(f"Killed on a directory: {group}", told)


def make_directory(path: Path) -> Path:
    path.mkdir()
    return path


async def _on_directory(directory: Path, every: Sequence[Case]) -> list[tuple[Case, Upload]]:
    temp, perm = FilesystemStore(directory / "data/temp"), FilesystemStore(directory / "data/perm")
    env = {
        "RECOVERY_INTERVAL": "1",
        "CLEANUP_INTERVAL": "1",
        "STALE_THRESHOLD": stale_threshold(every),
        "HIPER_PART_SIZE": str(PART),
        **KEPT_CLOSED,
    }
    server = faulty_deployment(directory, env, {"serve": "services.embedded.serve"})
    async with closing(temp, perm), started(server) as deployment:
        return await checked(Lane(deployment, Buckets(temp, perm), PART), every)


SHORT = (
    Case("after", Step("put", "chunk", "whole", services=INGEST)),
    Case("before", Step("publish", "ChunkReceived", "whole", services=INGEST)),
    Case("after", Step("put", "file", "small", services=INGEST)),
    Case("after", Step("put", "assembly", "whole")),
    Case("after", Step("put_part", "file", "whole", 2)),
    Case("after", Step("complete_multipart", "file", "declared")),
    Case("before", Step("delete_many", "chunk", "whole")),
    Case("before", Step("delete_many", "chunk", "cancelled", services=TIDY)),
    Case("before", Step("delete", "record", "cancelled", services=TIDY)),
)


async def test_nothing_is_lost_whichever_service_dies_beside_minio_and_rabbitmq(
    tmp_path: Path, minio: MinioServer, rabbitmq: RabbitmqServer
) -> None:
    tell("Killed beside MinIO and RabbitMQ", await _on_backends(tmp_path, minio, rabbitmq, SHORT))


@pytest.mark.chaos
@pytest.mark.timeout(900)
@pytest.mark.parametrize("group", GROUPS)
async def test_nothing_is_lost_whichever_step_a_service_dies_at_beside_minio_and_rabbitmq(
    group: str, tmp_path: Path, minio: MinioServer, rabbitmq: RabbitmqServer
) -> None:
    told = []
    for number, share in enumerate(by_threshold(cases(GROUPS[group], "before", "after"))):
        told += await _on_backends(make_directory(tmp_path / str(number)), minio, rabbitmq, share)
    tell(f"Killed beside MinIO and RabbitMQ: {group}", told)


async def _on_backends(
    directory: Path, minio: MinioServer, rabbitmq: RabbitmqServer, every: Sequence[Case]
) -> list[tuple[Case, Upload]]:
    env = backend_env(minio, rabbitmq)
    intervals = {
        "RECOVERY_INTERVAL": "2",
        "CLEANUP_INTERVAL": "2",
        "STALE_THRESHOLD": stale_threshold(every),
        **KEPT_CLOSED,
    }
    modules = {name: f"services.{name}" for name in ("auth", "ingest", "assembler", "janitor")}
    temp, perm = (minio_store(env, minio, bucket) for bucket in ("TEMP", "PERM"))
    with faulty_deployment(directory, {**env, **intervals, **KEPT_CLOSED}, modules) as deployment:
        async with closing(temp, perm):
            told = await checked(Lane(deployment, Buckets(temp, perm), MIN_PART_SIZE), every)
        await nothing_left(env, minio, rabbitmq, but=kept_records(upload for _, upload in told))
        return told


STALE = {"gap", "islands", "grown", "dropped", "resumed"}  # stories of uploads that went stale


def by_threshold(every: Sequence[Case]) -> list[list[Case]]:
    """Those that need uploads that go stale soon, apart from those that must not."""
    shares = [[case for case in every if (case.step.story in STALE) is stale] for stale in (True, False)]
    return [share for share in shares if share]


def stale_threshold(every: Sequence[Case]) -> str:
    """Seconds: few where the stories need uploads that went stale."""
    return "600" if STALE.isdisjoint(case.step.story for case in every) else "1"


async def checked(lane: Lane, every: Sequence[Case]) -> list[tuple[Case, Upload]]:
    """The uploads of the cases, counted. Nothing temporary is left, and in permanent storage what belongs there: files,
    and the tables of the fleet."""
    perm = lane.buckets.perm
    async with new_device(lane.deployment, "car-17") as car:
        told = await lane.run(car, every)
        for _, upload in told:
            await count_returned(upload, perm)
    await emptied(lane.buckets.temp, but=kept_records(upload for _, upload in told))
    expected = [key for _, upload in told if (key := expected_key(upload))]
    for info in await list_all(perm, ""):
        assert info.key.startswith((*expected, FEED, FLEET_UPLOADS, FLEET_DEVICES, SEEN)), info.key
    return told


async def emptied(temp: ObjectStore, *, but: set[str], within: float = 60) -> None:
    """Wait until all that is left are those keys."""
    deadline = time.monotonic() + within
    while (left := {info.key for info in await list_all(temp, "")}) != but:
        assert time.monotonic() < deadline, left ^ but
        await asyncio.sleep(0.2)


def tell(title: str, told: Sequence[tuple[Case, Upload]]) -> None:
    """Add the rows to the run's tables; nothing may be lost."""
    rows = table(title, "killed", "acknowledged, bytes", "came back", "lost", "ended")
    lost = {}
    for case, upload in told:
        acknowledged = upload.acknowledged.total()
        numbers = (acknowledged, upload.returned, acknowledged - upload.returned)
        rows.rows.append((str(case), *(f"{number:,}" for number in numbers), upload.ended))
        lost[str(case)] = numbers[2]
    assert not any(lost.values()), lost
