"""The half of consuming that every adapter shares: handlers, many at once, and how each delivery ends."""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial
from typing import Protocol

import structlog
from pydantic import ValidationError

from libs.common.bus import Handler, Limits, Poison
from libs.common.bus._metrics import DEAD_LETTERED, DELIVERED, FAILED, HANDLE_DURATION
from libs.common.bus._tracing import handling
from libs.common.bus.events import EVENTS, Event
from libs.common.observability.tracing import trace_ids

log = structlog.get_logger(__name__)

Settle = Callable[[], Awaitable[None]]


class Delivery(Protocol):
    """One event on loan from a queue, to be ended by exactly one of its methods. None of them raises: a delivery
    whose connection is gone goes back to the queue by itself."""

    @property
    def body(self) -> bytes: ...

    @property
    def redeliveries(self) -> int:
        """How often the event was delivered before."""
        ...

    async def ack(self) -> None:
        """Done with: the queue forgets it."""
        ...

    async def retry(self) -> None:
        """Failed: back to the queue, and counted."""
        ...

    async def give_back(self) -> None:
        """Not tried: back to the queue, and not counted where the queue can tell the difference."""
        ...

    async def dead_letter(self) -> None:
        """Given up: to the dead letters."""
        ...


class Intake:
    """Runs a handler over the deliveries that it is offered. `on_room` is called whenever one has ended."""

    def __init__(self, handler: Handler, limits: Limits, on_room: Callable[[], None] = lambda: None) -> None:
        self._handler = handler
        self._limits = limits
        self._on_room = on_room
        self._waiting: deque[Delivery] = deque()
        self._tasks: set[asyncio.Task[None]] = set()  # handlers, and failed deliveries that sit out their pause
        self._busy = 0  # handlers
        self._stopping = asyncio.Event()

    @property
    def held(self) -> int:
        """Deliveries on loan: waiting, in a handler, or in their pause."""
        return len(self._waiting) + len(self._tasks)

    @property
    def stopping(self) -> bool:
        return self._stopping.is_set()

    def offer(self, delivery: Delivery) -> None:
        """Take a delivery; its handler begins when there is room."""
        self._waiting.append(delivery)
        self._begin()

    def forget(self) -> None:
        """Drop what waits: its connection is gone, and the queue delivers it again."""
        self._waiting.clear()

    def stop(self) -> None:
        """Begin no more handlers, and cut pauses short."""
        self._stopping.set()

    async def finish(self) -> None:
        """Stop, give back what no handler has begun, and wait for the handlers in hand."""
        self.stop()
        while self._waiting:
            await self._waiting.popleft().give_back()
        while self._tasks:
            await asyncio.wait(self._tasks)

    async def abort(self) -> None:
        """Stop, give everything back, cancel the handlers in hand. Waits at most a second for them to end."""
        self.stop()
        while self._waiting:
            await self._waiting.popleft().give_back()
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=1)

    def _begin(self) -> None:
        while self._waiting and self._busy < self._limits.concurrency and not self.stopping:
            self._busy += 1
            task = asyncio.create_task(self._process(self._waiting.popleft()))
            self._tasks.add(task)
            task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        self._on_room()

    async def _process(self, delivery: Delivery) -> None:
        settle: Settle = delivery.give_back  # where the handler is cancelled
        try:
            settle = await self._handle(delivery)
        finally:
            self._busy -= 1
            self._begin()
            await settle()

    async def _handle(self, delivery: Delivery) -> Settle:
        """Run the handler and say how the delivery ends."""
        structlog.contextvars.clear_contextvars()  # of whoever published it, in this process
        try:
            event = EVENTS.validate_json(delivery.body)
        except ValidationError as error:
            log.error("event not understood: dead-lettered", problems=error.error_count(), body=delivery.body[:200])
            DEAD_LETTERED.labels("unknown").inc()
            return delivery.dead_letter
        if not event.for_assembler:
            return self._give_up(delivery, event, "not for the assembler")
        _bind(event)
        DELIVERED.labels(event.type).inc()
        try:
            with handling(event), HANDLE_DURATION.labels(event.type).time():
                structlog.contextvars.bind_contextvars(**trace_ids())
                await self._handler(event)
        except Poison as poison:
            return self._give_up(delivery, event, str(poison))
        except Exception as error:
            return self._failed(delivery, event, error)
        return delivery.ack

    def _failed(self, delivery: Delivery, event: Event, error: Exception) -> Settle:
        # The queue has a limit too, but it it is there for consumers that die of an event.
        if delivery.redeliveries + 1 >= self._limits.delivery_limit:
            return self._give_up(delivery, event, f"failed {self._limits.delivery_limit} times: {error!r}")
        pause = self._limits.pause_after(delivery.redeliveries)
        FAILED.labels(event.type).inc()
        log.warning("event handler failed", type=event.type, subject=event.subject, retry_in=pause, exc_info=error)
        return partial(self._retry, delivery, pause)

    def _give_up(self, delivery: Delivery, event: Event, reason: str) -> Settle:
        log.error("event dead-lettered", type=event.type, subject=event.subject, id=event.id, reason=reason)
        DEAD_LETTERED.labels(event.type).inc()
        return delivery.dead_letter

    async def _retry(self, delivery: Delivery, pause: float) -> None:
        try:
            with suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await self._stopping.wait()
        finally:
            await delivery.retry()


def _bind(event: Event) -> None:
    """Every log line of the handler says what it is about."""
    data = event.data
    structlog.contextvars.bind_contextvars(
        event_id=event.id, event_type=event.type, owner=data.owner, file=data.filename
    )
