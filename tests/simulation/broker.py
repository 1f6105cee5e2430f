"""A broker that loses, doubles, delays and reorders, and the EventBus that processes have on it."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from libs.common.bus import Handler, Limits, Listener
from libs.common.bus._ears import Ear, Ears
from libs.common.bus.events import Event
from tests.simulation.loop import Due, Loop, Process
from tests.simulation.odds import Odds


class Site(Protocol):
    odds: Odds
    outside: Process

    def say(self, *words: object) -> None: ...


@dataclass(eq=False)
class Message:
    event: Event
    deliveries: int = 0
    settled: bool = False


@dataclass
class Broker:
    """The assembler's queue, with every chunk in it, as an ingest from before `progress` had it: the assembler must not
    care. `heard` is told every event that is published."""

    site: Site
    loop: Loop
    heard: Callable[[Event], None]
    consumers: list[tuple[Process, Handler]] = field(default_factory=list)
    waiting: list[Message] = field(default_factory=list)
    far: dict[Message, Due] = field(default_factory=dict)  # messages that come long after they were sent
    under_way: int = 0
    limits: Limits = field(default_factory=Limits)
    ears: list[Ears] = field(default_factory=list)  # of every process

    def publish(self, event: Event) -> None:
        self.heard(event)
        odds = self.site.odds
        random = odds.chance.random
        for ears in self.ears:
            if ears.wanted and (odds.quiet or random() >= odds.lost):
                late = not odds.quiet and random() < odds.delayed
                delay = random() * (odds.longest_delay if late else 0.05)
                self.loop.call_later(
                    delay, ears.hear, event.model_dump_json().encode(), context=self.site.outside.context
                )
        if not (event.for_assembler if odds.progress else event.wakes_assembler):
            return
        if not odds.quiet and random() < odds.lost:
            odds.met["events lost"] += 1
            return
        for _ in range(1 if odds.quiet or random() >= odds.doubled else 2):
            message = Message(event)
            if not odds.quiet and random() < odds.delayed:
                self.far[message] = self._send(message, random() * odds.longest_delay)
            else:
                self._send(message, random() * 0.05)

    def flush(self) -> None:
        """What is still under way comes within a minute."""
        for message, due in list(self.far.items()):
            due.cancel()
            self.under_way -= 1
            self._send(message, 60 * self.site.odds.chance.random())

    def _send(self, message: Message, delay: float) -> Due:
        self.under_way += 1
        due: Due = self.loop.call_later(delay, self._arrive, message, context=self.site.outside.context)
        return due

    def _arrive(self, message: Message) -> None:
        self.under_way -= 1
        self.far.pop(message, None)
        self.waiting.append(message)
        self.deal()

    def deal(self) -> None:
        live = [consumer for consumer in self.consumers if not consumer[0].dead]
        while live and self.waiting:
            message = self.waiting.pop(self.site.odds.chance.randrange(len(self.waiting)))
            process, handler = self.site.odds.chance.choice(live)
            message.deliveries += 1
            message.settled = False
            process.on_death.append(lambda message=message: self._return(message))  # type: ignore[misc]
            process.run(self._deliver(message, handler))

    async def _deliver(self, message: Message, handler: Handler) -> None:
        self.site.say("handles", type(message.event).__name__, f"delivery {message.deliveries}")
        try:
            await handler(message.event)
        except Exception as error:
            self.site.say("cannot handle", type(message.event).__name__, repr(error))
            self._return(message)
        message.settled = True

    def _return(self, message: Message) -> None:
        if not message.settled:
            message.settled = True
            if message.deliveries < self.limits.delivery_limit:
                self._send(message, self.limits.pause_after(message.deliveries - 1))


class SimBus:
    """EventBus of one process."""

    connected = True
    trouble = ""

    def __init__(self, broker: Broker, process: Process) -> None:
        self._broker = broker
        self._process = process
        self._ears = Ears(self._heed)
        broker.ears.append(self._ears)

    def _heed(self) -> None:
        for _ in self._ears.changes():
            pass  # there is no broker to tell

    def listen(self, listener: Listener) -> Ear:
        return self._ears.open(listener)

    async def start(self) -> None: ...

    def publish(self, event: Event) -> None:
        if not self._process.dead:
            self._broker.site.say("publishes", type(event).__name__)
            self._broker.publish(event)

    async def subscribe(self, handler: Handler) -> None:
        self._broker.consumers.append((self._process, handler))
        self._broker.deal()
        await self._process.loop.create_future()

    async def stop_consuming(self) -> None: ...

    async def close(self, grace: float = 5.0) -> None: ...
