"""The way of a chunk, from verified bytes to an acknowledgement."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field

from libs.common.bus import EventBus
from libs.common.bus.events import ChunkReceived, ChunkReceivedData, subject
from libs.common.clock import Clock
from libs.common.files.extents import Extent, split
from libs.common.problems import Kind, Problem
from libs.common.storage import (
    Buckets,
    ConditionFailed,
    FenceExpired,
    KeyTaken,
    ObjectInfo,
    ObjectNotFound,
    StoreFull,
    StoreRefused,
    StoreUnavailable,
)
from libs.common.uploads.compare import refuse_difference, refuse_difference_from_file
from libs.common.uploads.folders import Folders, refusal
from libs.common.uploads.layout import FileId, chunk_key, file_key, new_session, part_size
from libs.common.uploads.least import ANY_SIZE, LeastSize
from libs.common.uploads.outcomes import About, completed, metadata
from libs.common.uploads.payload import Payload, Stored
from libs.common.uploads.pins import NO_PIN, Pin
from libs.common.uploads.record import Record
from libs.common.uploads.records import Look, Records, session_of
from libs.common.uploads.stock import Source, chunks_of_part, coverage, full_parts, runs_of, take_stock
from libs.common.uploads.turns import Turns
from libs.common.uploads.view import Held, View, Views
from libs.common.uploads.watch import UNWATCHED, Watch

_TRIES = 8  # how often a name may change while a chunk is on its way


async def anyone() -> None:
    """Any device may begin an upload."""


@dataclass(frozen=True)
class Chunk:
    """A verified chunk. `digests`: SHA-256 in hex of its extents between part boundaries, where known already."""

    file: FileId
    total_size: int | None  # bytes; None: the device does not know it yet
    payload: Payload
    digests: Mapping[Extent, str] = field(default_factory=dict)
    declared: str = ""  # SHA-256 in hex of the whole file
    pin: Pin = NO_PIN
    content_type: str = "application/octet-stream"  # of the file, remembered when its upload opens
    labels: Mapping[str, str] = field(default_factory=dict)  # likewise
    admit: Callable[[], Awaitable[None]] = anyone  # raises Problem where the device may not begin this upload

    @property
    def extent(self) -> Extent:
        return self.payload.extent

    @property
    def is_whole(self) -> bool:
        """Whether it is the whole file."""
        return self.total_size is not None and self.extent == Extent(0, self.total_size)


@dataclass(frozen=True)
class Ack:
    """What the device is told. `offset` is next_expected_byte."""

    offset: int
    session: str
    complete: bool
    total_size: int | None


class ChunkWriter:
    """Makes chunks durable and acknowledges them."""

    def __init__(
        self,
        buckets: Buckets,
        bus: EventBus,
        clock: Clock,
        *,
        views: int = 10_000,
        watch: Watch = UNWATCHED,
        least: LeastSize = ANY_SIZE,
    ) -> None:
        """`views`: how many names it remembers."""
        self.buckets = buckets
        self.bus = bus
        self.clock = clock
        self.watch = watch
        self.records = Records(buckets, clock)
        self.folders = Folders(buckets, self.records, clock)
        self.views = Views(buckets, self.records, clock, views)
        self.turns = Turns(clock)
        self.least = least

    def knows(self, file: FileId) -> bool:
        """Whether this replica has seen an upload of the name, which may have ended since."""
        return self.views.knows(file)

    async def write(self, chunk: Chunk) -> Ack:
        """Store a chunk and answer for it. Raises Problem or StoreUnavailable: then nothing is acknowledged."""
        async with self.views.using(chunk.file) as view, AsyncExitStack() as stack:
            with self.watch.step("turn"):
                await stack.enter_async_context(self.turns.taken())
            request = _Request(self, chunk, view)
            for _ in range(_TRIES):
                if ack := await request.attempt():
                    return ack
        raise Problem(Kind.CLOSING, "The upload changes faster than this chunk can follow. Try again shortly.")


class _Request:
    """One chunk on its way. Each step returns the acknowledgement, or None: the name is not any more what was seen, so
    that it is looked at again."""

    def __init__(self, writer: ChunkWriter, chunk: Chunk, view: View) -> None:
        self._writer = writer
        self._chunk = chunk
        self._view = view
        self._mine: set[str] = set()  # sessions that this request opened
        self._began = view.looks
        self._into = ""  # the session that it puts bytes into; once that is over, the request may be late
        self._held = Held()  # what is stored of the upload that the chunk goes into
        self._compared = ""  # etag of the file that holds the same bytes

    async def attempt(self) -> Ack | None:
        writer = self._writer
        with writer.watch.step("look"):
            seen = await writer.views.current(self._view)
        if seen.record is None:
            return await self._into_nothing(seen)
        if seen.record.state == "closed":
            return await self._into_closed(seen, seen.record)
        return await self._into_upload(seen, seen.record)

    # -- no upload

    async def _into_nothing(self, seen: Look) -> Ack | None:
        """No record: the file is the truth. A chunk that may begin an upload does not ask first whether it is there:
        the store refuses to make it again, and an opening looks for it."""
        if self._into or self._chunk.pin.match is not None:
            if done := await self._writer.records.file(self._chunk.file):
                return await self._repeat(seen, done)
            self._chunk.pin.admit(())
        self._refuse_late("")
        await self._chunk.admit()
        await self._writer.folders.claim(self._chunk.file)
        if self._chunk.is_whole:
            return await self._at_once(seen)
        return await self._open(seen, None)

    async def _into_closed(self, seen: Look, record: Record) -> Ack | None:
        """The upload before this one is over: its file is there, or the name is free."""
        if record.file:
            done = await self._writer.records.file(self._chunk.file)
            return await self._repeat(seen, done) if done and session_of(done) == record.file else None
        self._chunk.pin.admit(())
        if record.folder:
            self._refuse(refusal(f"{self._chunk.file.filename!r} is a folder, so that no file can have the name."))
            return None
        clock = self._writer.clock
        wait = max(seen.calm_in(clock.monotonic()), record.removing - seen.store_time(clock.monotonic()))
        if wait > 0:
            with self._writer.turns.left():
                await clock.sleep(wait + 0.01)
            return None
        self._refuse_late("")
        await self._chunk.admit()
        await self._writer.folders.claim(self._chunk.file)
        return await self._open(seen, record)

    async def _open(self, seen: Look, before: Record | None) -> Ack | None:
        """Open an upload where no record is, or one that is closed, and store the chunk in it."""
        chunk, session = self._chunk, new_session()
        self._mine.add(session)
        new = Record(
            state="open" if before else "opening",
            version="",
            session=session,
            total_size=chunk.total_size,
            part_size=part_size(chunk.total_size),
            content_type=chunk.content_type,
            labels=dict(chunk.labels),
            digest=chunk.declared,
            opened_at=seen.store_time(self._writer.clock.monotonic()),
            quiet=before.quiet if before else 0.0,
            aborts=before.aborts if before else (),
            kept=before.kept if before else (),
        )
        with self._writer.watch.step("open"):
            opened = await self._writer.records.swap(seen, new)
            if opened and opened.record and opened.record.state == "opening":
                opened = await self._writer.records.settle(opened)
        if not (opened and opened.record and opened.record.state == "open"):
            return None
        self._into = session
        self._writer.views.remember(self._view, opened)
        return await self._into_upload(opened, opened.record)

    async def _at_once(self, seen: Look) -> Ack | None:
        """The whole file in one request: it is put where it belongs, if no other request wants the name meanwhile."""
        writer, chunk, session = self._writer, self._chunk, new_session()
        sha256 = chunk.digests.get(chunk.extent, "")
        if chunk.declared:
            sha256 = sha256 or (await chunk.payload.stored(chunk.extent)).sha256
            if chunk.declared != sha256:
                raise Problem(Kind.DIGEST_MISMATCH, "Repr-Digest does not match the body. Nothing is stored.")
        self._mine.add(session)
        self._into = session
        try:
            with writer.watch.step("store"):
                await writer.buckets.perm.put(
                    file_key(chunk.file),
                    chunk.payload.body(chunk.extent),
                    absent=True,
                    fence=seen.fence,
                    content_type=chunk.content_type,
                    metadata=metadata(session, sha256, chunk.labels),
                )
        except KeyTaken:
            raise refusal("The name is a folder of another file, or a file is a folder of the name.") from None
        except (StoreFull, StoreRefused):
            raise
        except FenceExpired:
            self._into = ""
            return None
        except (ConditionFailed, StoreUnavailable):
            return None  # the file tells
        again = await writer.records.look(chunk.file)
        if again.record or seen.expired(writer.clock.monotonic()):
            return None
        return self._complete(About(session, chunk.extent.end, sha256, chunk.content_type, chunk.labels))

    # -- a complete file

    async def _repeat(self, seen: Look, done: ObjectInfo) -> Ack | None:
        """Answer for bytes of a complete file. `seen` shows that it counts, if there is still the same to be seen once
        the bytes are compared."""
        chunk, writer, session = self._chunk, self._writer, session_of(done)
        if session not in self._mine:
            chunk.pin.admit([session])
        refuse_other_size(chunk.total_size, done.size, "is complete")
        refuse_other_digest(chunk.declared, done.metadata.get("digest", ""))
        if self._compared != done.etag:
            try:
                await refuse_difference_from_file(writer.buckets.perm, done, chunk.payload)
            except ObjectNotFound:
                return None
            self._compared = done.etag
        if seen.record is None:
            again = await writer.records.look(chunk.file)
            if again.record:
                return None
        if seen.expired(writer.clock.monotonic()):
            return None
        return self._complete(About.of(done))

    def _complete(self, about: About) -> Ack:
        if self._chunk.is_whole:
            event = completed(self._chunk.file, about, "/hiper/ingest")
            self._writer.bus.publish(event)
            if about.session in self._mine:
                self._writer.watch.told(event)
        return Ack(about.size, about.session, complete=True, total_size=about.size)

    # -- an upload in progress

    async def _into_upload(self, seen: Look, record: Record) -> Ack | None:
        if refusal := self._refusal(record):
            self._refuse(refusal)
            return None
        self._refuse_late(record.session)
        async with self._view.reserved(self._chunk.extent, self._writer.turns):
            if self._view.seen is not seen:
                return None  # the name changed while another chunk held the range
            self._held = self._view.held
            self._into = record.session
            try:
                with self._writer.watch.step("compare"):
                    sources = await self._sources(record)
                    await refuse_difference(self._chunk.payload, sources, self._chunk.digests)
                told = self._news(record)  # after the comparison: a chunk that is refused tells nothing
                if told and not await self._tell(seen, told):
                    return None
                with self._writer.watch.step("store"):
                    await self._put(record, coverage(sources).missing(self._chunk.extent))
                with self._writer.watch.step("acknowledge"):
                    return await self._acknowledge(record)
            except Problem as refusal:
                self._refuse(refusal)
                return None
            except ObjectNotFound:
                self._view.forget()  # parked or completed meanwhile
                return None

    def _refusal(self, record: Record) -> Problem | None:
        """Why the chunk does not belong to this upload."""
        try:
            if record.session not in self._mine:
                self._chunk.pin.admit_upload(record.session, parked=record.parked_at is not None)
            if None not in (self._chunk.total_size, record.total_size):
                refuse_other_size(self._chunk.total_size, record.total_size or 0, "is being uploaded")
            refuse_beyond(self._chunk.extent, record.total_size)
            refuse_other_digest(self._chunk.declared, record.digest)
        except Problem as problem:
            return problem
        return None

    def _refuse_late(self, session: str) -> None:
        """A request keeps to the session that it put bytes into. Its device may have sent them again elsewhere since,
        and deleted them: they must not come back, nor go into the next upload."""
        if self._into not in ("", session):
            raise Problem(Kind.CLOSING, "The upload ended while this request came. Try again shortly.")

    def _refuse(self, problem: Problem) -> None:
        """Nothing is refused on a remembered record: read it again first. A refused write may have been one's own."""
        self._view.doubt()
        if self._view.looks > self._began:
            raise problem

    def _news(self, record: Record) -> dict[str, object]:
        """What this chunk tells of the file that its record does not know yet."""
        told: dict[str, object] = {}
        if self._chunk.total_size is not None and record.total_size is None:
            told["total_size"] = self._chunk.total_size
        if self._chunk.declared and not record.digest:
            # The multipart upload carries the digest: begin another one.
            told |= {"digest": self._chunk.declared, "assembly": "", "aborts": record.uploads}
        return told

    async def _tell(self, seen: Look, told: dict[str, object]) -> Look | None:
        """Into the record, before the bytes: an assembler that finds the file full finds its digest too."""
        if "total_size" in told and seen.record:
            stock = await take_stock(self._writer.buckets, self._chunk.file, seen.record)
            end = max((run.end for run in stock.durable), default=0)
            if end > (self._chunk.total_size or 0):
                raise Problem(
                    Kind.TOTAL_SIZE_CONFLICT,
                    f"total_size is {self._chunk.total_size}, but byte {end - 1} is stored already.",
                )
        self._view.forget()
        changed = await self._writer.records.change(seen, **told)
        if changed:
            self._view.show(changed)
        return changed

    async def _sources(self, record: Record) -> list[Source]:
        """What is stored already of the chunk's bytes. Where it begins beyond the known prefix, another replica
        may have stored what lies between: the part is listed."""
        held, extent = self._held, self._chunk.extent
        if self._view.has_gap_before(extent, held, self._writer.clock.monotonic()):
            await self._list_gap(record)
        found: list[Source] = []
        if held.durable.missing(extent) != [extent] and extent.length:
            found = runs_of(self._writer.buckets, record)
            for part in range(extent.start // record.part_size, -(-extent.end // record.part_size)):
                found += await self._listed(record, part)
        return [source for source in found if source.extent.overlaps(extent)]

    async def _listed(self, record: Record, part: int) -> list[Source]:
        found = await chunks_of_part(self._writer.buckets.temp, self._chunk.file, record.session, part)
        for source in found:
            self._held.durable.add(source.extent)
        return found

    async def _list_gap(self, record: Record) -> None:
        """Learn what other replicas stored behind the known prefix, part by part for as long as it grows."""
        held, size = self._held, record.part_size
        began = end = held.durable.prefix_end()
        while end < self._chunk.extent.start:
            await self._listed(record, end // size)
            if held.durable.prefix_end() // size == end // size:
                break
            end = held.durable.prefix_end()
        if held.durable.prefix_end() == began:
            held.gap_listed_at = self._writer.clock.monotonic()

    async def _put(self, record: Record, new: Sequence[Extent]) -> None:
        """Store the new bytes as objects, cut at part boundaries. Whatever it raises, every put has ended."""
        payload, digests = self._chunk.payload, self._chunk.digests
        cuts = [cut for extent in new for cut in split(extent, record.part_size)]
        pieces = [await payload.stored(cut, digests.get(cut, "")) for cut in cuts]
        if pieces:
            held = self._held
            self._writer.least.check(self._chunk.extent, record.total_size, held.durable, held.chunks)
            held.chunks += len(pieces)
        try:
            puts = (self._put_one(record, piece) for piece in pieces)
            for failure in await asyncio.gather(*puts, return_exceptions=True):
                if failure:
                    raise failure
        except BaseException:
            self._view.forget()  # a put that failed may have taken effect
            raise

    async def _put_one(self, record: Record, piece: Stored) -> None:
        part = piece.extent.start // record.part_size
        key = chunk_key(self._chunk.file, record.session, part, piece.extent, piece.sha256)
        await self._writer.buckets.temp.put(key, piece.body)

    async def _acknowledge(self, record: Record) -> Ack | None:
        """Answer on a look within its lease that was taken, or confirmed, after the bytes were durable."""
        writer, view, extent = self._writer, self._view, self._chunk.extent
        if view.held.session == record.session:
            view.held.durable.add(extent)
        if record.total_size is None:
            view.doubt()  # another replica may have been told an end that lies before these bytes
        for _ in range(_TRIES):
            seen = await writer.views.current(view)
            now = seen.record
            if not now or (now.state, now.session) != ("open", record.session) or not view.held.durable.covers(extent):
                return None
            refuse_beyond(extent, now.total_size)
            if now.parked_at is not None:
                if resumed := await writer.records.change(seen, parked_at=None):
                    view.show(resumed)
                else:
                    view.doubt()
                continue
            if not seen.expired(writer.clock.monotonic()):
                self._publish(now)
                return Ack(view.held.durable.prefix_end(), now.session, complete=False, total_size=now.total_size)
        raise StoreUnavailable("the store is too slow to acknowledge within a lease")

    def _publish(self, record: Record) -> None:
        chunk, view, size = self._chunk, self._view, record.part_size
        touched = range(chunk.extent.start // size, -(-chunk.extent.end // size))
        offset = view.held.durable.prefix_end()
        data = ChunkReceivedData(
            owner=chunk.file.owner,
            filename=chunk.file.filename,
            session=record.session,
            start=chunk.extent.start,
            length=chunk.extent.length,
            offset=offset,
            total_size=record.total_size,
            filled_parts=full_parts(record, view.held.durable, touched),
        )
        self._writer.bus.publish(ChunkReceived(source="/hiper/ingest", subject=subject(chunk.file), data=data))


def refuse_other_size(asked: int | None, there: int, state: str) -> None:
    if asked not in (None, there):
        raise Problem(
            Kind.TOTAL_SIZE_CONFLICT,
            f"total_size is {asked}, but a file of this name {state} with {there} bytes. Go on with {there}, or cancel "
            "it with DELETE /files/{filename} and start again.",
            total_size=asked,
            existing_total_size=there,
        )


def refuse_beyond(extent: Extent, total_size: int | None) -> None:
    if total_size is not None and extent.end > total_size:
        raise Problem(Kind.BAD_RANGE, f"The chunk ends at byte {extent.end - 1}; the file has {total_size} bytes.")


def refuse_other_digest(asked: str, declared: str) -> None:
    if asked and declared and asked != declared:
        raise Problem(
            Kind.DIGEST_CONFLICT,
            "Repr-Digest differs from the one that was declared for this file before. If the content changed, cancel "
            "it with DELETE /files/{filename} and start again.",
        )
