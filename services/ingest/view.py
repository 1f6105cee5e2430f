"""What one ingest replica knows of a file's upload, and for how long it may act on it.

A replica that is the only writer of the open sessions knows every chunk: it stored them all. So that this stays
true, whoever joins registers as a writer and waits until nobody acts on a look from before (one lease); from then
on every writer lists what the others stored, after each put of its own.
"""

import asyncio
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field

from libs.common.clock import Clock
from libs.common.extents import Extent, Extents
from libs.common.gather import Source, checked_digest, complete_file, coverage, partial_runs, take_stock
from libs.common.layout import FileId, digest_fact, fact_key, new_session, writer_fact
from libs.common.look import Look, look
from libs.common.names import type_of
from libs.common.problems import Kind, Problem
from libs.common.store import LEASE, Buckets, FenceExpired, ObjectInfo
from libs.common.uploads.line import Line
from libs.common.uploads.turns import Turns

_FRESH = 0.5  # seconds; on an older look no session is opened: its fence has to outlast the put


@dataclass
class View:
    """A file's open upload. `durable` only grows. Of the digests that this replica declares, `declared` are durable."""

    look: Look
    durable: Extents
    partials: list[Source] = field(default_factory=list)
    declaring: set[str] = field(default_factory=set)
    declared: set[str] = field(default_factory=set)
    chunks: int = 0  # that this replica knows of

    @property
    def total_size(self) -> int:
        return self.look.open[0].total_size

    @property
    def sessions(self) -> list[str]:
        return [session.id for session in self.look.open]

    @property
    def digests(self) -> set[str]:
        """Every declared digest of the whole file."""
        return self.look.digests | self.declaring

    @property
    def offset(self) -> int:
        """next_expected_byte."""
        return self.durable.prefix_end()


@dataclass(frozen=True)
class Complete:
    """The file is one object in permanent storage, and `look` was taken before it was seen. `digests`: the declared
    SHA-256 that was checked, if any."""

    look: Look
    info: ObjectInfo
    digests: frozenset[str] = frozenset()

    @property
    def session(self) -> str:
        return self.info.metadata.get("session", "")

    @property
    def total_size(self) -> int:
        return self.info.size


@dataclass(frozen=True)
class Nothing:
    """By this look nothing was open; and the file was not there either, a moment later."""

    look: Look


@dataclass
class Entry:
    """A file's place in the views.

    `registered_at`: when this replica became a writer at the latest, in seconds on the monotonic clock.
    `in_flight`: ranges that it is storing now. `unsure`: sessions in which a put of its own failed, which may take
    effect at any later time: of those it does not know every chunk any more.
    """

    line: Line
    view: View | None = None
    registered_at: float | None = None
    in_flight: dict[Extent, asyncio.Event] = field(default_factory=dict)
    unsure: set[str] = field(default_factory=set)
    users: int = 0


Check = Callable[[Sequence[Source]], None]


