"""What is still to be published: a bounded buffer, and the sending of it with many publishes in flight."""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from typing import NamedTuple

import structlog

from libs.common.bus._metrics import CONFIRM_DURATION, CONFIRMED, DROPPED, REPUBLISHED, WAITING

log = structlog.get_logger(__name__)


class Letter(NamedTuple):
    """An event, ready to go."""

    type: str
    key: str  # that the broker routes it by, and that counts it
    owner_key: str  # that the broker routes it by as well
    body: bytes
    mandatory: bool  # a queue must take it


Send = Callable[[Letter], Awaitable[None]]


class Outbox:
    """Keeps a letter until a send of it has returned. Order is not kept."""

    def __init__(self, limit: int, in_flight: int) -> None:
        self._limit = limit  # letters that wait; the oldest are dropped beyond it
        self._in_flight = in_flight  # letters that are being sent
        self._waiting: deque[Letter] = deque()
        self._flying: dict[asyncio.Future[None], Letter] = {}
        self._failure: BaseException | None = None
        self._changed = asyncio.Event()
        self._empty = asyncio.Event()
        self._empty.set()
        self._dropping = False

    def __len__(self) -> int:
        return len(self._waiting) + len(self._flying)

    def put(self, letter: Letter) -> None:
        if len(self._waiting) >= self._limit:
            self._drop(self._waiting.popleft())
        self._waiting.append(letter)
        WAITING.inc()
        self._empty.clear()
        self._changed.set()

    async def empty(self) -> None:
        """Wait until every letter is confirmed."""
        await self._empty.wait()

    def interrupt(self, reason: BaseException) -> None:
        """End `send_all`: its connection is gone."""
        self._failure = self._failure or reason
        self._changed.set()

    async def send_all(self, send: Send) -> None:
        """Send letters as they come, until one fails or `interrupt`, and raise why. What was not confirmed by
        then waits again: it may arrive twice."""
        self._failure = None
        try:
            while self._failure is None:
                self._changed.clear()
                self._launch(send)
                await self._changed.wait()
            raise self._failure
        finally:
            for flight in self._flying:
                flight.cancel()
            while self._flying:
                await asyncio.wait(self._flying)

    def discard(self) -> None:
        """Drop everything that waits."""
        while self._waiting:
            DROPPED.labels(self._waiting.popleft().key).inc()
            WAITING.dec()

    def _launch(self, send: Send) -> None:
        while self._waiting and len(self._flying) < self._in_flight:
            letter = self._waiting.popleft()
            flight = asyncio.ensure_future(_timed(send(letter)))
            self._flying[flight] = letter
            flight.add_done_callback(self._landed)

    def _landed(self, flight: asyncio.Future[None]) -> None:
        letter = self._flying.pop(flight)
        failure = asyncio.CancelledError() if flight.cancelled() else flight.exception()
        if failure is None:
            CONFIRMED.labels(letter.key).inc()
            WAITING.dec()
        else:
            self._failure = self._failure or failure
            self._put_back(letter)
        if not len(self):
            self._dropping = False
            self._empty.set()
        self._changed.set()

    def _put_back(self, letter: Letter) -> None:
        if len(self._waiting) >= self._limit:
            self._drop(letter)
        else:
            REPUBLISHED.labels(letter.key).inc()
            self._waiting.appendleft(letter)

    def _drop(self, letter: Letter) -> None:
        DROPPED.labels(letter.key).inc()
        WAITING.dec()
        if not self._dropping:
            self._dropping = True
            log.warning("dropping the oldest events, which the sweep makes up for", limit=self._limit)


async def _timed(sending: Awaitable[None]) -> None:
    with CONFIRM_DURATION.time():
        await sending
