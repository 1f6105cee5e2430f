"""The way of a chunk from verified bytes to an acknowledgement."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field

from libs.common.bus import EventBus
from libs.common.clock import Clock
from libs.common.events import ChunkReceived, ChunkReceivedData, subject
from libs.common.extents import Extent, split
from libs.common.gather import (
    Source,
    chunks_of_part,
    complete_file,
    coverage,
    full_parts,
)
from libs.common.layout import FileId, chunk_key, digest_fact, fact_key, new_attempt, part_size, total_size_of
from libs.common.problems import Kind, Problem
from libs.common.store import Buckets, ObjectNotFound, StoreUnavailable
from libs.common.uploads.least import ANY_SIZE, LeastSize
from libs.common.uploads.payload import Payload, Stored
from libs.common.uploads.pins import NO_PIN, Pin
from libs.common.uploads.turns import Turns
from libs.common.watch import UNWATCHED, Watch
from services.ingest.compare import refuse_difference, refuse_difference_from_file
from services.ingest.view import Complete, Entry, Nothing, View, Views, ended_meanwhile

_TRIES = 4  # how often an upload may change while a chunk is on its way


async def anyone() -> None:
    """Any device may begin an upload."""


@dataclass(frozen=True)
class Chunk:
    """A verified chunk. `digests`: SHA-256 in hex of its extents between part boundaries, where known already."""

    file: FileId
    total_size: int
    payload: Payload
    digests: Mapping[Extent, str] = field(default_factory=dict)
    declared: str = ""  # SHA-256 in hex of the whole file
    pin: Pin = NO_PIN
    content_type: str = "application/octet-stream"  # of the file, remembered when its upload opens
    admit: Callable[[], Awaitable[None]] = anyone  # raises Problem where the device may not begin this upload

    @property
    def extent(self) -> Extent:
        return self.payload.extent


@dataclass(frozen=True)
class Ack:
    """What the device is told. `offset` is next_expected_byte."""

    offset: int
    session: str
    complete: bool


class _Changed(Exception):
    """The upload is not any more what the view showed: look again from the start."""


class ChunkWriter:
    """Makes chunks durable and acknowledges them."""

    def __init__(
        self,
        buckets: Buckets,
        bus: EventBus,
        clock: Clock,
        views: Views,
        watch: Watch = UNWATCHED,
        least: LeastSize = ANY_SIZE,
    ) -> None:
        self._buckets = buckets
        self._bus = bus
        self._clock = clock
        self._views = views
        self._watch = watch
        self._turns = Turns(clock)
        self._least = least

    def knows(self, file: FileId) -> bool:
        """Whether this replica has seen an upload of the file, which may have ended since."""
        return self._views.knows(file)

    async def write(self, chunk: Chunk) -> Ack:
        """Store a chunk and answer for it. Raises Problem or StoreUnavailable: then nothing is acknowledged."""
        async with self._views.using(chunk.file) as entry, AsyncExitStack() as stack:
            with self._watch.step("turn"):
                await stack.enter_async_context(self._turns.taken())
            return await self._write(chunk, entry)

    async def _write(self, chunk: Chunk, entry: Entry) -> Ack:
        opened: set[str] = set()
        for _ in range(_TRIES):
            try:
                with self._watch.step("look"):
                    found = await self._upload(chunk, entry, opened)
                if isinstance(found, Complete):
                    return await self._repeat_of_file(chunk, entry, found)
                async with _reserved(entry, chunk.extent, self._turns):
                    return await self._into_upload(chunk, entry, found)
            except (_Changed, ObjectNotFound):
                entry.view = None
            except StoreUnavailable:
                entry.view = None  # a put may have taken effect that the view does not show
                raise
        raise Problem(Kind.CLOSING, "The upload changes faster than this chunk can follow. Try again shortly.")

    async def _upload(self, chunk: Chunk, entry: Entry, opened: set[str]) -> View | Complete:
        """The upload that the chunk belongs to, opened if there is none; `opened` remembers that this request did."""
        found = await self._views.current(chunk.file, entry)
        if isinstance(found, Nothing):
            if opened:
                raise ended_meanwhile()
            found = await self._open(chunk, entry, found, opened)
        sessions = found.sessions if isinstance(found, View) else [found.session]
        there = "is being uploaded" if isinstance(found, View) else "is complete"
        refuse_other_size(chunk.total_size, found.total_size, there)
        if opened.isdisjoint(sessions):
            chunk.pin.admit(sessions)
        refuse_other_digest(chunk.declared, found.digests)
        return found

    async def _open(self, chunk: Chunk, entry: Entry, nothing: Nothing, opened: set[str]) -> View | Complete:
        chunk.pin.admit(())
        await chunk.admit()

        def check(partials: Sequence[Source]) -> None:
            for run in partials:
                refuse_other_size(chunk.total_size, total_size_of(run.session), "is partly uploaded")

        return await self._views.open(
            entry, nothing, check, chunk.total_size, chunk.content_type, opened, declared=chunk.declared
        )

    async def _repeat_of_file(self, chunk: Chunk, entry: Entry, found: Complete) -> Ack:
        """Answer for bytes of a complete file, on a look within its lease: the file may be deleted at any time."""
        await refuse_difference_from_file(self._buckets.perm, found.info, chunk.payload)
        for _ in range(_TRIES):
            if not found.look.expired(self._clock.monotonic()):
                return Ack(chunk.total_size, found.session, complete=True)
            again = await self._views.current(chunk.file, entry)
            if not isinstance(again, Complete) or again.session != found.session:
                raise _Changed
            found = again
        raise StoreUnavailable("the store is too slow to acknowledge within a lease")

    async def _into_upload(self, chunk: Chunk, entry: Entry, view: View) -> Ack:
        if entry.view is not view:
            raise _Changed
        with self._watch.step("settle"):  # before the listing: then it shows what others acknowledged alone
            await self._views.settle(view, entry, self._turns)
        with self._watch.step("compare"):
            stored = await self._stored(chunk, entry, view)
            await self._refuse_difference(chunk, stored, chunk.digests)
        with self._watch.step("store"):
            await self._declare(chunk, view)
            mine = await self._pieces(chunk, view, coverage(stored).missing(chunk.extent))
            if mine:
                self._least.check(chunk.extent, view.total_size, view.durable, view.chunks)
            view.chunks += len(mine)
            await self._put_all(chunk.file, entry, view, mine)
        with self._watch.step("acknowledge"):
            try:
                return await self._acknowledge(chunk, entry, view, mine)
            except asyncio.CancelledError:  # the view may not show them yet
                entry.unsure.add(view.sessions[0])
                raise

    async def _refuse_difference(self, chunk: Chunk, stored: Sequence[Source], known: Mapping[Extent, str]) -> None:
        try:
            await refuse_difference(chunk.payload, stored, known)
        except Problem:
            if await complete_file(self._buckets.perm, chunk.file):
                raise _Changed from None  # its chunks are being deleted, and perhaps those that count are gone
            raise

    async def _declare(self, chunk: Chunk, view: View) -> None:
        """Before the bytes: whoever finds the file full finds its digest too. After they were compared: a chunk that
        is refused declares nothing."""
        refuse_other_digest(chunk.declared, view.digests)
        if chunk.declared and chunk.declared not in view.look.digests | view.declared:
            view.declaring.add(chunk.declared)
            await self._buckets.temp.put(fact_key(chunk.file, view.sessions[0], digest_fact(chunk.declared)), b"")
            view.declared.add(chunk.declared)

    async def _stored(self, chunk: Chunk, entry: Entry, view: View) -> list[Source]:
        """What is stored already of the chunk's bytes."""
        known_gaps = view.durable.missing(chunk.extent)
        if self._views.alone(view, entry) and known_gaps == [chunk.extent]:
            return []
        sources = await self._list_parts_of(chunk, view)
        for gap in coverage(sources).missing(chunk.extent):
            if view.durable.missing(gap) != [gap]:
                raise _Changed  # what was durable is gone: the file is complete and its chunks are being deleted
        return sources

    async def _list_parts_of(self, chunk: Chunk, view: View) -> list[Source]:
        """List the parts that the chunk lies in; fold in all that is found, return what overlaps the chunk."""
        size = part_size(view.total_size)
        found = list(view.partials)
        for part in range(chunk.extent.start // size, -(-chunk.extent.end // size)):
            found += await chunks_of_part(self._buckets.temp, chunk.file, view.sessions, part)
        for source in found:
            view.durable.add(source.extent)
        return [source for source in found if source.extent.overlaps(chunk.extent)]

    async def _pieces(self, chunk: Chunk, view: View, new: Sequence[Extent]) -> list[Stored]:
        """The new bytes as objects, cut at part boundaries."""
        cuts = [piece for extent in new for piece in split(extent, part_size(view.total_size))]
        return [await chunk.payload.stored(cut, chunk.digests.get(cut, "")) for cut in cuts]

    async def _put_all(self, file: FileId, entry: Entry, view: View, pieces: Sequence[Stored]) -> None:
        """Store the pieces. Whatever it raises, it has waited for every put to end."""
        # Where others write too each put has a key of its own: one that takes effect late would renew an object's
        # date, and of two that differ the older counts.
        attempt = "" if self._views.alone(view, entry) else new_attempt()
        try:
            puts = (self._put(file, view, piece, attempt) for piece in pieces)
            for failure in await asyncio.gather(*puts, return_exceptions=True):
                if failure:
                    raise failure
        except BaseException:
            entry.unsure.add(view.sessions[0])
            raise

    async def _put(self, file: FileId, view: View, piece: Stored, attempt: str) -> None:
        key = chunk_key(file, view.sessions[0], piece.extent, piece.sha256, attempt)
        await self._buckets.temp.put(key, piece.body)

    async def _acknowledge(self, chunk: Chunk, entry: Entry, view: View, mine: Sequence[Stored]) -> Ack:
        """Answer on a view within its lease, and never for bytes that another replica stored differently."""
        session = view.sessions[0]
        for _ in range(_TRIES):
            found = await self._views.current(chunk.file, entry)
            if not isinstance(found, View) or not found.look.shows_open([session]):
                raise _Changed
            view = found
            for piece in mine:
                view.durable.add(piece.extent)
            if not self._views.alone(view, entry):
                await self._list_others(chunk, view, mine)
            if not view.look.expired(self._clock.monotonic()):
                self._publish(chunk, view)
                return Ack(view.offset, session, complete=False)
        raise StoreUnavailable("the store is too slow to acknowledge within a lease")

    async def _list_others(self, chunk: Chunk, view: View, mine: Sequence[Stored]) -> None:
        """After the puts: what other replicas stored of the same bytes must be equal, and may fill gaps."""
        known = {**chunk.digests, **{piece.extent: piece.sha256 for piece in mine}}
        sources = await self._list_parts_of(chunk, view)
        if not coverage(sources).covers(chunk.extent):
            raise _Changed
        await self._refuse_difference(chunk, sources, known)
        size, listed = part_size(view.total_size), -1
        while view.offset < view.total_size and view.offset // size != listed:
            listed = view.offset // size
            for source in await chunks_of_part(self._buckets.temp, chunk.file, view.sessions, listed):
                view.durable.add(source.extent)
        if await complete_file(self._buckets.perm, chunk.file):
            raise _Changed  # what others stored may have been deleted before it was listed

    def _publish(self, chunk: Chunk, view: View) -> None:
        size, (start, end) = part_size(view.total_size), chunk.extent
        touched = range(start // size, -(-end // size))
        data = ChunkReceivedData(
            owner=chunk.file.owner,
            filename=chunk.file.filename,
            session=view.sessions[0],
            start=start,
            length=end - start,
            offset=view.offset,
            filled_parts=full_parts(view.total_size, view.durable, touched),
        )
        self._bus.publish(ChunkReceived(source="/hiper/ingest", subject=subject(chunk.file), data=data))


@asynccontextmanager
async def _reserved(entry: Entry, extent: Extent, turns: Turns) -> AsyncIterator[None]:
    """Hold a range, so that this replica stores each byte once at a time."""
    while blockers := [done for held, done in entry.in_flight.items() if held.overlaps(extent)]:
        with turns.left():
            await blockers[0].wait()
    if not extent.length:
        yield
        return
    entry.in_flight[extent] = done = asyncio.Event()
    try:
        yield
    finally:
        del entry.in_flight[extent]
        done.set()


def refuse_other_size(asked: int, there: int, state: str) -> None:
    if asked != there:
        raise Problem(
            Kind.TOTAL_SIZE_CONFLICT,
            f"total_size is {asked}, but a file of this name {state} with {there} bytes. Go on with {there}, or cancel "
            "it with DELETE /files/{filename} and start again.",
            total_size=asked,
            existing_total_size=there,
        )


def refuse_other_digest(asked: str, declared: Collection[str]) -> None:
    if asked and declared and asked not in declared:
        raise Problem(
            Kind.DIGEST_CONFLICT,
            "Repr-Digest differs from the one that was declared for this file before. If the content changed, cancel "
            "it with DELETE /files/{filename} and start again.",
        )
