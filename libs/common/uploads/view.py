"""What one ingest replica remembers of a name: its record, for a lease, and which bytes of its upload are stored."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from math import inf
from weakref import WeakValueDictionary

from libs.common.bus.events import ChunkReceivedData
from libs.common.files.extents import Extent, Extents
from libs.common.storage import LEASE, StoreUnavailable
from libs.common.storage.line import Line
from libs.common.storage.turns import Turns
from libs.common.uploads.layout import FileId
from libs.common.uploads.recent import Recent
from libs.common.uploads.record import Record
from libs.common.uploads.records import Look
from libs.common.uploads.stock import take_stock
from libs.common.uploads.tools import Tools

_TRIES = 4  # how often a record may change while its chunks are listed


@dataclass
class Held:
    """Bytes of one upload that are stored for sure; there may be more."""

    session: str = ""
    durable: Extents = field(default_factory=Extents)
    chunks: int = 0  # that this replica knows of
    gap_listed_at: float = -inf  # when a listing behind the known prefix found nothing, on this process's clock


@dataclass
class View:
    """One name. `seen` shows its record, which is open; None where nothing is remembered. `held`: what is stored of
    that upload. A request that began on another upload of the name has another one. `in_flight`: ranges that this
    replica is storing now."""

    file: FileId
    line: Line
    seen: Look | None = None
    held: Held = field(default_factory=Held)
    doubted: bool = False
    looks: int = 0  # how often the record was read
    in_flight: dict[Extent, asyncio.Event] = field(default_factory=dict)

    def has_gap_before(self, extent: Extent, held: Held, now: float) -> bool:
        """Whether a chunk begins beyond what this replica knows to be stored, or stores at this moment: then another
        replica may have stored what lies between. Asked for again a lease after a listing that found nothing."""
        if held.durable.prefix_end() >= extent.start or now - held.gap_listed_at < LEASE:
            return False
        known = Extents([*held.durable, *self.in_flight])
        return known.prefix_end() < extent.start

    def show(self, changed: Look) -> None:
        """The record as this replica has just written it, unless the view is of another upload by now."""
        if changed.record.session == self.held.session:
            self.seen = changed

    def looked_since(self, looks: int) -> bool:
        """Whether the record was read since it had been read so many times."""
        return self.looks > looks

    def doubt(self) -> None:
        """Read the record again before the next answer: nothing is refused on a remembered one."""
        self.doubted = True

    def forget(self) -> None:
        """List the upload anew: bytes may be stored that this replica does not know, or be gone that it knows."""
        self.seen = None

    @asynccontextmanager
    async def reserved(self, extent: Extent, turns: Turns) -> AsyncIterator[None]:
        """Hold a range, so that this replica stores each byte once at a time."""
        while blockers := [done for held, done in self.in_flight.items() if held.overlaps(extent)]:
            with turns.left():
                await blockers[0].wait()
        if not extent.length:
            yield
            return
        self.in_flight[extent] = done = asyncio.Event()
        try:
            yield
        finally:
            del self.in_flight[extent]
            done.set()


class Views:
    """The views of the names that devices are sending to; those not used for longest are forgotten."""

    def __init__(self, tools: Tools, limit: int) -> None:
        self._tools = tools
        self._in_use: WeakValueDictionary[FileId, View] = WeakValueDictionary()
        self._recent = Recent[FileId, View](limit)

    def of(self, file: FileId) -> View:
        """The view of a name. It is the same one for all who use it at once."""
        view = self._in_use.setdefault(file, View(file, Line(self._tools.clock)))
        self._recent.keep(file, view)
        return view

    def hear(self, chunk: ChunkReceivedData) -> None:
        """Another replica stored a chunk. It stays stored as long as its upload is in progress."""
        view = self._in_use.get(chunk.file)
        if view and view.held.session == chunk.session:
            view.held.durable.add(Extent(chunk.start, chunk.start + chunk.length))

    def knows(self, file: FileId) -> bool:
        """Whether this replica has seen an upload of the name, which may have ended since."""
        view = self._in_use.get(file)
        return view is not None and view.seen is not None

    async def current(self, view: View) -> Look:
        """The record of a name, within its lease. Raises StoreUnavailable."""
        async with view.line.turn():
            for _ in range(_TRIES):
                if view.seen and not view.doubted and not view.seen.expired:
                    return view.seen
                known, held = view.seen, view.held
                view.seen, view.doubted = None, False
                seen = await self._tools.records.look(view.file, known)
                view.looks += 1
                if seen.record.state != "open":
                    return seen
                if not (known and _same_bytes(known.record, seen.record)):
                    stock = await take_stock(self._tools.buckets, view.file, seen.record)
                    held = Held(seen.record.session, stock.durable, len(stock.sources))
                    again = await self._tools.records.look(view.file, seen)
                    if again.etag != seen.etag:
                        continue  # parking or finishing may have deleted what it replaced
                    seen = again
                view.seen, view.held = seen, held
            raise StoreUnavailable("the store is too slow to look at a name within a lease")

    def remember(self, view: View, seen: Look) -> None:
        """An upload that this replica has just opened: nothing of it is stored yet."""
        view.seen, view.held = seen, Held(seen.record.session)


def _same_bytes(known: Record | None, seen: Record) -> bool:
    """Whether what is known to be stored still is: it is the same upload, and no run took the place of its chunks."""
    return known is not None and (known.session, known.runs) == (seen.session, seen.runs)