class Views:
    """The views of the files that devices are sending; those not used for longest are forgotten."""

    def __init__(self, buckets: Buckets, clock: Clock, replica: str, limit: int = 10_000) -> None:
        self.replica = replica
        self._buckets = buckets
        self._clock = clock
        self._limit = limit
        self._entries: OrderedDict[FileId, Entry] = OrderedDict()

    @asynccontextmanager
    async def using(self, file: FileId) -> AsyncIterator[Entry]:
        """The file's entry, kept while it is in use."""
        entry = self._entries.get(file) or self._entries.setdefault(file, Entry(Line(self._clock)))
        self._entries.move_to_end(file)
        entry.users += 1
        try:
            yield entry
        finally:
            entry.users -= 1
            while len(self._entries) > self._limit and not next(iter(self._entries.values())).users:
                self._entries.popitem(last=False)

    def knows(self, file: FileId) -> bool:
        """Whether there is a view of the file, however old."""
        entry = self._entries.get(file)
        return entry is not None and entry.view is not None

    async def current(self, file: FileId, entry: Entry) -> View | Complete | Nothing:
        """The view within its lease.

        Raises the CLOSING problem while an upload of this name is being closed.
        """
        async with entry.line.turn():
            if entry.view and not entry.view.look.expired(self._clock.monotonic()):
                return entry.view
            return await self._renew(await self._look(file, entry), entry)

    async def open(
        self,
        entry: Entry,
        nothing: Nothing,
        check: Check,
        total_size: int,
        content_type: str,
        opened: set[str],
        *,
        declared: str,
    ) -> View | Complete:
        """Open a session where nothing was, then look again: somebody else may have been at it too. `check` raises
        Problem where no upload may begin on the partial file that it is given. `opened` gets the id of the session
        that was opened here. `declared`: the SHA-256 of the whole file in hex, if any."""
        async with entry.line.turn():
            seen = nothing.look
            if entry.view or not self._fresh(seen):
                seen = await self._look(seen.file, entry)
                found = await self._renew(seen, entry)
                if not isinstance(found, Nothing):
                    return found
            # After the look whose fence `open` bears: so nothing else can be opened and parked before it.
            partials = await partial_runs(self._buckets.perm, seen.file)
            check(partials)
            fresh = self._fresh(seen)
            # What was parked before is listed in `partials`; and in a moment no upload can be opened and parked.
            plain = fresh and not partials and content_type == type_of(seen.file.filename)
            session = new_session(total_size, self.replica, plain=plain)
            opened.add(session)
            if declared and not total_size:  # whole as soon as it is open: its digest has to be there before
                await self._buckets.temp.put(fact_key(seen.file, session, digest_fact(declared)), b"")
            await self._put_open(seen, entry, session, content_type)
            again = await self._look(seen.file, entry)
            if fresh and again.writers == {self.replica} and [s.id for s in again.open] == [session]:
                # Nobody can have stored a chunk in it yet; and whoever parked something meanwhile closed it too.
                done, view = await self._complete(again), View(again, coverage(partials), partials)
                entry.view = None if done else view
                return done or view
            found = await self._renew(again, entry)
            if isinstance(found, Nothing):
                raise ended_meanwhile()
            return found

    def _fresh(self, seen: Look) -> bool:
        return self._clock.monotonic() - seen.seen_at < _FRESH

    async def _put_open(self, seen: Look, entry: Entry, session: str, content_type: str) -> None:
        """Fenced: a closing that began meanwhile finds what opened before it, once its first wait is over."""
        key = fact_key(seen.file, session, "open")
        entry.registered_at = None  # until the put returned: it may take effect at any time
        with suppress(FenceExpired):
            await self._buckets.temp.put(key, b"", fence=seen.fence, content_type=content_type)
        entry.registered_at = self._clock.monotonic()

    async def _look(self, file: FileId, entry: Entry) -> Look:
        """Look, and forget the view where that shows a closing or nothing at all."""
        known, entry.view = entry.view, None
        seen = refuse_closing(await look(self._buckets.temp, file, self._clock))
        entry.view = known
        return seen

    async def _renew(self, seen: Look, entry: Entry) -> View | Complete | Nothing:
        known, entry.view = entry.view, None
        if not seen.open:
            return await self._complete(seen) or Nothing(seen)
        if known and self.replica in seen.writers and set(known.sessions) & {s.id for s in seen.open}:
            # The facts of a complete file vanish one by one: without its other writers it would seem to be alone.
            done = await self._complete(seen)
            known.look = seen
            entry.view = None if done else known
            return done or known
        found = await self._cold(seen, entry)
        entry.view = found if isinstance(found, View) else None
        return found

    async def _cold(self, seen: Look, entry: Entry) -> View | Complete:
        if self.replica not in seen.writers:
            seen = await self._join(seen, entry)
            if self.replica not in seen.writers:
                return await self._ended(seen)
        if entry.registered_at is None:  # registered, but forgotten when, and whether every put of then succeeded
            entry.registered_at = self._clock.monotonic()
            entry.unsure.update(session.id for session in seen.open)
        stock = await take_stock(self._buckets, seen)
        # Looked for last: a file that is completed meanwhile loses its chunks only after it is there.
        done = await self._complete(seen)
        partials = [source for source in stock.sources if source.is_partial]
        return done or View(seen, stock.durable, partials, chunks=len(stock.sources) - len(partials))

    async def _complete(self, seen: Look) -> Complete | None:
        info = await complete_file(self._buckets.perm, seen.file)
        if info is None:
            return None
        digest = await checked_digest(self._buckets.perm, seen.file, info.metadata.get("session", ""))
        return Complete(seen, info, frozenset({digest} if digest else ()))

    async def _join(self, seen: Look, entry: Entry) -> Look:
        key = fact_key(seen.file, seen.open[0].id, writer_fact(self.replica))
        entry.registered_at = None  # until the put returned: it may take effect at any time
        await self._buckets.temp.put(key, b"")
        entry.registered_at = self._clock.monotonic()
        return await self._look(seen.file, entry)

    async def _ended(self, seen: Look) -> Complete:
        """What became of an upload that ended while this replica joined it."""
        done = None if seen.open else await self._complete(seen)
        if not done:
            raise ended_meanwhile()
        return done

    def alone(self, view: View, entry: Entry) -> bool:
        """Whether this replica knows every chunk of the open sessions: no other can have stored one."""
        return view.look.writers == {self.replica} and entry.unsure.isdisjoint(view.sessions)

    async def settle(self, view: View, entry: Entry, turns: Turns) -> None:
        """Wait until no other replica acts on a look that does not show this one as a writer."""
        if not self.alone(view, entry) and entry.registered_at is not None:
            with turns.left():
                await self._clock.sleep(max(0.0, entry.registered_at + LEASE - self._clock.monotonic()))


def ended_meanwhile() -> Problem:
    return Problem(Kind.CLOSING, "The upload ended while this request came. Try again shortly.")


def refuse_closing(seen: Look) -> Look:
    if seen.closing:
        reasons = ", ".join(sorted(seen.closing))
        raise Problem(
            Kind.CLOSING, f"An upload of this name is being closed ({reasons}). Nothing is lost: try again shortly."
        )
    return seen
