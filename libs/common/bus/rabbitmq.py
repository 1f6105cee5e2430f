"""The bus on RabbitMQ 3.10 or later. Nothing else imports aio_pika."""

import asyncio
import logging
import re
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

import aio_pika
import structlog
from aio_pika.abc import AbstractChannel, AbstractConnection, AbstractExchange, AbstractIncomingMessage, AbstractQueue
from aio_pika.exceptions import (
    CONNECTION_EXCEPTIONS,
    AuthenticationError,
    ChannelPreconditionFailed,
    ConnectionClosed,
    InvalidFrameError,
    ProbableAuthenticationError,
)
from yarl import URL

from libs.common.bus import Limits
from libs.common.bus._intake import Delivery
from libs.common.bus._metrics import QUEUE_MESSAGES
from libs.common.bus._outbox import Letter, Outbox
from libs.common.bus._reconnect import cancelled
from libs.common.bus._remote import RemoteBus
from libs.common.bus._topology import Topology
from libs.common.bus.events import ASSEMBLER_TYPES, owner_binding
from libs.common.settings import GiveUp

log = structlog.get_logger(__name__)

REMEDY = "docs/runbooks/HiperDeadLettersFull.md: a policy bounds it; or delete it once, and it is made anew"
HEARTBEAT = 15  # seconds; three without a frame end a connection that died without a word
SETUP_TIMEOUT = 10.0  # seconds to connect, declare, or begin to consume
CLOSE_TIMEOUT = 3.0  # seconds to say goodbye
SETTLE_TIMEOUT = 10.0  # seconds to write an ack


class RabbitBus(RemoteBus):
    """EventBus on RabbitMQ."""

    def __init__(
        self,
        url: str,
        *,
        exchange: str = "hiper.events",
        queue: str = "assembler",
        limits: Limits | None = None,
        buffer: int = 100_000,  # events that wait for the broker; the oldest are dropped beyond it
        in_flight: int = 200,  # publishes that wait for their confirm
        publish_timeout: float = 10.0,  # seconds until a publish without a confirm is made again
        give_up: GiveUp | None = None,
        tls: ssl.SSLContext | None = None,  # for amqps://; default: the system's CAs
    ) -> None:
        """Raises ValueError for a URL that is not one of AMQP. Opens nothing. `give_up` is told of a broker
        that has refused this user from the start."""
        limits = limits or Limits()
        broker = RabbitBroker(url, Topology(exchange, queue, limits.delivery_limit), publish_timeout, tls)
        super().__init__(broker, limits, Outbox(buffer, in_flight), give_up)


_REFUSALS = (AuthenticationError, ProbableAuthenticationError)


class RabbitBroker:
    """A RabbitMQ broker and the topology that links to it declare."""

    def __init__(self, url: str, topology: Topology, publish_timeout: float, tls: ssl.SSLContext | None = None) -> None:
        self._url = _with_heartbeat(url)
        self._tls = tls
        self.topology = topology
        self._publish_timeout = publish_timeout
        self._warned = False
        self.name = f"{self._url.host}:{self._url.port or 5672}"
        # They log every attempt as an error; the bus says the same once.
        for library in ("aio_pika", "aiormq"):
            logging.getLogger(library).setLevel(logging.CRITICAL)

    @asynccontextmanager
    async def link(self, role: str) -> AsyncIterator["RabbitLink"]:
        connection = aio_pika.Connection(
            self._url, ssl_context=self._tls, client_properties={"connection_name": f"hiper {role}"}
        )
        try:
            async with asyncio.timeout(SETUP_TIMEOUT):
                await connection.connect()
                channel = connection.channel(on_return_raises=True)
                await channel.initialize()
                exchange, queue = await self.declare(connection, channel)
                link = RabbitLink(self, connection, channel, exchange, queue, self._publish_timeout)
                await link.watch()
            yield link
        finally:
            QUEUE_MESSAGES.clear()
            await _quietly(connection.close(), CLOSE_TIMEOUT)

    def refuses(self, error: BaseException) -> bool:
        return isinstance(error, _REFUSALS)

    def explain(self, error: BaseException) -> str:
        reason = re.sub(r" at 0x[0-9a-f]+", "", f"{type(error).__name__}: {error}")
        if self._url.password:
            reason = reason.replace(self._url.password, "***")
        match error:
            case AuthenticationError() | ProbableAuthenticationError():
                return (
                    f"RABBITMQ_URL: the broker refuses its user name or password ({reason}). It looks like "
                    "amqp://user:password@host:5672/vhost, percent-encoded"
                )
            case _ if "CERTIFICATE_VERIFY_FAILED" in reason:
                return f"RABBITMQ_URL, TLS_CA_FILE: the broker's certificate is not trusted ({reason})"
            case ConnectionClosed(args=(530, *_)):  # AMQP 0-9-1: not-allowed
                return f"RABBITMQ_URL: its virtual host is missing, full, or not for this user ({reason})"
            case InvalidFrameError() if "Connection.OpenOk" in reason:  # how aiormq 7.2 puts the same
                return f"RABBITMQ_URL: its virtual host is missing, full, or not for this user ({reason})"
            case ChannelPreconditionFailed():
                return f"a queue or exchange is there with other properties; delete it once ({reason})"
        return reason

    async def declare(
        self, connection: AbstractConnection, channel: AbstractChannel
    ) -> tuple[AbstractExchange, AbstractQueue]:
        """Make exchanges, queues and bindings that are missing."""
        names = self.topology
        exchange = await channel.declare_exchange(names.exchange, aio_pika.ExchangeType.TOPIC, durable=True)
        dead = await channel.declare_exchange(names.dead_exchange, aio_pika.ExchangeType.DIRECT, durable=True)
        dead_queue = await self._dead_queue(connection, channel)
        await dead_queue.bind(dead, names.dead_queue)
        queue = await channel.declare_queue(names.queue, durable=True, arguments=names.queue_arguments)
        for event_type in ASSEMBLER_TYPES:
            await queue.bind(exchange, event_type)
        for declared in (dead_queue, queue):
            QUEUE_MESSAGES.labels(declared.name).set(declared.declaration_result.message_count or 0)
        return exchange, queue

    async def _dead_queue(self, connection: AbstractConnection, channel: AbstractChannel) -> AbstractQueue:
        """The dead letters, with a bound. One that was made without it, by 0.1, is used as it is: the arguments of a
        queue never change, and deleting it is the operator's choice."""
        names = self.topology
        try:
            async with connection.channel() as attempt:  # a refusal closes it
                await attempt.declare_queue(names.dead_queue, durable=True, arguments=names.dead_queue_arguments)
        except ChannelPreconditionFailed:
            if not self._warned:
                self._warned = True
                log.warning("the dead-letter queue has no bound", queue=names.dead_queue, remedy=REMEDY)
        return await channel.declare_queue(names.dead_queue, passive=True)


