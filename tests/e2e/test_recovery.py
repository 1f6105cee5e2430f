"""What happens when a part of the whole is away, deaf or told to stop."""

import asyncio
import os
import sys
import time
from pathlib import Path

from libs.common.files.extents import Extent
from libs.common.storage.filesystem import FilesystemStore
from libs.common.uploads.layout import FileId, chunk_key, record_key
from tests.backends import MinioServer, RabbitmqServer
from tests.e2e.conftest import QUICK, backend_env
from tests.e2e.device import new_device
from tests.e2e.leftovers import keys_in, nothing_left
from tests.e2e.processes import ROOT, SECRETS, Deployment, embedded, separate

MIB = 2**20


async def test_every_file_completes_though_no_event_is_ever_delivered(
    tmp_path: Path, minio: MinioServer, rabbitmq: RabbitmqServer
) -> None:
    # Separate processes that each have an in-process bus of their own: nobody hears anybody.
    env = {**backend_env(minio, rabbitmq), **QUICK, "EVENT_BUS": "memory"}
    with separate(tmp_path, env) as deployment:
        async with new_device(deployment, "car-17") as car:
            contents = {f"log-{n}": os.urandom(size) for n, size in enumerate((0, 1, 100_000, 9 * MIB, 17 * MIB))}
            for name, content in contents.items():
                for start in range(0, max(1, len(content)), MIB):
                    await car.send(name, len(content), start, content[start : start + MIB])
            sent = time.monotonic()
            for name, content in contents.items():
                await car.wait_for(name, "complete", within=30)
                assert await car.content(name) == content
            two_sweeps = 2 * float(QUICK["RECOVERY_INTERVAL"])
            assert time.monotonic() - sent < two_sweeps + 10  # and the work itself
    assert await keys_in(env, minio, "TEMP") == []


async def one_run_left(env: dict[str, str], minio: MinioServer, prefix: str) -> None:
    """Two assemblers may have parked the upload at once. The one that lost deletes its runs."""
    deadline = time.monotonic() + 10
    while len(left := [key for key in await keys_in(env, minio, "PERM") if key.startswith(prefix)]) != 1:
        assert time.monotonic() < deadline, left
        await asyncio.sleep(0.2)


async def test_a_stale_upload_is_moved_can_be_read_and_is_resumed_without_sending_twice(
    tmp_path: Path, minio: MinioServer, rabbitmq: RabbitmqServer
) -> None:
    env = {**backend_env(minio, rabbitmq), **QUICK, "STALE_THRESHOLD": "2"}
    content = os.urandom(20 * MIB)
    with separate(tmp_path, env) as deployment:
        async with new_device(deployment, "car-17") as car:
            for start in range(0, 11 * MIB, MIB):
                await car.send("tunnel.log", len(content), start, content[start : start + MIB])
            parked = await car.wait_for("tunnel.log", "partial")
            assert parked["next_expected_byte"] == parked["received_bytes"] == 11 * MIB
            assert parked["missing_ranges"] == [[11 * MIB, 20 * MIB]]
            await one_run_left(env, minio, "partials/car-17/")  # as few extents as possible
            record = record_key(FileId("car-17", "tunnel.log"))
            await nothing_left(env, minio, rabbitmq, but=[record])
            async with car.download("tunnel.log", Range="bytes=0-") as answer:
                assert answer.status == 206
                assert answer.headers["Content-Range"] == f"bytes 0-{11 * MIB - 1}/{20 * MIB}"
                assert await answer.read() == content[: 11 * MIB]
            for start in range(11 * MIB, 20 * MIB, MIB):
                answered = await car.send("tunnel.log", len(content), start, content[start : start + MIB])
                assert answered["next_expected_byte"] == start + MIB
            await car.wait_for("tunnel.log", "complete")
            assert await car.content("tunnel.log") == content
            await nothing_left(env, minio, rabbitmq)
            assert await keys_in(env, minio, "PERM") == ["files/car-17/tunnel.log"]


async def test_uploads_go_on_while_the_broker_is_away_and_complete_when_it_is_back(
    tmp_path: Path, minio: MinioServer, rabbitmq: RabbitmqServer
) -> None:
    env = {**backend_env(minio, rabbitmq), **QUICK, "RECOVERY_INTERVAL": "600"}
    with separate(tmp_path, env) as deployment:
        async with new_device(deployment, "car-17") as car:
            await car.send("before", 3, 0, b"one")
            await car.wait_for("before", "complete")
            rabbitmq.kill()
            try:
                content = os.urandom(9 * MIB)
                for start in range(0, len(content), MIB):
                    answer = await car.send("during", len(content), start, content[start : start + MIB])
                    assert answer["next_expected_byte"] == start + MIB
                assert (await car.status("during"))[1]["status"] == "pending"
            finally:
                rabbitmq.start()
            await car.wait_for("during", "complete")
            assert await car.content("during") == content
            await nothing_left(env, minio, rabbitmq)


