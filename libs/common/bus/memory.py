"""The bus within one process: what the embedded server runs on, and fast enough to test with."""

import asyncio
from collections import deque
from contextlib import suppress
from dataclasses import dataclass, field

import structlog

from libs.common.bus import Handler, Limits, Listener
from libs.common.bus._ears import Ear, Ears
from libs.common.bus._intake import Intake
from libs.common.bus._metrics import CONFIRMED, DROPPED, PUBLISHED
from libs.common.bus._subscriptions import Subscriptions
from libs.common.bus._tracing import carrying, publishing
from libs.common.bus.events import EVENTS, Event, routing_key

log = structlog.get_logger(__name__)

DEAD_LETTERS_KEPT = 1000  # the oldest go first


@dataclass(slots=True, eq=False)
class Loan:
    """A delivery out of a memory queue."""

    queue: "MemoryQueue"
    type: str
    body: bytes
    redeliveries: int = 0

    async def ack(self) -> None:
        pass  # the queue let go of it when it lent it

    async def retry(self) -> None:
        self.redeliveries += 1
        self.queue.put(self)

    async def give_back(self) -> None:
        self.queue.put(self)

    async def dead_letter(self) -> None:
        self.queue.dead_letters.append(EVENTS.validate_json(self.body))


@dataclass(slots=True, eq=False)
class MemoryQueue:
    """The assembler's queue: shared by every bus that is made with it, as a broker is. It holds at most `limit`
    events, and then drops the oldest."""

    limit: int = 100_000
    dead_letters: deque[Event] = field(default_factory=lambda: deque(maxlen=DEAD_LETTERS_KEPT))
    ears: list[Ears] = field(default_factory=list)  # of every bus
    _waiting: deque[Loan] = field(default_factory=deque)
    _consumers: deque[tuple[Intake, Limits]] = field(default_factory=deque)
    _emptied: asyncio.Event = field(default_factory=asyncio.Event)

    def __len__(self) -> int:
        """Events that wait for a consumer."""
        return len(self._waiting)

    def put(self, loan: Loan) -> None:
        if len(self._waiting) >= self.limit:
            DROPPED.labels(self._waiting.popleft().type).inc()
        self._waiting.append(loan)
        self.deal()

    def deal(self) -> None:
        """Hand out what waits, to the consumers in turn."""
        while self._waiting and (intake := self._next_with_room()):
            intake.offer(self._waiting.popleft())
        if not self._waiting and not any(intake.held for intake, _ in self._consumers):
            self._emptied.set()

    async def drained(self) -> None:
        """Wait until nothing waits and no consumer holds anything."""
        self._emptied.clear()
        self.deal()
        await self._emptied.wait()

    def attach(self, intake: Intake, limits: Limits) -> None:
        self._consumers.append((intake, limits))
        self.deal()

    def detach(self, intake: Intake) -> None:
        self._consumers = deque(consumer for consumer in self._consumers if consumer[0] is not intake)
        self.deal()

    def _next_with_room(self) -> Intake | None:
        for _ in range(len(self._consumers)):
            self._consumers.rotate(-1)
            intake, limits = self._consumers[-1]
            if not intake.stopping and intake.held < limits.prefetch:
                return intake
        return None


class MemoryBus:
    """EventBus within the process. A published event is in the queue at once; `close` first lets the bus's own
    subscriptions work the queue off, within the grace, because what is left in memory is lost."""

    def __init__(self, queue: MemoryQueue | None = None, *, limits: Limits | None = None) -> None:
        self.queue = MemoryQueue() if queue is None else queue
        self._limits = limits or Limits()
        self._subscriptions = Subscriptions(self._limits)
        self._ears = Ears(self._heed)
        self.queue.ears.append(self._ears)
        self._started = False
        self._closed = False

    @property
    def dead_letters(self) -> deque[Event]:
        """The events given up, the newest 1,000."""
        return self.queue.dead_letters

    @property
    def connected(self) -> bool:
        return self._started and not self._closed

    @property
    def trouble(self) -> str:
        return ""

    def listen(self, listener: Listener) -> Ear:
        """An event is shown to listeners before `publish` returns."""
        return self._ears.open(listener)

    def _heed(self) -> None:
        for _ in self._ears.changes():
            pass  # there is no broker to tell

    async def start(self) -> None:
        self._started = True

    def publish(self, event: Event) -> None:
        key = routing_key(event)
        PUBLISHED.labels(key).inc()
        if self._closed:
            DROPPED.labels(key).inc()
            return
        with publishing(event):
            body = carrying(event).model_dump_json().encode()
            if event.wakes_assembler:
                self.queue.put(Loan(self.queue, event.type, body))
        CONFIRMED.labels(key).inc()
        for ears in list(self.queue.ears):
            ears.hear(body)

    async def subscribe(self, handler: Handler) -> None:
        if self._subscriptions.stopping.is_set():
            return
        async with self._subscriptions.open(handler, self.queue.deal) as intake:
            self.queue.attach(intake, self._limits)
            try:
                await self._subscriptions.stopping.wait()
                await intake.finish()
            finally:
                self.queue.detach(intake)

    async def stop_consuming(self) -> None:
        self._subscriptions.stop()

    async def close(self, grace: float = 5.0) -> None:
        loop = asyncio.get_running_loop()
        deadline = loop.time() + grace
        if len(self._subscriptions) and not self._subscriptions.stopping.is_set():
            with suppress(TimeoutError):
                async with asyncio.timeout_at(deadline):
                    await self.queue.drained()
        await self._subscriptions.close(max(0.0, deadline - loop.time()))
        self._closed = True
        with suppress(ValueError):
            self.queue.ears.remove(self._ears)
