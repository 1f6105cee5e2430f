"""Makes docs/dashboard.png: `make picture`, about four minutes.

Four services on a real MinIO and a real RabbitMQ, some devices that upload all the time, and each backend away for a
while. A real Prometheus scrapes them; scripts/render_dashboard.py draws what the dashboard asks of it.
"""

import asyncio
import random
import time
from pathlib import Path

import pytest

from scripts.render_dashboard import Source, render
from tests.backends import minio_server, rabbitmq_server
from tests.e2e.conftest import backend_env
from tests.e2e.device import Device, new_device
from tests.e2e.processes import separate
from tests.e2e.prometheus import prometheus

PICTURE = Path(__file__).parents[2] / "docs" / "dashboard.png"
DEVICES = 5
CHUNK = 256 * 2**10  # bytes
SETTINGS = {"RECOVERY_INTERVAL": "10", "CLEANUP_INTERVAL": "15", "STALE_THRESHOLD": "40", "LOG_LEVEL": "ERROR"}


async def upload(device: Device, name: str, dice: random.Random) -> None:
    """A file in chunks, some of them twice or damaged on the way; one in eight is given up."""
    size = dice.randrange(1, 24) * CHUNK - dice.randrange(1000)
    content, given_up = dice.randbytes(size), dice.random() < 0.12
    for start in range(0, size // 2 if given_up else size, CHUNK):
        payload = content[start : start + CHUNK]
        if dice.random() < 0.05:
            query = f"/upload?filename={name}&total_size={size}"
            await device.request("POST", query, data=b"\0\0\0\0\0\0\0\0\7" + payload[:1])
        await device.send(name, size, start, payload, raw=dice.random() < 0.5)
        await asyncio.sleep(dice.uniform(0, 0.25))
    if not given_up and dice.random() < 0.3:
        await device.wait_for(name, "complete", 120)
        async with device.download(name) as answer:
            await answer.read()  # whatever it is: the store may be away


async def fleet(device: Device, until: float, number: int) -> None:
    dice, n = random.Random(number), 0
    while time.time() < until:
        n += 1
        await upload(device, f"drive-{number}-{n}.bin", dice)


@pytest.mark.timeout(900)
async def test_draw_the_dashboard_of_a_real_run(tmp_path: Path, engine: None) -> None:
    with (
        minio_server(name="picture-minio") as minio,
        rabbitmq_server(name="picture-rabbitmq") as rabbitmq,
        separate(tmp_path, {**backend_env(minio, rabbitmq), **SETTINGS}) as deployment,
    ):
        targets: dict[str, list[int]] = {}
        for name, process in deployment.processes.items():
            targets.setdefault(f"hiper-{name.partition('-')[0]}", []).append(process.port)
        with prometheus(tmp_path, targets) as watcher:
            async with new_device(deployment, "car-1") as device:
                began = time.time()
                load = [asyncio.create_task(fleet(device, began + 210, n)) for n in range(DEVICES)]
                await asyncio.sleep(60)
                await asyncio.to_thread(minio.stop)
                await asyncio.sleep(15)
                await asyncio.to_thread(minio.start)
                await asyncio.sleep(45)
                await asyncio.to_thread(rabbitmq.kill)
                await asyncio.sleep(20)
                await asyncio.to_thread(rabbitmq.start)
                await asyncio.gather(*load)
                render(Source(watcher.url, began, time.time()), PICTURE)
