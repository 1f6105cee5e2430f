"""What is known of a name, and its bytes: derived from its record and the bucket, each time."""

from collections.abc import AsyncGenerator
from contextlib import aclosing

from libs.common.clock import Clock
from libs.common.files.extents import Extent, Extents
from libs.common.files.labels import from_metadata
from libs.common.problems import Kind, Problem
from libs.common.storage import Buckets, ObjectInfo, ObjectNotFound, StoreUnavailable
from libs.common.uploads.layout import FileId, file_key
from libs.common.uploads.recent import RecentFiles
from libs.common.uploads.record import Record
from libs.common.uploads.records import Look, Records, session_of
from libs.common.uploads.states import FileState, State
from libs.common.uploads.stock import Piece, chunks_of_part, plan, read_pieces, runs_of, take_stock

_TRIES = 6  # how often a name may change while it is looked at
_MOVES = 3  # how often the bytes may move while they are read


class FileReader:
    """Answers for files: state and bytes."""

    def __init__(self, buckets: Buckets, clock: Clock) -> None:
        self._buckets = buckets
        self._clock = clock
        self._records = Records(buckets, clock)
        self._recent = RecentFiles(clock)

    async def state(self, file: FileId) -> FileState:
        """What was true at some moment since the call, or is a complete file seen within a lease. Raises the problems
        NOT_FOUND and REJECTED, and StoreUnavailable."""
        if known := self._recent.within_lease(file):
            return known
        for _ in range(_TRIES):
            seen = await self._records.look(file)
            if found := await self._state(seen):
                return found
        raise StoreUnavailable("the name changes faster than it can be looked at")

    def forget(self, file: FileId) -> None:
        """Look again for the next state: the bytes of this one were not there any more."""
        self._recent.forget(file)

    async def _state(self, seen: Look) -> FileState | None:
        """None: look again."""
        record = seen.record
        if record is None:
            return await self._without_record(seen)
        if record.state == "open":
            return await self._in_progress(seen, record)
        if record.file:
            done = await self._records.file(seen.file)
            return self._complete(seen, done) if done and session_of(done) == record.file else None
        # Until a lease has passed a replica may acknowledge on an older look.
        await self._clock.sleep(seen.calm_in(self._clock.monotonic()))
        raise self._refusal(seen.file, record)

    async def _without_record(self, seen: Look) -> FileState | None:
        """The file is the truth, if there is no record when it was seen either: it may be on its way out."""
        done = await self._records.file(seen.file)
        if not done:
            raise self._refusal(seen.file, None)
        again = await self._records.look(seen.file)
        if again.record or seen.expired(self._clock.monotonic()):
            return None
        return self._complete(seen, done)

    def _complete(self, seen: Look, done: ObjectInfo) -> FileState:
        session = session_of(done)
        whole = Extents([Extent(0, done.size)])
        found = FileState(
            seen.file, "complete", done.size, whole, done.modified, session, session,
            content_type=done.content_type, labels=from_metadata(done.metadata),
            sha256=done.metadata.get("digest", ""), etag=done.etag,
        )  # fmt: skip
        self._recent.remember(seen, found)
        return found

    async def _in_progress(self, seen: Look, record: Record) -> FileState | None:
        stock = await take_stock(self._buckets, seen.file, record)
        again = await self._records.look(seen.file, seen)
        if again.etag != seen.etag:
            return None  # a listing counts if nothing was parked or removed meanwhile
        newest = max(stock.newest, seen.modified)
        state: State = "pending" if record.parked_at is None else "partial"
        version = f"{record.version}-{len(stock.sources)}-{stock.durable.total()}"
        return FileState(
            seen.file, state, record.total_size, stock.durable, newest, record.session, version,
            part_size=record.part_size, content_type=record.content_type, labels=record.labels,
        )  # fmt: skip

    def _refusal(self, file: FileId, record: Record | None) -> Problem:
        self._recent.forget(file)
        if record and record.rejected:
            return Problem(
                Kind.REJECTED,
                f"{record.rejected} The bytes are kept apart for the operator; a new upload of this name starts from "
                "byte 0.",
                waiting_for=record.rejected,
            )
        return Problem(Kind.NOT_FOUND, f"No file or upload named {file.filename!r} of {file.owner!r}.")

    async def blocks(self, state: FileState, extent: Extent) -> AsyncGenerator[bytes, None]:
        """Stream bytes [start, end) of the gap-free prefix. Raises ObjectNotFound when the file is deleted meanwhile:
        a download keeps to its session. An upload that is parked or completed on the way is read on from where its
        bytes are by then."""
        at, moves = extent.start, _MOVES
        while state.state != "complete" and at < extent.end:
            piece = Extent(at, min(extent.end, (at // state.part_size + 1) * state.part_size))
            try:
                async with aclosing(read_pieces(await self._plan(state, piece))) as blocks:
                    async for block in blocks:
                        at += len(block)
                        yield block
            except ObjectNotFound:
                moves -= 1
                if not moves:
                    raise
                state = await self._moved(state)
        if at < extent.end:
            async with self._buckets.perm.get(file_key(state.file), at, extent.end, etag=state.etag) as stored:
                async for block in stored:
                    yield block

    async def _plan(self, state: FileState, piece: Extent) -> list[Piece]:
        """From where to read bytes within one part of an upload in progress. Raises ObjectNotFound where they moved."""
        seen = await self._records.look(state.file)
        record = seen.record
        if not record or (record.state, record.session) != ("open", state.session):
            raise ObjectNotFound(state.file.filename)
        part = piece.start // record.part_size
        sources = runs_of(self._buckets, record)
        if plan(sources, piece) is None:
            sources += await chunks_of_part(self._buckets.temp, state.file, state.session, part)
        pieces = plan(sources, piece)
        if pieces is None:
            raise ObjectNotFound(state.file.filename)
        return pieces

    async def _moved(self, state: FileState) -> FileState:
        """The same upload where it is now. Raises ObjectNotFound when it is over, and not complete."""
        self.forget(state.file)
        try:
            now = await self.state(state.file)
        except Problem:
            raise ObjectNotFound(state.file.filename) from None
        if now.session != state.session:
            raise ObjectNotFound(state.file.filename)
        return now
