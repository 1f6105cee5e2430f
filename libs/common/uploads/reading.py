"""What is known of a name, and its bytes: derived from its record and the bucket, each time."""

from collections.abc import AsyncGenerator
from contextlib import aclosing

from libs.common.clock import Clock
from libs.common.files.extents import Extent, Extents
from libs.common.files.labels import from_metadata
from libs.common.problems import Kind, Problem
from libs.common.storage import Buckets, ObjectInfo, ObjectNotFound, StoreUnavailable
from libs.common.uploads.layout import FileId, file_key
from libs.common.uploads.outcomes import session_of
from libs.common.uploads.recent import Recent
from libs.common.uploads.records import Look, Records
from libs.common.uploads.states import FileState, State
from libs.common.uploads.stock import Piece, chunks_of_part, coverage, planned, read_pieces, runs_of, take_stock

_TRIES = 6  # how often a name may change while it is looked at
_MOVES = 3  # how often the bytes may move while they are read


class FileReader:
    """Answers for files: state and bytes.

    It remembers complete files, so that a range of one costs one store call. A complete file ends by a DELETE alone,
    which is answered a lease after its swap. So within a lease of a look the file is there for every reader that asks
    before that answer, and a reader that asks after it meets no look from before the swap. What is read is the object
    of that look: its etag goes with the request."""

    def __init__(self, buckets: Buckets, clock: Clock) -> None:
        self._buckets = buckets
        self._clock = clock
        self._records = Records(buckets, clock)
        self._recent = Recent[FileId, tuple[Look, FileState]]()

    async def state(self, file: FileId) -> FileState:
        """What was true at some moment since the call, or is a complete file seen within a lease. Raises the problems
        NOT_FOUND and REJECTED, and StoreUnavailable."""
        known = self._recent.get(file)
        if known and not known[0].expired:
            return known[1]
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
        if record.state == "none":
            return await self._without_record(seen)
        if record.state == "open":
            return await self._in_progress(seen)
        if record.file:
            done = await self._records.file(seen.file)
            return self._complete(seen, done) if done and session_of(done) == record.file else None
        # Until a lease has passed a replica may acknowledge on an older look.
        await self._clock.sleep(seen.calm_in)
        raise self._refusal(seen)

    async def _without_record(self, seen: Look) -> FileState | None:
        """The file is the truth, if there is no record when it was seen either: it may be on its way out."""
        done = await self._records.file(seen.file)
        if not done:
            raise self._refusal(seen)
        again = await self._records.look(seen.file)
        if again.etag or seen.expired:
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
        self._recent.keep(seen.file, (seen, found))
        return found

    async def _in_progress(self, seen: Look) -> FileState | None:
        record = seen.record
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

    def _refusal(self, seen: Look) -> Problem:
        file, why = seen.file, seen.record.rejected
        self._recent.forget(file)
        if why:
            return Problem(
                Kind.REJECTED,
                f"{why} The bytes are kept apart for the operator; a new upload of this name starts from byte 0.",
                waiting_for=why,
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
        if (record.state, record.session) != ("open", state.session):
            raise ObjectNotFound(state.file.filename)
        part = piece.start // record.part_size
        sources = runs_of(self._buckets, record)
        if not coverage(sources).covers(piece):
            sources += await chunks_of_part(self._buckets.temp, state.file, state.session, part)
        return planned(sources, piece)

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
