"""The way of a chunk, from verified bytes to an acknowledgement."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field

from libs.common.bus.events import ChunkReceived, ChunkReceivedData, subject
from libs.common.files.extents import Extent, split
from libs.common.files.pins import NO_PIN, Pin
from libs.common.problems import Kind, Problem
from libs.common.storage import (
    ConditionFailed,
    FenceExpired,
    KeyTaken,
    ObjectInfo,
    ObjectNotFound,
    StoreFull,
    StoreRefused,
    StoreUnavailable,
)
from libs.common.storage.turns import Turns
from libs.common.uploads.compare import refuse_difference, refuse_difference_from_file
from libs.common.uploads.elsewhere import Elsewhere
from libs.common.uploads.folders import TAKEN, claim_folders, refusal
from libs.common.uploads.layout import FileId, chunk_key, file_key, new_session, part_size
from libs.common.uploads.least import ANY_SIZE, LeastSize
from libs.common.uploads.outcomes import About, completed, is_whole, metadata, session_of
from libs.common.uploads.payload import Payload, Stored
from libs.common.uploads.record import Record
from libs.common.uploads.records import Look
from libs.common.uploads.stock import Source, chunks_of_part, coverage, full_parts, runs_of, take_stock
from libs.common.uploads.tools import Tools
from libs.common.uploads.view import Held, View, Views

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

    def __init__(self, tools: Tools, *, views: int = 10_000, least: LeastSize = ANY_SIZE) -> None:
        """`views`: how many names it remembers."""
        self.tools = tools
        self.views = Views(tools, views)
        self.elsewhere = Elsewhere(tools, self.views.hear)
        self.turns = Turns(tools.clock)
        self.least = least

    def knows(self, file: FileId) -> bool:
        """Whether this replica has seen an upload of the name, which may have ended since."""
        return self.views.knows(file)

    async def write(self, chunk: Chunk) -> Ack:
        """Store a chunk and answer for it. Raises Problem or StoreUnavailable: then nothing is acknowledged."""
        view = self.views.of(chunk.file)
        async with AsyncExitStack() as stack:
            with self.tools.watch.step("turn"):
                await stack.enter_async_context(self.turns.taken())
            request, began = _Request(self, chunk, view), view.looks
            for _ in range(_TRIES):
                try:
                    if ack := await request.attempt():
                        return ack
                except Problem:
                    if view.looked_since(began):
                        raise
                    view.doubt()  # nothing is refused on a remembered record: a refused write may have been one's own
        raise Problem(Kind.CLOSING, "The upload changes faster than this chunk can follow. Try again shortly.")


class _Request:
    """One chunk on its way. Each step returns the acknowledgement, or None: the name is not any more what was seen, so
    that it is looked at again."""

    def __init__(self, writer: ChunkWriter, chunk: Chunk, view: View) -> None:
        self._writer = writer
        self._tools = writer.tools
        self._records = writer.tools.records
        self._chunk = chunk
        self._view = view
        self._mine: set[str] = set()  # sessions that this request opened
        self._into = ""  # the session that it puts bytes into; once that is over, the request may be late
        self._held = Held()  # what is stored of the upload that the chunk goes into
        self._in_the_way = False  # something is under the name, and is no whole file: an assembler deletes it
        self._told = ""  # session of the complete file that it put into the feed
        self._compared = ""  # etag of the file that holds the same bytes

    async def attempt(self) -> Ack | None:
        with self._tools.watch.step("look"):
            seen = await self._writer.views.current(self._view)
        if seen.record.state == "open":
            return await self._into_upload(seen)
        # A chunk that may begin an upload does not ask first whether a file is there: the store refuses to make it
        # again, and an opening looks for it.
        if seen.record.file or (not seen.etag and (self._into or self._chunk.pin.match is not None)):
            done = await self._records.file(self._chunk.file)
            if done and seen.record.file in ("", session_of(done)):
                return await self._repeat(seen, done)
            if seen.record.file:
                return None
        return await self._begin(seen)

    # -- no upload, and no file

    async def _begin(self, seen: Look) -> Ack | None:
        self._chunk.pin.admit(())
        if seen.record.folder:
            raise refusal(f"{self._chunk.file.filename!r} is a folder, so that no file can have the name.")
        wait = max(seen.calm_in, seen.record.removing - seen.now) if seen.etag else 0.0
        if wait > 0:
            with self._writer.turns.left():
                await self._tools.clock.sleep(wait + 0.01)
            return None
        self._refuse_late("")
        await self._chunk.admit()
        await claim_folders(self._tools, self._chunk.file)
        await self._tools.tell(seen, *seen.record.owes)  # before what comes next
        if self._chunk.is_whole and not seen.etag and not self._in_the_way:
            return await self._at_once(seen)
        return await self._open(seen)

    async def _open(self, seen: Look) -> Ack | None:
        """Open an upload where no record is, or one that is closed, and store the chunk in it."""
        chunk, session, before = self._chunk, new_session(), seen.record
        self._mine.add(session)
        new = Record(
            state="open" if seen.etag else "opening", version="", session=session, total_size=chunk.total_size,
            part_size=part_size(chunk.total_size), content_type=chunk.content_type, labels=dict(chunk.labels),
            digest=chunk.declared, opened_at=seen.now, quiet=before.quiet, aborts=before.aborts, kept=before.kept,
        )  # fmt: skip
        with self._tools.watch.step("open"):
            opened = await self._records.swap(seen, new)
            if opened and opened.record.state == "opening":
                opened = await self._records.settle(opened)
        if not (opened and opened.record.state == "open"):
            return None
        self._into = session
        self._writer.views.remember(self._view, opened)
        return await self._into_upload(opened)

    async def _at_once(self, seen: Look) -> Ack | None:
        """The whole file in one request: it is put where it belongs, if no other request wants the name meanwhile."""
        chunk, session = self._chunk, new_session()
        sha256 = chunk.digests.get(chunk.extent, "")
        if chunk.declared:
            sha256 = sha256 or (await chunk.payload.stored(chunk.extent)).sha256
            if chunk.declared != sha256:
                raise Problem(Kind.DIGEST_MISMATCH, "Repr-Digest does not match the body. Nothing is stored.")
        self._mine.add(session)
        self._into = session
        try:
            with self._tools.watch.step("store"):
                await self._tools.buckets.perm.put(
                    file_key(chunk.file), chunk.payload.body(chunk.extent), absent=True, fence=seen.fence,
                    content_type=chunk.content_type, metadata=metadata(session, chunk.extent.end, sha256, chunk.labels),
                )  # fmt: skip
        except KeyTaken:
            raise refusal(TAKEN) from None
        except (StoreFull, StoreRefused):
            raise
        except FenceExpired:
            self._into = ""
            return None
        except StoreUnavailable:
            return None  # the file tells
        except ConditionFailed:
            there = await self._records.object(chunk.file)
            self._in_the_way = there is not None and not is_whole(there)
            self._into = "" if self._in_the_way else session
            return None
        if not await self._still_none(seen):
            return None
        return await self._complete(seen, About(session, chunk.extent.end, sha256, chunk.content_type, chunk.labels))

    async def _still_none(self, seen: Look) -> bool:
        """Whether there is no record still, within a lease of the look that showed none."""
        return not (await self._records.look(seen.file)).etag and not seen.expired

    # -- a complete file

    async def _repeat(self, seen: Look, done: ObjectInfo) -> Ack | None:
        """Answer for bytes of a complete file. `seen` shows that it counts, if there is still the same to be seen once
        the bytes are compared."""
        chunk, session = self._chunk, session_of(done)
        if session not in self._mine:
            chunk.pin.admit([session])
        refuse_other_size(chunk.total_size, done.size, "is complete")
        refuse_other_digest(chunk.declared, done.metadata.get("digest", ""))
        if self._compared != done.etag:
            try:
                await refuse_difference_from_file(self._tools.buckets.perm, done, chunk.payload)
            except ObjectNotFound:
                return None
            self._compared = done.etag
        is_so = not seen.expired if seen.etag else await self._still_none(seen)
        return await self._complete(seen, About.of(done)) if is_so else None

    async def _complete(self, seen: Look, about: About) -> Ack | None:
        """Answer that the file is complete, as `seen` shows. Where no record owes that, the feed tells it first:
        perhaps a replica died before it told, and the device sends the file again."""
        if (self._chunk.is_whole or not seen.etag) and self._told != about.session:
            outcome = completed(self._chunk.file, about, "/hiper/ingest")
            await self._tools.tell(seen, outcome, again=about.session not in self._mine)
            self._told = about.session
        if seen.expired:
            return None
        return Ack(about.size, about.session, complete=True, total_size=about.size)

    # -- an upload in progress

    async def _into_upload(self, seen: Look) -> Ack | None:
        record = seen.record
        if record.session not in self._mine:
            self._chunk.pin.admit_upload(record.session, parked=record.parked_at is not None)
        if record.total_size is not None:
            refuse_other_size(self._chunk.total_size, record.total_size, "is being uploaded")
        refuse_beyond(self._chunk.extent, record.total_size)
        refuse_other_digest(self._chunk.declared, record.digest)
        self._refuse_late(record.session)
        async with self._view.reserved(self._chunk.extent, self._writer.turns):
            if self._view.seen is not seen:
                return None  # the name changed while another chunk held the range
            self._held = self._view.held
            self._into = record.session
            try:
                with self._tools.watch.step("compare"):
                    sources = await self._sources(record)
                    await refuse_difference(self._chunk.payload, sources, self._chunk.digests)
                told = self._news(record)  # after the comparison: a chunk that is refused tells nothing
                if told and not await self._tell(seen, told):
                    return None
                with self._tools.watch.step("store"):
                    await self._put(record, coverage(sources).missing(self._chunk.extent))
                with self._tools.watch.step("acknowledge"):
                    return await self._acknowledge(record)
            except ObjectNotFound:
                self._view.forget()  # parked or completed meanwhile
                return None

    def _refuse_late(self, session: str) -> None:
        """A request keeps to the session that it put bytes into. Its device may have sent them again elsewhere since,
        and deleted them: they must not come back, nor go into the next upload."""
        if self._into not in ("", session):
            raise Problem(Kind.CLOSING, "The upload ended while this request came. Try again shortly.")

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
        if "total_size" in told:
            stock = await take_stock(self._tools.buckets, self._chunk.file, seen.record)
            end = max((run.end for run in stock.durable), default=0)
            if end > (self._chunk.total_size or 0):
                raise Problem(
                    Kind.TOTAL_SIZE_CONFLICT,
                    f"total_size is {self._chunk.total_size}, but byte {end - 1} is stored already.",
                )
        self._view.forget()
        changed = await self._records.change(seen, **told)
        if changed:
            self._view.show(changed)
        return changed

    async def _sources(self, record: Record) -> list[Source]:
        """What is stored already of the chunk's bytes."""
        held, extent = self._held, self._chunk.extent
        found: list[Source] = []
        if held.durable.missing(extent) != [extent] and extent.length:
            found = runs_of(self._tools.buckets, record)
            for part in record.parts_of(extent):
                found += await self._listed(record, part)
        return [source for source in found if source.extent.overlaps(extent)]

    async def _listed(self, record: Record, part: int, behind: int = 0) -> list[Source]:
        temp, file = self._tools.buckets.temp, self._chunk.file
        found = await chunks_of_part(temp, file, record.session, part, behind=behind)
        for source in found:
            self._held.durable.add(source.extent)
        return found

    async def _list_gap(self, record: Record) -> None:
        """Learn what other replicas stored behind the known prefix, part by part for as long as it grows. From then on
        this replica hears of it. Asked for after the chunk is stored: by then the news of the one before has come."""
        held, size = self._held, record.part_size
        began = end = held.durable.prefix_end()
        while end < self._chunk.extent.start:
            await self._listed(record, end // size, behind=end)
            if held.durable.prefix_end() == end:  # perhaps a chunk lies across the end of what is known
                await self._listed(record, end // size)
            if held.durable.prefix_end() // size == end // size:
                break
            end = held.durable.prefix_end()
        if held.durable.prefix_end() == began:
            held.gap_listed_at = self._tools.clock.monotonic()
        else:
            self._writer.elsewhere.met(self._chunk.file.owner)

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
        await self._tools.buckets.temp.put(key, piece.body)

    async def _acknowledge(self, record: Record) -> Ack | None:
        """Answer on a look within its lease that was taken, or confirmed, after the bytes were durable."""
        view, extent = self._view, self._chunk.extent
        if view.held.session == record.session:
            self._held = view.held
            self._held.durable.add(extent)
            if view.has_gap_before(extent, self._held, self._tools.clock.monotonic()):
                await self._list_gap(record)
        if record.total_size is None:
            view.doubt()  # another replica may have been told an end that lies before these bytes
        for _ in range(_TRIES):
            seen = await self._writer.views.current(view)
            now = seen.record
            if (now.state, now.session) != ("open", record.session) or not view.held.durable.covers(extent):
                return None
            refuse_beyond(extent, now.total_size)
            if now.parked_at is not None:
                if resumed := await self._records.change(seen, parked_at=None):
                    view.show(resumed)
                else:
                    view.doubt()
                continue
            if not seen.expired:
                self._publish(now)
                return Ack(view.held.durable.prefix_end(), now.session, complete=False, total_size=now.total_size)
        raise StoreUnavailable("the store is too slow to acknowledge within a lease")

    def _publish(self, record: Record) -> None:
        chunk, durable = self._chunk, self._view.held.durable
        data = ChunkReceivedData(
            owner=chunk.file.owner, filename=chunk.file.filename, session=record.session, start=chunk.extent.start,
            length=chunk.extent.length, offset=durable.prefix_end(), total_size=record.total_size,
            filled_parts=full_parts(record, durable, record.parts_of(chunk.extent)),
        )  # fmt: skip
        self._tools.bus.publish(ChunkReceived(source="/hiper/ingest", subject=subject(chunk.file), data=data))


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
