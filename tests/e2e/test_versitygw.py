"""The roads of an upload on a second S3: versitygw keeps the objects, in place of MinIO, behind a proxy that hands
whole requests on."""

import asyncio
import os
import uuid
from collections.abc import Iterator

import pytest

from tests.backends import RabbitmqServer, Versitygw
from tests.e2e.device import Device, new_device
from tests.e2e.processes import Deployment, separate

MIB = 2**20


@pytest.fixture(scope="module")
def on_versitygw(
    tmp_path_factory: pytest.TempPathFactory, versitygw: Versitygw, rabbitmq: RabbitmqServer
) -> Iterator[Deployment]:
    unique = uuid.uuid4().hex[:8]
    env = {
        "OBJECT_STORE": "minio",
        "MINIO_ENDPOINT": versitygw.endpoint,
        "MINIO_ACCESS_KEY": versitygw.access_key,
        "MINIO_SECRET_KEY": versitygw.secret_key,
        **{f"{bucket}_BUCKET": f"{bucket.lower()}-{unique}" for bucket in ("TEMP", "PERM", "AUTH")},
        "EVENT_BUS": "rabbitmq",
        "RABBITMQ_URL": rabbitmq.url,
        "RECOVERY_INTERVAL": "2",
        "CLEANUP_INTERVAL": "2",
        "STALE_THRESHOLD": "6",
    }
    with separate(tmp_path_factory.mktemp("on-versitygw"), env) as deployment:
        yield deployment


async def send(car: Device, name: str, content: bytes, start: int = 0, end: int | None = None) -> None:
    for at in range(start, end or len(content), MIB):
        await car.send(name, len(content), at, content[at : at + MIB])


async def test_files_go_up_in_one_request_and_in_chunks_and_come_down_whole_and_by_range(
    on_versitygw: Deployment,
) -> None:
    content = os.urandom(17 * MIB + 1)
    async with new_device(on_versitygw, "car-1") as car:
        assert (await car.send("small", 5, 0, b"hello"))["status"] == "complete"
        await send(car, "single", content[: 2 * MIB])
        await send(car, "large ünï", content)
        for name, size in (("small", None), ("single", 2 * MIB), ("large ünï", len(content))):
            await car.wait_for(name, "complete")
            assert await car.content(name) == (content[:size] if size else b"hello")
        async with car.download("large ünï", Range=f"bytes={8 * MIB - 1}-{8 * MIB}") as answer:
            assert (answer.status, await answer.read()) == (206, content[8 * MIB - 1 : 8 * MIB + 1])
        listed = (await car.request("GET", "/files"))[1]["files"]
        assert sorted(file["filename"] for file in listed) == ["large ünï", "single", "small"]


async def test_an_upload_goes_on_after_kills_of_ingest_and_the_assembler(on_versitygw: Deployment) -> None:
    content = os.urandom(20 * MIB)
    async with new_device(on_versitygw, "car-2") as car:
        await send(car, "log", content, 0, 10 * MIB)
        for name in ("ingest-1", "ingest-2", "assembler-1", "assembler-2"):
            on_versitygw.processes[name].kill()
            on_versitygw.processes[name].start(wait=False)
        await send(car, "log", content, 10 * MIB)  # again until a replica is back
        await car.wait_for("log", "complete")
        await asyncio.to_thread(on_versitygw.processes["ingest-1"].wait_until_ready)  # the next request is for it
        assert await car.content("log") == content


async def test_a_name_is_deleted_used_again_and_deleted(on_versitygw: Deployment) -> None:
    first, second = os.urandom(9 * MIB), os.urandom(3 * MIB)
    async with new_device(on_versitygw, "car-3") as car:
        for content in (first, second):
            await send(car, "log", content)
            await car.wait_for("log", "complete")
            assert await car.content("log") == content
            assert (await car.request("DELETE", "/files/log"))[0] == 204
            assert (await car.status("log"))[0] == 404


async def test_a_stale_upload_is_parked_and_resumed(on_versitygw: Deployment) -> None:
    content = os.urandom(20 * MIB)
    async with new_device(on_versitygw, "car-4") as car:
        await send(car, "log", content, 0, 11 * MIB)
        parked = await car.wait_for("log", "partial")
        assert parked["next_expected_byte"] == 11 * MIB
        await send(car, "log", content, 11 * MIB)
        await car.wait_for("log", "complete")
        assert await car.content("log") == content


async def test_bytes_that_are_not_what_was_declared_are_rejected_and_kept(on_versitygw: Deployment) -> None:
    digest = {"Repr-Digest": f"sha-256=:{'A' * 43}=:"}
    async with new_device(on_versitygw, "car-5") as car:
        for start, payload in ((0, b"ab"), (2, b"cd")):
            assert (await car.try_once("wrong", 4, start, payload, headers=digest))[0] == 200
        async with asyncio.timeout(30):
            while (await car.status("wrong"))[0] != 410:  # noqa: ASYNC110  # another process's work
                await asyncio.sleep(0.1)
