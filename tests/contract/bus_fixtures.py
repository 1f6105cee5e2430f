"""What the bus suite stands on: one rig per adapter, that makes buses on one broker and fails on leftovers."""

import asyncio
import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from typing import Protocol, Self

import aio_pika
import pytest
from yarl import URL

from libs.common.bus import EventBus, Limits
from libs.common.bus.events import EVENTS, Event
from libs.common.bus.memory import MemoryBus, MemoryQueue
from libs.common.bus.rabbitmq import RabbitBus
from tests.backends import RabbitmqServer

QUICK = Limits(pause=0.01, longest_pause=0.05, delivery_limit=3)


class Rig(Protocol):
    """Makes buses that share one broker."""

    def bus(self, limits: Limits = QUICK) -> EventBus:
        """A bus that is not started. The rig closes it in the end."""
        ...

    async def take_dead_letters(self, count: int) -> list[Event]:
        """Wait for so many dead letters, and remove them."""
        ...


class MemoryRig:
    def __init__(self) -> None:
        self.queue = MemoryQueue()
        self.buses: list[EventBus] = []

    def bus(self, limits: Limits = QUICK) -> MemoryBus:
        bus = MemoryBus(self.queue, limits=limits)
        self.buses.append(bus)
        return bus

    async def take_dead_letters(self, count: int) -> list[Event]:
        await eventually(lambda: len(self.queue.dead_letters) >= count)
        return [self.queue.dead_letters.popleft() for _ in range(len(self.queue.dead_letters))]

    def check_leftovers(self) -> None:
        assert len(self.queue) == 0, "events were left in the queue"
        assert not self.queue.dead_letters, "dead letters were left"


class RabbitRig:
    def __init__(self, server: RabbitmqServer) -> None:
        unique = f"test-{uuid.uuid4().hex[:12]}"
        self.server = server
        self.exchange, self.dead_exchange = f"{unique}.events", f"{unique}.dead"
        self.queue, self.dead_queue = f"{unique}.assembler", f"{unique}.assembler.dead"
        self.buses: list[EventBus] = []

    def bus(
        self, limits: Limits = QUICK, *, url: str = "", buffer: int = 1000, publish_timeout: float = 10.0
    ) -> RabbitBus:
        bus = RabbitBus(
            url or self.server.url,
            exchange=self.exchange,
            queue=self.queue,
            limits=limits,
            buffer=buffer,
            publish_timeout=publish_timeout,
        )
        self.buses.append(bus)
        return bus

    @asynccontextmanager
    async def channel(self) -> AsyncIterator[aio_pika.abc.AbstractChannel]:
        """Straight to the broker."""
        async with await aio_pika.connect(self.server.url) as connection:
            yield await connection.channel()

    async def take_dead_letters(self, count: int) -> list[Event]:
        return [EVENTS.validate_json(body) for body in await self.take_dead_bodies(count)]

    async def take_dead_bodies(self, count: int) -> list[bytes]:
        bodies: list[bytes] = []
        async with self.channel() as channel:
            queue = await channel.get_queue(self.dead_queue)
            while len(bodies) < count:
                message = await self.take(queue)
                await message.ack()
                bodies.append(message.body)
        return bodies

    async def take(self, queue: aio_pika.abc.AbstractQueue) -> aio_pika.abc.AbstractIncomingMessage:
        """Wait for a message."""
        async with asyncio.timeout(20):
            while True:
                if message := await queue.get(fail=False):
                    return message
                await asyncio.sleep(0.02)

    async def check_leftovers(self) -> None:
        """Delete what the buses declared, and fail if there was a message in it."""
        async with self.channel() as channel:
            left = {}
            for name in (self.queue, self.dead_queue):
                left[name] = (await channel.queue_delete(name)).message_count
            for exchange in (self.exchange, self.dead_exchange):
                await channel.exchange_delete(exchange)
        assert not any(left.values()), f"messages were left: {left}"


class DeafProxy:
    """A way to the broker that can go deaf: the connections of that moment stay open, and nothing passes."""

    def __init__(self, broker_url: str) -> None:
        self._broker = URL(broker_url)
        self._ways: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None
        self._writers: list[asyncio.StreamWriter] = []

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._connect, "127.0.0.1", 0)
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server
        self._server.close()
        self.go_deaf()
        for writer in self._writers:
            writer.close()
            with suppress(OSError):
                await writer.wait_closed()
        await self._server.wait_closed()

    @property
    def url(self) -> str:
        assert self._server
        return str(self._broker.with_host("127.0.0.1").with_port(self._server.sockets[0].getsockname()[1]))

    def go_deaf(self) -> None:
        for way in self._ways:
            way.cancel()

    async def _connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_connection(self._broker.host, self._broker.port)
        self._writers += [writer, back]
        for source, sink in ((reader, back), (there, writer)):
            way = asyncio.create_task(self._pass_on(source, sink))
            self._ways.add(way)
            way.add_done_callback(self._ways.discard)

    async def _pass_on(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while data := await source.read(65536):
                sink.write(data)
                await sink.drain()
            sink.close()


@pytest.fixture
async def memory_rig() -> AsyncIterator[MemoryRig]:
    rig = MemoryRig()
    yield rig
    for bus in rig.buses:
        await bus.close(0)
    rig.check_leftovers()


@pytest.fixture
async def rabbit_rig(rabbitmq: RabbitmqServer) -> AsyncIterator[RabbitRig]:
    rig = RabbitRig(rabbitmq)
    yield rig
    for bus in rig.buses:
        await bus.close(0)
    await rig.check_leftovers()


@pytest.fixture(params=["memory", pytest.param("rabbitmq", marks=pytest.mark.backends)])
def rig(request: pytest.FixtureRequest) -> Rig:
    """Every adapter in turn."""
    fixture = "memory_rig" if request.param == "memory" else "rabbit_rig"
    made: Rig = request.getfixturevalue(fixture)
    return made


async def eventually(holds: Callable[[], bool], within: float = 20.0) -> None:
    """Wait until it holds; fail if it does not in time (seconds)."""
    async with asyncio.timeout(within):
        while not holds():  # noqa: ASYNC110  # what tests wait for sets no event
            await asyncio.sleep(0.01)