@dataclass(frozen=True, slots=True)
class RabbitLink:
    """A connection's one channel, and what is declared on it."""

    broker: RabbitBroker
    connection: AbstractConnection
    channel: AbstractChannel
    exchange: AbstractExchange
    queue: AbstractQueue
    publish_timeout: float
    lost: asyncio.Event = field(default_factory=asyncio.Event)

    async def declare(self) -> None:
        async with asyncio.timeout(SETUP_TIMEOUT):
            await self.broker.declare(self.connection, self.channel)

    async def watch(self) -> None:
        """Set `lost` when the broker ends the connection, the channel, or the consumer (its queue was deleted)."""

        def set_lost(*_: Any) -> None:
            self.lost.set()

        self.connection.close_callbacks.add(set_lost)
        self.channel.close_callbacks.add(set_lost)
        (await self.channel.get_underlay_channel()).on_consumer_cancel_callbacks.add(set_lost)

    async def send(self, letter: Letter) -> None:
        # No message_id of ours: by it aiormq finds the publish that a returned message belongs to, so it must be
        # unique in flight, and events that repeat a fact may repeat their id.
        message = aio_pika.Message(
            letter.body,
            content_type="application/cloudevents+json",
            delivery_mode=aio_pika.DeliveryMode.PERSISTENT,
            type=letter.type,
            headers={"CC": [letter.owner_key]},  # https://www.rabbitmq.com/docs/sender-selected
        )
        await self.exchange.publish(message, letter.key, mandatory=letter.mandatory, timeout=self.publish_timeout)

    async def consume(self, offer: Callable[[Delivery], None], prefetch: int) -> Callable[[], Awaitable[None]]:
        async def on_message(message: AbstractIncomingMessage) -> None:
            offer(RabbitDelivery(message))

        await self.channel.set_qos(prefetch_count=prefetch, timeout=SETUP_TIMEOUT)
        tag = await self.queue.consume(on_message, timeout=SETUP_TIMEOUT)

        async def cease() -> None:
            await self.queue.cancel(tag, timeout=CLOSE_TIMEOUT)

        return cease

    async def hear(self, listener: Callable[[bytes], None]) -> Callable[[str, bool], Awaitable[None]]:
        async def on_message(message: AbstractIncomingMessage) -> None:
            listener(message.body)

        names = self.broker.topology
        queue = await self.channel.declare_queue(
            names.listener_queue(), exclusive=True, auto_delete=True, arguments=names.listener_arguments,
            timeout=SETUP_TIMEOUT,
        )  # fmt: skip
        await queue.consume(on_message, no_ack=True, timeout=SETUP_TIMEOUT)

        async def bind(owner: str, wanted: bool) -> None:
            key = owner_binding(owner)
            await (queue.bind if wanted else queue.unbind)(self.exchange, key, timeout=SETUP_TIMEOUT)

        return bind


@dataclass(frozen=True, slots=True)
class RabbitDelivery:
    """A message on loan from the broker."""

    message: AbstractIncomingMessage

    @property
    def body(self) -> bytes:
        return self.message.body

    @property
    def redeliveries(self) -> int:
        count = self.message.headers.get("x-delivery-count")  # the quorum queue's, from the second delivery on
        return count if isinstance(count, int) else 0

    async def ack(self) -> None:
        await _quietly(self.message.ack(), SETTLE_TIMEOUT)

    async def retry(self) -> None:
        # From RabbitMQ 4.3 on, reject counts towards the delivery limit and nack does not; before, both do
        # (https://www.rabbitmq.com/docs/4.3/nack).
        await _quietly(self.message.reject(requeue=True), SETTLE_TIMEOUT)

    async def give_back(self) -> None:
        await _quietly(self.message.nack(requeue=True), SETTLE_TIMEOUT)

    async def dead_letter(self) -> None:
        await _quietly(self.message.reject(requeue=False), SETTLE_TIMEOUT)


def _with_heartbeat(url: str) -> URL:
    broker = URL(url)
    if broker.scheme not in ("amqp", "amqps") or not broker.host:
        raise ValueError("RABBITMQ_URL must look like amqp://user:password@host:5672/vhost, or amqps://")
    return broker if "heartbeat" in broker.query else broker.update_query(heartbeat=HEARTBEAT)


async def _quietly(call: Coroutine[Any, Any, Any], seconds: float) -> None:
    """Make a call whose failure means no more than that the connection is gone, as others notice."""
    try:
        with suppress(TimeoutError, *CONNECTION_EXCEPTIONS):
            async with asyncio.timeout(seconds):
                await call
    except asyncio.CancelledError:
        if cancelled():
            raise
