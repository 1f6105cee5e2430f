"""A bus on a broker that can go away: everything about it that does not depend on the broker's protocol."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from typing import Protocol

import structlog

from libs.common.bus import Handler, Limits, Listener
from libs.common.bus._ears import Ear, Ears
from libs.common.bus._intake import Delivery, Intake
from libs.common.bus._metrics import DROPPED, LINKS_DOWN, PUBLISHED
from libs.common.bus._outbox import Letter, Outbox
from libs.common.bus._reconnect import ConnectionLost, either, end, keep
from libs.common.bus._subscriptions import Subscriptions
from libs.common.bus._tracing import carrying, publishing
from libs.common.bus.events import Event, owner_key, routing_key
from libs.common.settings import REFUSALS, ConfigurationError, GiveUp

log = structlog.get_logger(__name__)

FIRST_ATTEMPT = 5.0  # seconds that `start` waits for it
DECLARE_INTERVAL = 15.0  # seconds; a dead-letter queue that was deleted is missed by no message until one is lost


class Link(Protocol):
    """One connection to the broker, with everything declared that the bus needs."""

    @property
    def lost(self) -> asyncio.Event:
        """Set once the connection, the channel or the consumer is gone: the link is of no use any more."""
        ...

    async def declare(self) -> None:
        """Make again what was deleted meanwhile, and see how full the queues are. Raises whatever went wrong."""
        ...

    async def send(self, letter: Letter) -> None:
        """Returns when the broker has the letter on disk, in a queue if it is mandatory; raises in any other case."""
        ...

    async def consume(self, offer: Callable[[Delivery], None], prefetch: int) -> Callable[[], Awaitable[None]]:
        """Begin to offer deliveries, at most `prefetch` on loan; returns how to stop."""
        ...

    async def hear(self, listener: Callable[[bytes], None]) -> Callable[[str, bool], Awaitable[None]]:
        """Begin to show events to a listener, of no owner yet; returns how to add an owner (True) or leave it out."""
        ...


class Broker(Protocol):
    """Where links come from."""

    name: str  # for the log; without secrets

    def link(self, role: str) -> AbstractAsyncContextManager[Link]:
        """Connect and declare. Raises whatever went wrong, in a time of its own choosing."""
        ...

    def refuses(self, error: BaseException) -> bool:
        """Whether it is there and does not let this user in."""
        ...

    def explain(self, error: BaseException) -> str:
        """What went wrong, for whoever runs this; without secrets."""
        ...


class RemoteBus:
    """EventBus on a broker. Publishing and each subscription have a link of their own, because a broker that is short
    of memory or disk blocks the connections that publish, and acks must still get through."""

    def __init__(self, broker: Broker, limits: Limits, outbox: Outbox, give_up: GiveUp | None = None) -> None:
        self._broker = broker
        self._limits = limits
        self._outbox = outbox
        self._subscriptions = Subscriptions(limits)
        self._links: Counter[str] = Counter()  # that are up, by role
        self._ears = Ears(self._heed)
        self._heeded = asyncio.Event()  # the listeners want to hear others than before
        self._hearing: asyncio.Task[None] | None = None
        self._deaf_for = ""  # why, as it was logged
        self._tried = asyncio.Event()
        self._closed = asyncio.Event()
        self._publisher: asyncio.Task[None] | None = None
        self._complaint = ""
        self._give_up = give_up  # until the first link: later refusals pass, as when passwords are being changed
        self._refusals = 0

    @property
    def trouble(self) -> str:
        return self._complaint

    @property
    def connected(self) -> bool:
        return self._links["publisher"] == 1 and self._links["consumer"] == len(self._subscriptions)

    async def start(self) -> None:
        if self._publisher is None and not self._closed.is_set():
            self._publisher = asyncio.create_task(self._keep(self._publish, self._closed))
            with suppress(TimeoutError):
                async with asyncio.timeout(FIRST_ATTEMPT):
                    await self._tried.wait()

    def publish(self, event: Event) -> None:
        key = routing_key(event)
        PUBLISHED.labels(key).inc()
        if self._closed.is_set():
            DROPPED.labels(key).inc()
        else:
            with publishing(event):
                body = carrying(event).model_dump_json().encode()
                self._outbox.put(Letter(event.type, key, owner_key(event), body, event.wakes_assembler))

    def listen(self, listener: Listener) -> Ear:
        return self._ears.open(listener)

    async def subscribe(self, handler: Handler) -> None:
        async with self._subscriptions.open(handler) as intake:
            await self._keep(lambda: self._consume(intake), self._subscriptions.stopping)
            await intake.finish()

    async def stop_consuming(self) -> None:
        self._subscriptions.stop()

    async def close(self, grace: float = 5.0) -> None:
        deadline = asyncio.get_running_loop().time() + grace
        await self._subscriptions.close(grace)
        if self._publisher is not None:
            with suppress(TimeoutError):
                async with asyncio.timeout_at(deadline):
                    await self._outbox.empty()
        self._closed.set()
        await end([task for task in (self._publisher, self._hearing) if task is not None])
        if left := len(self._outbox):
            log.warning("closed with unpublished events, which the sweep makes up for", events=left)
            self._outbox.discard()

    async def _keep(self, use: Callable[[], Awaitable[None]], until: asyncio.Event) -> None:
        with LINKS_DOWN.track_inprogress():  # down until `_link` says that it is up
            await keep(use, until, self._complain)

    async def _publish(self) -> None:
        async with self._link("publisher") as link:
            watches = [asyncio.create_task(watch(link)) for watch in (self._interrupt_when_lost, self._keep_declared)]
            try:
                await self._outbox.send_all(link.send)
            finally:
                await end(watches)

    async def _interrupt_when_lost(self, link: Link) -> None:
        await link.lost.wait()
        self._outbox.interrupt(ConnectionLost("the connection to publish on is gone"))

    async def _keep_declared(self, link: Link) -> None:
        try:
            while True:
                await asyncio.sleep(DECLARE_INTERVAL)
                await link.declare()
        except Exception as error:
            self._outbox.interrupt(error)

    async def _consume(self, intake: Intake) -> None:
        try:
            async with self._link("consumer") as link:
                cease = await link.consume(intake.offer, self._limits.prefetch)
                await either(link.lost, self._subscriptions.stopping)
                if link.lost.is_set():
                    raise ConnectionLost("the connection to consume on, or the queue, is gone")
                await cease()
                await intake.finish()
        finally:
            intake.forget()  # the queue has them back

    def _heed(self) -> None:
        self._heeded.set()
        if self._hearing is None and not self._closed.is_set():
            self._ears.lose()
            self._hearing = asyncio.create_task(self._hear_always())

    async def _hear_always(self) -> None:
        with LINKS_DOWN.track_inprogress():
            await keep(self._hear, self._closed, self._go_deaf)

    async def _hear(self) -> None:
        async with self._link("listener") as link:
            bind = await link.hear(self._ears.hear)
            self._ears.start_anew()
            self._deaf_for = ""
            while not link.lost.is_set():
                self._heeded.clear()
                for owner, wanted in self._ears.changes():
                    await bind(owner, wanted)
                await either(self._heeded, link.lost)
            raise ConnectionLost("the connection to listen on, or its queue, is gone")

    def _go_deaf(self, error: BaseException) -> None:
        self._ears.lose()
        self._ears.give_up_waiting()
        reason = self._broker.explain(error)
        if reason != self._deaf_for:
            self._deaf_for = reason
            log.warning("does not hear the events of others: trying again", broker=self._broker.name, reason=reason)

    @asynccontextmanager
    async def _link(self, role: str) -> AsyncIterator[Link]:
        async with self._broker.link(role) as link:
            self._links[role] += 1
            LINKS_DOWN.dec()
            self._complaint = ""
            self._give_up = None
            self._tried.set()
            log.info("connected to the broker", broker=self._broker.name, role=role)
            try:
                yield link
            finally:
                self._links[role] -= 1
                LINKS_DOWN.inc()

    def _complain(self, error: BaseException) -> None:
        """Say what went wrong once, not with every attempt."""
        self._tried.set()
        complaint = self._broker.explain(error)
        self._refusals = self._refusals + 1 if self._broker.refuses(error) else 0
        if self._give_up and self._refusals >= REFUSALS:
            self._give_up(ConfigurationError(complaint))
        if complaint != self._complaint:
            self._complaint = complaint
            log.error("no connection to the broker: trying again", broker=self._broker.name, reason=complaint)
