"""What a running deployment does when a bucket or a queue is deleted below it, and when it is put back."""

import asyncio
import io
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from minio import Minio

from tests.backends import MinioServer, RabbitmqServer
from tests.e2e.conftest import QUICK, backend_env
from tests.e2e.device import new_device
from tests.e2e.processes import separate

Objects = dict[str, tuple[bytes, dict[str, str], str]]
SEEN_WITHIN, BACK_WITHIN = 40, 20  # seconds


async def until(holds: Callable[[], bool], within: float) -> None:
    deadline = time.monotonic() + within
    while not await asyncio.to_thread(holds):
        assert time.monotonic() < deadline
        await asyncio.sleep(0.3)


def taken_away(store: Minio, bucket: str) -> Objects:
    """All that is in a bucket, which is deleted: a backup, as it were."""
    kept: Objects = {}
    for found in store.list_objects(bucket, recursive=True):
        name = str(found.object_name)
        answer = store.get_object(bucket, name)
        about = store.stat_object(bucket, name)
        metadata = {k.lower(): v for k, v in dict(about.metadata or {}).items() if k.lower().startswith("x-amz-meta-")}
        kept[name] = answer.read(), metadata, str(about.content_type)
        answer.close()
        answer.release_conn()
        store.remove_object(bucket, name)
    store.remove_bucket(bucket)
    return kept


def put_back(store: Minio, bucket: str, objects: Objects) -> None:
    store.make_bucket(bucket)
    for name, (content, metadata, kind) in objects.items():
        store.put_object(bucket, name, io.BytesIO(content), len(content), kind, metadata={**metadata})


@pytest.mark.parametrize("vanishing", [["TEMP"], ["AUTH"], ["TEMP", "PERM", "AUTH"]], ids="-".join)
async def test_a_bucket_that_vanishes_is_told_and_its_restore_needs_no_restart(
    tmp_path: Path, minio: MinioServer, rabbitmq: RabbitmqServer, vanishing: list[str]
) -> None:
    env = {**backend_env(minio, rabbitmq), **QUICK}
    store = Minio(minio.endpoint, minio.access_key, minio.secret_key, secure=False)
    names = [env[f"{name}_BUCKET"] for name in vanishing]
    with separate(tmp_path, env) as deployment:
        concerned = [
            process
            for name, process in deployment.processes.items()
            if name.startswith("ingest") or (vanishing != ["AUTH"] if name != "auth" else "AUTH" in vanishing)
        ]
        async with new_device(deployment, "car-17") as car:
            await car.send("log", 5, 0, b"hello")
            await car.wait_for("log", "complete")
            backup = {name: taken_away(store, name) for name in names}
            await until(lambda: not any(process.is_ready() for process in concerned), SEEN_WITHIN)
            assert not any(store.bucket_exists(name) for name in names), "an empty one would lead everybody astray"
            for name, objects in backup.items():
                put_back(store, name, objects)
            await until(lambda: all(process.is_ready() for process in deployment.processes.values()), BACK_WITHIN)
            assert await car.content("log") == b"hello"
            await car.send("again", 5, 0, b"hello")
            await car.wait_for("again", "complete")
        async with new_device(deployment, "car-18") as other:  # registered, with a token of its own
            await other.send("log", 5, 0, b"hello")
        for process in deployment.processes.values():
            process.assert_alive()


async def test_queues_that_vanish_are_made_again_without_a_restart(
    tmp_path: Path, minio: MinioServer, rabbitmq: RabbitmqServer
) -> None:
    env = {**backend_env(minio, rabbitmq), **QUICK, "RECOVERY_INTERVAL": "600"}  # no sweep helps
    with separate(tmp_path, env) as deployment:
        async with new_device(deployment, "car-17") as car:
            await car.send("before", 5, 0, b"hello")
            await car.wait_for("before", "complete")
            for queue in ("assembler", "assembler.dead"):
                rabbitmq.control("delete_queue", queue)
            await until(lambda: {"assembler", "assembler.dead"} <= rabbitmq.queue_depths().keys(), BACK_WITHIN)
            await until(lambda: all(process.is_ready() for process in deployment.processes.values()), BACK_WITHIN)
            await car.send("after", 5, 0, b"hello")
            await car.wait_for("after", "complete")
