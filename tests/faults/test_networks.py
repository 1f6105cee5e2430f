"""Bad networks between device and ingest, services and MinIO, services and RabbitMQ: uploads finish, and a chunk
that is sent again changes nothing."""

import asyncio
import time
import uuid
from collections.abc import Iterator
from contextlib import AsyncExitStack, ExitStack
from dataclasses import dataclass

import pytest

from libs.common.storage import Buckets, list_all
from libs.common.uploads.layout import files_prefix
from tests.backends import MinioServer, RabbitmqServer
from tests.conftest import REQUIRED
from tests.e2e.conftest import backend_env
from tests.e2e.device import Device, new_device
from tests.e2e.leftovers import minio_store, nothing_left
from tests.e2e.processes import Deployment
from tests.faults.lanes import closing, faulty_deployment
from tests.faults.proxies import Toxiproxy, toxiproxy
from tests.faults.stories import STORIES, Upload, count_returned
from tests.faults.tables import table
from tests.faults.weather import WEATHERS, Weather

FILES = 3  # at once
UNIT = 40_000  # bytes: files of 100 kB in chunks of 25 kB


@dataclass(frozen=True)
class Network:
    """A deployment whose every link is a proxy."""

    deployment: Deployment
    proxies: Toxiproxy
    env: dict[str, str]


@pytest.fixture(scope="module")
def network(
    tmp_path_factory: pytest.TempPathFactory, minio: MinioServer, rabbitmq: RabbitmqServer
) -> Iterator[Network]:
    directory = tmp_path_factory.mktemp("network")
    with ExitStack() as stack:
        proxies = stack.enter_context(toxiproxy(directory / "toxiproxy.log"))
        if proxies is None:
            (pytest.fail if REQUIRED else pytest.skip)("needs toxiproxy: .ci/prepare-faults builds it")
        env = backend_env(minio, rabbitmq)
        env["MINIO_ENDPOINT"] = f"127.0.0.1:{proxies.proxy('store', minio.endpoint)}"
        broker = proxies.proxy("broker", f"{rabbitmq.host}:{rabbitmq.port}")
        env["RABBITMQ_URL"] = f"amqp://guest:guest@127.0.0.1:{broker}/"
        env |= {"RECOVERY_INTERVAL": "2", "CLEANUP_INTERVAL": "2", "STALE_THRESHOLD": "600"}
        modules = {name: f"services.{name}" for name in ("auth", "ingest", "assembler", "janitor")}
        deployment = stack.enter_context(faulty_deployment(directory, env, modules))
        port = proxies.proxy("device", f"127.0.0.1:{deployment.processes['ingest'].port}")
        yield Network(Deployment(deployment.processes, [f"http://127.0.0.1:{port}"], deployment.auth,
                                 deployment.admin_secret), proxies, env)  # fmt: skip


in_every_weather = pytest.mark.parametrize(
    ("weather", "link"),
    [pytest.param(weather, link, id=f"{link}: {weather.name}") for weather in WEATHERS for link in weather.links],
)


@in_every_weather
async def test_uploads_finish_through_a_bad_network(
    weather: Weather, link: str, network: Network, minio: MinioServer, rabbitmq: RabbitmqServer
) -> None:
    await _through(network, minio, weather, link, FILES, UNIT)
    await nothing_left(network.env, minio, rabbitmq)


@pytest.mark.chaos
@in_every_weather
async def test_a_crowd_of_uploads_finishes_through_a_bad_network(
    weather: Weather, link: str, network: Network, minio: MinioServer, rabbitmq: RabbitmqServer
) -> None:
    await _through(network, minio, weather, link, 40, UNIT)
    await nothing_left(network.env, minio, rabbitmq)


async def _through(network: Network, minio: MinioServer, weather: Weather, link: str, files: int, unit: int) -> None:
    """Upload files in this weather, and read them back when it is over."""
    temp, perm = (minio_store(network.env, minio, bucket) for bucket in ("TEMP", "PERM"))
    async with closing(temp, perm), new_device(network.deployment, f"car-{uuid.uuid4().hex[:8]}") as car:
        uploads = [Upload(car, f"log-{n}", unit, Buckets(temp, perm)) for n in range(files)]
        began = time.monotonic()
        async with AsyncExitStack() as stack:
            stack.enter_context(network.proxies.toxic(link, *weather.toxics))
            if weather.cuts:
                cutting = asyncio.create_task(_cut(network.proxies, link, weather.cuts))
                stack.callback(cutting.cancel)
            await asyncio.gather(*(_told(upload) for upload in uploads))
        took = time.monotonic() - began
        for upload in uploads:
            await count_returned(upload, perm)
        tell(weather, link, car, uploads, took)
        there = {info.key for info in await list_all(perm, files_prefix(car.name))}
        assert there == {f"{files_prefix(car.name)}{upload.name}" for upload in uploads}


async def _told(upload: Upload) -> None:
    await STORIES["declared"].act(upload)
    await upload.end("complete")


async def _cut(proxies: Toxiproxy, link: str, pause: float) -> None:
    while True:
        await asyncio.sleep(pause)
        proxies.cut(link)


def tell(weather: Weather, link: str, car: Device, uploads: list[Upload], took: float) -> None:
    acknowledged = sum(upload.acknowledged.total() for upload in uploads)
    returned = sum(upload.returned for upload in uploads)
    chunks = sum(len(upload.chunks) for upload in uploads)
    row = (link, weather.name, f"{chunks}", f"{car.tries}", f"{acknowledged:,}", f"{returned:,}",
           f"{acknowledged - returned}", f"{took:.1f}")  # fmt: skip
    columns = ("link", "network", "chunks", "sent", "acknowledged, bytes", "came back", "lost", "seconds")
    table("Bad networks", *columns).rows.append(row)
    assert acknowledged == returned == sum(len(upload.content) for upload in uploads)
