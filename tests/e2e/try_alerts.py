"""Each alert, caused for real and seen firing: `make alerts`, about three minutes.

Four services on a MinIO and a RabbitMQ of their own, in a world in which an alert's minute is a second: windows,
`for` and limits in seconds are a sixtieth of what the rules say. Not part of the tests: pytest does not collect a file
of this name unless it is named.
"""

import asyncio
import io
import re
import resource
import signal
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aio_pika
import aiohttp
import pytest
from prometheus_client import start_http_server

from libs.common.bus.events import ChunkReceived, ChunkReceivedData
from libs.common.bus.rabbitmq import RabbitBus
from services.ingest.download_turns import TURNS
from tests.backends import MinioServer, RabbitmqServer, minio_server, rabbitmq_server
from tests.deploy.alert_rules import RULES, rules
from tests.e2e.conftest import backend_env
from tests.e2e.device import Device, get_token, new_device
from tests.e2e.processes import SECRETS, Deployment, Process, running
from tests.e2e.prometheus import Prometheus, prometheus
from tests.ports import free_port

SPEED = 60
PATIENCE = 60  # seconds that an alert may take to fire, once its cause is there
SETTINGS = {
    "RECOVERY_INTERVAL": "2",
    "REVOCATION_INTERVAL": "0.2",
    "CLEANUP_INTERVAL": "2",
    "STALE_THRESHOLD": "6",
    "BODY_LEAST_RATE": "0",
    "LOG_LEVEL": "WARNING",
    "WEBHOOK_HTTP": "true",
    "WEBHOOK_NETWORKS": "127.0.0.0/8",
    "TOKEN_FAILURES_PER_CLIENT": "0",
    "TOKEN_FAILURES_PER_ADDRESS": "0",
}
WRONG = "sha-256=:" + "A" * 43 + "=:"


def hastened(text: str) -> str:
    """The rules, in a world that runs so much faster."""
    seconds = {"m": 60, "h": 3600}

    def shorter(found: re.Match[str]) -> str:
        return f"{found[1]}{int(found[2]) * seconds[found[3]] // SPEED}s"

    text = re.sub(r"(\[|for: |offset )(\d+)([mh])", shorter, text.replace(":30s]", ":1s]"))
    text = re.sub(r"([<>-]) (60|600|900|3600)\b", lambda found: f"{found[1]} {int(found[2]) // SPEED}", text)
    return re.sub(
        r"(_seconds_bucket\S*) > ([\d.]+)$", lambda found: f"{found[1]} > {float(found[2]) / SPEED}", text, flags=re.M
    )


@dataclass
class Trial:
    """The deployment, and which alerts were seen."""

    processes: dict[str, Process]
    minio: MinioServer
    rabbitmq: RabbitmqServer
    watcher: Prometheus
    device: Device
    seen: dict[str, float] = field(default_factory=dict)
    sent: int = 0

    async def watch(self) -> None:
        clock = asyncio.get_running_loop().time
        began = clock()
        while True:
            for alert in await asyncio.to_thread(self.watcher.firing):
                if alert not in self.seen:
                    self.seen[alert] = clock() - began
                    print(f"{self.seen[alert]:5.0f} s  {alert}", flush=True)
            await asyncio.sleep(0.5)

    async def fired(self, *alerts: str) -> None:
        """Wait until each of them was seen."""
        with suppress(TimeoutError):
            async with asyncio.timeout(PATIENCE):
                while not self.seen.keys() >= set(alerts):  # noqa: ASYNC110  # what is waited for has no event to offer
                    await asyncio.sleep(0.2)
        assert self.seen.keys() >= set(alerts), f"not seen: {set(alerts) - self.seen.keys()}"

    async def work(self) -> None:
        """What a fleet does all the time: two small files in a second, each in two chunks, a look at each, and somebody
        who wants a token that he does not get, for which the store is asked too."""
        while True:
            self.sent += 1
            name = f"file-{self.sent}"
            await self.device.try_once(name, 5, 0, b"he")
            await self.device.try_once(name, 5, 2, b"llo")
            await self.device.status(name)
            form = {"grant_type": "client_credentials", "client_id": "stranger", "client_secret": "wrong"}
            with suppress(aiohttp.ClientError, TimeoutError, OSError):
                async with self.device.http.post(f"{self.processes['auth'].url}/token", data=form) as answer:
                    await answer.read()
            await asyncio.sleep(0.4)


