"""The listeners of one process, and the owners that each of them watches. Every adapter of the bus uses this."""

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress

import structlog
from pydantic import ValidationError

from libs.common.bus import EVERY_OWNER, Listener
from libs.common.bus.events import EVENTS

log = structlog.get_logger(__name__)


class Ears:
    """All listeners of one bus. `on_change` is called after each change of what they watch together."""

    def __init__(self, on_change: Callable[[], None] = lambda: None) -> None:
        self.wanted: Counter[str] = Counter()
        self.deaf_since: float | None = None
        self._away = False  # the last attempt to reach the broker failed
        self._changed: dict[str, None] = {}  # owners that the broker was not told of yet, the first that came first
        self._on_change = on_change
        self._listeners: dict[Ear, Listener] = {}
        self._settled = asyncio.Event()
        self._settled.set()

    def open(self, listener: Listener) -> "Ear":
        ear = Ear(self)
        self._listeners[ear] = listener
        return ear

    def close(self, ear: "Ear") -> None:
        self._listeners.pop(ear, None)

    def adjust(self, owner: str, by: int) -> None:
        """One more, or one less, wants to hear this owner."""
        before = self.wanted[owner] > 0
        self.wanted[owner] += by
        if (self.wanted[owner] > 0) != before:
            self._changed[owner] = None
            self._settled.clear()
            self._on_change()
        if not self.wanted[owner]:
            del self.wanted[owner]

    def hear(self, body: bytes) -> None:
        """Show an event to those who watch its owner."""
        if not self.wanted:
            return
        try:
            event = EVENTS.validate_json(body)
        except ValidationError:
            return  # of a later release, or a stranger's
        for ear, listener in list(self._listeners.items()):
            if ear.hears(event.data.owner):
                try:
                    listener(event)
                except Exception:
                    log.exception("event listener failed", type=event.type)

    def changes(self) -> Iterator[tuple[str, bool]]:
        """Owners with whether they are to be heard, until the broker knows of all. A change counts as done when the
        next one is asked for."""
        while self._changed:
            owner = next(iter(self._changed))
            del self._changed[owner]
            yield owner, self.wanted[owner] > 0
        self.deaf_since, self._away = None, False
        self._settled.set()

    def lose(self) -> None:
        """Nothing is heard until `changes` has been worked off: there is no connection."""
        self.deaf_since = time.monotonic() if self.deaf_since is None else self.deaf_since

    def give_up_waiting(self) -> None:
        """The broker is away: `settled` returns at once."""
        self._away = True
        self._settled.set()

    def start_anew(self) -> None:
        """A connection without any binding is there."""
        self._changed = dict.fromkeys(self.wanted)

    async def settled(self, within: float) -> bool:
        if not self._away:
            with suppress(TimeoutError):
                async with asyncio.timeout(within):
                    await self._settled.wait()
        return self.deaf_since is None and not self._changed


class Ear:
    """Listening of one listener."""

    def __init__(self, ears: Ears) -> None:
        self._ears = ears
        self._owners: Counter[str] = Counter()

    def watch(self, owner: str) -> None:
        self._owners[owner] += 1
        self._ears.adjust(owner, 1)

    def unwatch(self, owner: str) -> None:
        if self._owners[owner] > 0:
            self._owners[owner] -= 1
            self._ears.adjust(owner, -1)
        if not self._owners[owner]:
            del self._owners[owner]

    async def settled(self, within: float = 1.0) -> bool:
        return await self._ears.settled(within)

    @property
    def deaf_since(self) -> float | None:
        return self._ears.deaf_since

    def close(self) -> None:
        for owner in list(self._owners.elements()):
            self.unwatch(owner)
        self._ears.close(self)

    def hears(self, owner: str) -> bool:
        return owner in self._owners or EVERY_OWNER in self._owners