async def test_a_store_that_is_away_is_answered_with_503_within_5_seconds_and_nothing_is_lost(
    tmp_path: Path, minio: MinioServer, rabbitmq: RabbitmqServer
) -> None:
    with separate(tmp_path, {**backend_env(minio, rabbitmq), **QUICK}) as deployment:
        async with new_device(deployment, "car-17") as car:
            content = os.urandom(3 * MIB)
            await car.send("log", len(content), 0, content[:MIB])
            minio.kill()
            try:
                began = time.monotonic()
                headers = {"Authorization": f"Bearer {car.token}", "Content-Range": f"bytes {MIB}-{MIB}/{3 * MIB}"}
                params = {"filename": "log", "total_size": str(3 * MIB)}
                url = f"{deployment.apis[0]}/upload"
                async with car.http.post(url, params=params, data=content[MIB : MIB + 1], headers=headers) as answer:
                    assert answer.status == 503
                    assert int(answer.headers["Retry-After"]) <= 5
                    assert (await answer.json(content_type=None))["type"] == "urn:hiper:problem:store-unavailable"
                assert time.monotonic() - began < 5
            finally:
                minio.start()
            for start in (MIB, 2 * MIB):
                await car.send("log", len(content), start, content[start : start + MIB])
            await car.wait_for("log", "complete")
            assert await car.content("log") == content


async def test_sigterm_lets_requests_finish_and_ends_with_0(deployment: Deployment) -> None:
    async with new_device(deployment, "car-17") as car:
        body_started = asyncio.Event()

        async def slow_body() -> object:
            yield b"a" * 1000
            body_started.set()
            await asyncio.sleep(0.5)
            yield b"b" * 1000

        car.apis = deployment.apis[:1]
        headers = {"Content-Range": "bytes 0-1999/4000"}
        params = {"filename": "slow", "total_size": "4000"}
        request = asyncio.create_task(car.request("POST", "/upload", params=params, data=slow_body(), headers=headers))
        await body_started.wait()
        name = "ingest-1" if "ingest-1" in deployment.processes else "serve"
        code = await asyncio.to_thread(deployment.processes[name].stop)
        assert (code, await request) == (0, (200, (await request)[1]))
        assert (await request)[1]["next_expected_byte"] == 2000
        others = [process for other, process in deployment.processes.items() if other != name]
        assert not any(await asyncio.gather(*(asyncio.to_thread(process.stop) for process in others)))


async def test_the_janitor_says_what_it_would_do_and_does_not_do_it(tmp_path: Path) -> None:
    for name in ("temp", "perm"):
        store = FilesystemStore(tmp_path / "data" / name)
        await store.ensure()
        await store.close()
    key = chunk_key(FileId("car-17", "log"), "00000000deadbeef", 0, Extent(0, 3), "0" * 64)
    orphan = tmp_path / "data" / "temp" / key
    orphan.parent.mkdir(parents=True)
    orphan.write_bytes(b"abc")
    os.utime(orphan, (0, 0))
    environment = {**os.environ, **SECRETS, "PYTHONPATH": str(ROOT)}
    run = [sys.executable, "-m", "services.janitor", "--once"]
    for arguments, left in ((["--dry-run"], True), ([], False)):
        process = await asyncio.create_subprocess_exec(
            *run,
            *arguments,
            env=environment,
            cwd=tmp_path,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        said, summed_up = await process.communicate()
        assert process.returncode == 0
        assert said == b"garbage: car-17/log (session 00000000deadbeef): 1 chunks of an upload that is over\n"
        *_, last = summed_up.decode().splitlines()
        assert last.startswith("1 found")
        assert ("nothing changed" in last) == orphan.exists() == left


async def test_a_dry_run_that_finds_nothing_says_so_and_needs_no_broker(tmp_path: Path) -> None:
    for name in ("temp", "perm"):
        store = FilesystemStore(tmp_path / "data" / name)
        await store.ensure()
        await store.close()
    nobody = {"EVENT_BUS": "rabbitmq", "RABBITMQ_URL": "amqp://127.0.0.1:1/"}
    environment = {**os.environ, **SECRETS, **nobody, "PYTHONPATH": str(ROOT)}
    process = await asyncio.create_subprocess_exec(
        *[sys.executable, "-m", "services.janitor", "--once", "--dry-run"],
        env=environment,
        cwd=tmp_path,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    said, summed_up = await process.communicate()
    assert (process.returncode, said) == (0, b"")
    assert summed_up == b"nothing found, nothing changed (dry run)\n"


def test_secrets_are_made_kept_private_and_kept_over_a_restart(tmp_path: Path) -> None:
    without = dict.fromkeys(SECRETS, "")
    for _ in range(2):
        with embedded(tmp_path, **without) as deployment:
            secrets = tmp_path / "data" / "secrets"
            assert sorted(path.name for path in secrets.iterdir()) == ["admin_secret", "secret_key"]
            assert all(path.stat().st_mode & 0o777 == 0o600 for path in secrets.iterdir())
            said = deployment.logs()
            assert "ADMIN_SECRET is not set" in said
            assert not any(path.read_text().strip() in said for path in secrets.iterdir())
