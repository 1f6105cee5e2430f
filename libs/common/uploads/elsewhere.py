"""Hearing of the chunks that other replicas store, so that their uploads need no listing."""

from collections import OrderedDict
from collections.abc import Callable

from libs.common.bus.events import ChunkReceived, ChunkReceivedData, Event
from libs.common.uploads.tools import Tools

IDLE = 600.0  # seconds: a replica stops listening to an owner that was silent for so long


class Elsewhere:
    """Listens to the owners whose uploads other replicas take chunks of too. An event that is lost costs a listing."""

    def __init__(self, tools: Tools, stored: Callable[[ChunkReceivedData], None]) -> None:
        self._clock = tools.clock
        self._stored = stored
        self._listening = tools.bus.listen(self._hear)
        self._news_at: OrderedDict[str, float] = OrderedDict()  # of each owner, the least recent first

    def met(self, owner: str) -> None:
        """Another replica has stored a chunk of this owner."""
        if owner not in self._news_at:
            self._listening.watch(owner)
        self._note(owner)
        while self._clock.monotonic() - next(iter(self._news_at.values())) > IDLE:
            self._listening.unwatch(self._news_at.popitem(last=False)[0])

    def _hear(self, event: Event) -> None:
        if isinstance(event, ChunkReceived):
            self._stored(event.data)
            if event.data.owner in self._news_at:
                self._note(event.data.owner)

    def _note(self, owner: str) -> None:
        self._news_at[owner] = self._clock.monotonic()
        self._news_at.move_to_end(owner)