@contextmanager
def deployment(directory: Path) -> Iterator[tuple[dict[str, Process], MinioServer, RabbitmqServer]]:
    with minio_server(name="alerts-minio") as minio, rabbitmq_server(name="alerts-rabbitmq") as rabbitmq:
        env = {**SECRETS, **backend_env(minio, rabbitmq), **SETTINGS}

        def process(name: str, **more: str) -> Process:
            return Process(f"services.{name.partition('-')[0]}", {**env, **more}, directory / f"{name}.log")

        processes = {name: process(name) for name in ("auth", "ingest", "assembler", "janitor")}
        processes["ingest-full"] = process("ingest-full", MEMORY_BUDGET="0")
        with running(processes):
            yield {**processes, "ingest-late": process("ingest-late")}, minio, rabbitmq


@asynccontextmanager
async def trial(directory: Path, extra: int) -> AsyncIterator[Trial]:
    """Everything running, under load, and watched. `extra`: a port to scrape besides."""
    with deployment(directory) as (processes, minio, rabbitmq):
        targets: dict[str, list[int]] = {"hiper-test": [extra]}
        for name, process in processes.items():
            targets.setdefault(f"hiper-{name.partition('-')[0]}", []).append(process.port)
        apis = [processes["ingest"].url]
        with prometheus(directory, targets, hastened(RULES.read_text())) as watcher:
            async with new_device(
                Deployment(processes, apis, processes["auth"].url, SECRETS["ADMIN_SECRET"]), "car-1"
            ) as device:
                it = Trial(processes, minio, rabbitmq, watcher, device)
                tasks = [asyncio.create_task(it.watch()), asyncio.create_task(it.work())]
                try:
                    yield it
                finally:
                    for task in tasks:
                        task.cancel()
                    await asyncio.gather(*tasks, return_exceptions=True)
                    with suppress(Exception):
                        processes["ingest-late"].kill()


# -- causes


async def somebody_who_guesses(it: Trial) -> None:
    """As in the work of the fleet."""
    await it.fired("HiperLoginsFail")


async def with_hiccups(
    halt: Callable[[], Any], go_on: Callable[[], Any], times: tuple[float, float], until: Any
) -> None:
    """Halt something and let it go on, for so many seconds each, until the awaitable is done."""
    waiting = asyncio.ensure_future(until)
    while not waiting.done():
        await asyncio.to_thread(halt)
        await asyncio.sleep(times[0])
        await asyncio.to_thread(go_on)
        await asyncio.sleep(times[1])
    await waiting


async def a_slow_store(it: Trial) -> None:
    container = it.minio.container.get_wrapped_container()
    await with_hiccups(container.pause, container.unpause, (0.3, 0.1), it.fired("HiperStoreSlow", "HiperTokensSlow"))


async def a_slow_assembler(it: Trial) -> None:
    process = it.processes["assembler"].popen
    assert process
    stop, go_on = (lambda: process.send_signal(signal.SIGSTOP)), (lambda: process.send_signal(signal.SIGCONT))
    await with_hiccups(stop, go_on, (4.5, 3), it.fired("HiperFilesLate"))


async def a_wrong_digest(it: Trial) -> None:
    params = {"filename": "wrong.bin", "total_size": "5"}
    for given, data in (
        ("bytes 0-1/5", b"he"),
        ("bytes 2-4/5", b"llo"),
    ):  # in one request it would be answered with 400
        headers = {"Content-Range": given, "Repr-Digest": WRONG}
        status = 503
        while status == 503:  # as a device does: the store of a machine that has much to do is slow at times
            status, _ = await it.device.request("POST", "/upload", params=params, data=data, headers=headers)
        assert status == 200
    await it.fired("HiperFilesRejected")


async def a_receiver_that_is_away(it: Trial) -> None:
    """The admin makes a webhook to a port at which nobody listens."""
    auth, secret = it.processes["auth"].url, SECRETS["ADMIN_SECRET"]
    admin = await get_token(it.device.http, auth, "admin", secret, scope="fleet:manage")
    operator = Device(it.device.http, it.device.apis, admin, "admin")
    status, answer = await operator.request("POST", "/webhooks", json={"url": f"http://127.0.0.1:{free_port()}/"})
    assert status == 201, answer
    await it.fired("HiperWebhooksFail")


async def devices_that_give_up(it: Trial) -> None:
    for n in range(40):
        await it.device.send(f"given-up-{n}", 1000, 0, b"hello")
    await it.fired("HiperUploadsGoStale")


async def poison(it: Trial) -> None:
    async with await aio_pika.connect(it.rabbitmq.url) as connection:
        exchange = await (await connection.channel()).get_exchange("hiper.events")
        await exchange.publish(aio_pika.Message(b"no event"), "hiper.ChunkReceived.v1")
    await it.fired("HiperDeadLetters")


async def letters_that_no_one_reads(it: Trial) -> None:
    """Straight into the queue, as many as it takes."""
    async with await aio_pika.connect(it.rabbitmq.url) as connection:
        exchange = await (await connection.channel()).get_exchange("hiper.dead")
        for _ in range(9):
            letters = [exchange.publish(aio_pika.Message(b"no event"), "assembler.dead") for _ in range(1000)]
            await asyncio.gather(*letters)
    await it.fired("HiperDeadLettersFull")


