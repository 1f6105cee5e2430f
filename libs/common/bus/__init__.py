"""The event bus port. Events are nudges: losing one costs time (until the next sweep), never data."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Protocol

from libs.common.bus.events import Event

Handler = Callable[[Event], Awaitable[None]]
Listener = Callable[[Event], None]  # it returns soon: everything else in the process waits for it
EVERY_OWNER = "*"  # no owner has such a name


class Poison(Exception):
    """Raised by a handler for an event that can never succeed: it goes to the dead-letter queue at once."""


@dataclass(frozen=True, slots=True)
class Limits:
    """How a bus consumes, whatever the adapter."""

    prefetch: int = 200  # deliveries on loan to one consumer
    concurrency: int = 64  # handlers at once
    delivery_limit: int = 20  # deliveries of one event, the first included
    pause: float = 0.5  # seconds before the second delivery; doubles with each
    longest_pause: float = 30.0  # seconds

    def pause_after(self, redeliveries: int) -> float:
        """Seconds to wait once a delivery has failed that was preceded by so many."""
        return float(min(self.longest_pause, self.pause * 2.0 ** min(redeliveries, 32)))


class Listening(Protocol):
    """The interest of one listener in the events of some owners. It may change at any time."""

    def watch(self, owner: str) -> None:
        """Hear the events of this owner, or of EVERY_OWNER. Counted: it ends with as many calls of `unwatch`. Returns
        at once; the broker learns of it a moment later (`settled`)."""
        ...

    def unwatch(self, owner: str) -> None:
        """Undo one `watch`."""
        ...

    async def settled(self, within: float = 1.0) -> bool:
        """Wait until everything that is watched is heard, at most `within` seconds. False where it is not; at once
        where the broker is known to be away."""
        ...

    @property
    def deaf_since(self) -> float | None:
        """Since when events may be missed, by `time.monotonic()`, in seconds. None while everything that was watched
        is heard, as far as this process knows: a connection that died without a word is noticed after 45 s."""
        ...

    def close(self) -> None:
        """Undo every `watch`. Once closed, closing does nothing."""
        ...


class EventBus(Protocol):
    """Publishes events and delivers those for the assembler to competing consumers, at least once, in any order.

    An event makes the trip as JSON, whatever the adapter: what arrives is equal, never the same object. Of the
    methods none raises because the broker is away, and only `subscribe` and `close` wait for anything.
    """

    async def start(self) -> None:
        """Connect and make exchanges and queues that are missing. A broker that is away is not an error: the bus
        keeps trying in the background and publishes what has gathered when it is there. Returns after the first
        attempt, good or bad, or after 5 seconds."""
        ...

    def publish(self, event: Event) -> None:
        """Hand an event over. Returns at once and never raises: an unconfirmed event is published again, the
        oldest are dropped when more than the buffer's limit gather (the sweep finds what they said). Before
        `start` events gather; after `close` they are dropped. One that does not wake the assembler passes its queue
        by: whoever else listens gets it."""
        ...

    def listen(self, listener: Listener) -> Listening:
        """Show a listener every event of the owners that it watches: of every service, and of every type.

        Every process hears every event at most once. The consumers of `subscribe` get theirs all the same. Events may
        be lost: the broker keeps the newest 10,000 for each process, in memory, as long as the process is connected. No
        listener makes a publisher or a consumer wait. What a listener raises is logged. Nothing is connected, and no
        task runs, until something is watched; `connected` and `trouble` say nothing of it."""
        ...

    async def subscribe(self, handler: Handler) -> None:
        """Deliver the assembler's events to the handler, many at once, until `stop_consuming`; returns once the
        handlers in hand have ended and what none had begun is back in the queue.

        A handler that returns acknowledges. One that raises Poison dead-letters. Any other exception returns the
        event to the queue, to be delivered again after a pause that grows; after the delivery limit it is
        dead-lettered. Events not understood, or not for the assembler, are dead-lettered. A connection that is
        lost does not end handlers in hand; their events are delivered again. Cancelling cancels the handlers."""
        ...

    async def stop_consuming(self) -> None:
        """Take no more events, now or in any later `subscribe`; let the handlers in hand finish. Does not wait
        for them: `subscribe` returns when they have."""
        ...

    async def close(self, grace: float = 5.0) -> None:
        """Stop consuming, wait at most `grace` seconds in all for the handlers in hand and for the confirms of
        what was published, cancel handlers that are left, and disconnect. Once closed, closing does nothing."""
        ...

    @property
    def connected(self) -> bool:
        """Whether events can travel at this moment: for readiness and for people, not for decisions."""
        ...

    @property
    def trouble(self) -> str:
        """Why they cannot, for people; empty where nothing is known of it."""
        ...