async def no_room(it: Trial) -> None:
    """A replica without memory for bodies, whose disk is full beyond one MiB; and one slow body."""
    full = it.processes["ingest-full"]
    assert full.popen
    resource.prlimit(full.popen.pid, resource.RLIMIT_FSIZE, (2**20, 2**20))

    async def slowly() -> AsyncIterator[bytes]:
        for _ in range(100):
            yield b"x"
            await asyncio.sleep(0.3)

    async def send(body: Any, size: int) -> None:
        headers = {"Authorization": f"Bearer {it.device.token}", "Content-Range": f"bytes 0-{size - 1}/{size}"}
        params = {"filename": "large.bin", "total_size": str(size)}
        with suppress(aiohttp.ClientError, TimeoutError, OSError):
            async with it.device.http.post(f"{full.url}/upload", params=params, data=body, headers=headers) as answer:
                await answer.read()

    slow = asyncio.create_task(send(slowly(), 100))
    waiting = asyncio.create_task(it.fired("HiperRequestsShed", "HiperMemoryBudgetExhausted"))
    while not waiting.done():
        await send(io.BytesIO(b"\0" * 2**21), 2**21)
        await asyncio.sleep(0.3)
    slow.cancel()
    await asyncio.gather(slow, return_exceptions=True)
    await waiting


async def a_rollout(it: Trial) -> None:
    """More downloads at once than a replica has turns."""
    await it.device.send("firmware", 2**25, 0, bytes(2**25))
    await it.device.wait_for("firmware", "complete")

    async def fetch() -> None:
        while True:
            with suppress(aiohttp.ClientError, TimeoutError, OSError):
                async with it.device.download("firmware") as answer:
                    async for _ in answer.content.iter_chunked(2**20):
                        pass

    cars = [asyncio.create_task(fetch()) for _ in range(2 * TURNS)]
    await it.fired("HiperDownloadsWait")
    for car in cars:
        car.cancel()
    await asyncio.gather(*cars, return_exceptions=True)


async def no_assembler(it: Trial) -> None:
    it.processes["assembler"].kill()
    await it.fired("HiperComponentDown hiper-assembler", "HiperEventsNotDelivered", "HiperFilesStuck")
    await asyncio.to_thread(it.processes["assembler"].start)


async def no_broker(it: Trial) -> None:
    await asyncio.to_thread(it.rabbitmq.kill)
    small = RabbitBus(it.rabbitmq.url, buffer=10)
    data = ChunkReceivedData(
        owner="a", filename="b", session="5f0c2ad19b3e4a77", start=0, length=1, offset=1, filled_parts=[0]
    )
    for _ in range(20):
        small.publish(ChunkReceived(source="/hiper/test", subject="a/b", data=data))
    await it.fired("HiperBusDisconnected", "HiperEventsUnconfirmed", "HiperEventsDropped", "HiperNotReady bus")
    await small.close(0)
    await asyncio.to_thread(it.rabbitmq.start)


async def no_store(it: Trial) -> None:
    late = it.processes["ingest-late"]
    await asyncio.to_thread(it.minio.kill)
    late.start(wait=False)
    waiting = asyncio.create_task(
        it.fired(
            "HiperStoreUnavailable",
            "HiperUploadsFail",
            "HiperRequestsFail",
            "HiperSweepNotRunning",
            "HiperNotReady store",
            "HiperRevocationsStale",
        )
    )
    while not waiting.done():
        await asyncio.to_thread(late.is_ready)
        await asyncio.sleep(0.3)
    await waiting


async def no_targets(it: Trial) -> None:
    """The processes run; but there is no series of any of them, which no comparison would tell."""
    await asyncio.to_thread(it.watcher.forget_targets)
    await it.fired(
        "HiperComponentDown hiper-auth", "HiperComponentDown hiper-ingest", "HiperComponentDown hiper-janitor"
    )


@pytest.mark.timeout(600)
async def test_every_alert_fires_when_its_cause_is_there(tmp_path: Path, engine: None) -> None:
    port = free_port()
    server, thread = start_http_server(port, "127.0.0.1")
    try:
        async with trial(tmp_path, port) as it:
            await asyncio.gather(
                somebody_who_guesses(it),
                a_wrong_digest(it),
                a_receiver_that_is_away(it),
                poison(it),
                letters_that_no_one_reads(it),
                no_room(it),
                devices_that_give_up(it),
            )
            await a_rollout(it)
            await a_slow_store(it)
            await a_slow_assembler(it)
            await no_assembler(it)
            await no_broker(it)
            await no_store(it)
            await no_targets(it)
            assert {alert.partition(" ")[0] for alert in it.seen} == {rule["alert"] for rule in rules()}
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
