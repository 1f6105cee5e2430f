"""What is known of a file, and its bytes: everything derived from the bucket, each time."""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import NoReturn

from libs.common.clock import Clock
from libs.common.extents import Extent, Extents
from libs.common.gather import (
    Piece,
    Source,
    checked_digest,
    chunks_of_part,
    complete_file,
    media_type,
    partial_runs,
    plan,
    read_pieces,
    rejected_runs,
    take_stock,
)
from libs.common.layout import FileId, file_key, part_size, total_size_of
from libs.common.look import Look, look
from libs.common.problems import Kind, Problem
from libs.common.store import Buckets, ObjectInfo, ObjectNotFound, StoreUnavailable
from services.ingest.recent import RecentFiles
from services.ingest.states import FileState

_TRIES = 3  # how often the bytes may move while they are being read


def is_of(state: FileState, done: ObjectInfo) -> bool:
    """Whether a complete file is what an upload became, and not another file of that name and size."""
    return done.size == state.total_size and done.metadata.get("session") in state.sessions


class FileReader:
    """Answers for files: state and bytes."""

    def __init__(self, buckets: Buckets, clock: Clock) -> None:
        self._buckets = buckets
        self._clock = clock
        self._recent = RecentFiles(clock)

    async def state(self, file: FileId) -> FileState:
        """Raises the problems NOT_FOUND and REJECTED."""
        if known := self._recent.within_lease(file):
            return known
        for _ in range(_TRIES):
            seen = await look(self._buckets.temp, file, self._clock)
            found = None if "cancel" in seen.closing else await self._found(seen)
            if not found:
                self._recent.forget(file)
                await self._refuse(seen)
            elif found.state == "complete":
                self._recent.remember(seen, found)
                return found
            elif found.state == "partial" or seen.closing or await self._stands(seen):
                return found
        raise StoreUnavailable("the upload changes faster than it can be looked at")

    def forget(self, file: FileId) -> None:
        """Look again for the next state: the bytes of this one were not there any more."""
        self._recent.forget(file)

    async def _found(self, seen: Look) -> FileState | None:
        unfinished = await self._uploading(seen) if seen.open and not seen.closed else None
        # Looked for after the chunks: a file that is completed meanwhile loses these only after it is there.
        found = await self._complete(seen.file) or unfinished or await self._partial(seen.file)
        # A partial file that is completed meanwhile goes only after the file is there.
        return found or await self._complete(seen.file)

    async def _stands(self, seen: Look) -> bool:
        """Whether nothing began to be closed before the chunks were listed: then all of them stay."""
        if not seen.expired(self._clock.monotonic()):
            return True
        again = await look(self._buckets.temp, seen.file, self._clock)
        return again.shows_open(session.id for session in seen.open)

    async def _refuse(self, seen: Look) -> NoReturn:
        if await rejected_runs(self._buckets.perm, seen.file) and "cancel" not in seen.closing:
            raise Problem(
                Kind.REJECTED,
                "The bytes did not match the declared Repr-Digest. They are kept apart for the operator; "
                "a new upload of this name starts from byte 0.",
            )
        raise Problem(Kind.NOT_FOUND, f"No file or upload named {seen.file.filename!r} of {seen.file.owner!r}.")

    async def _uploading(self, seen: Look) -> FileState:
        stock = await take_stock(self._buckets, seen)
        try:
            content_type = await media_type(self._buckets.temp, seen)
        except ObjectNotFound:
            content_type = "application/octet-stream"  # it ends at this moment
        sessions = tuple(session.id for session in seen.open)
        total_size = seen.open[0].total_size
        below = frozenset(source.session for source in stock.sources if source.is_partial)
        return FileState(
            seen.file, "pending", total_size, stock.durable, stock.newest, sessions, content_type, below=below
        )

    async def _partial(self, file: FileId) -> FileState | None:
        runs = await partial_runs(self._buckets.perm, file)
        if not runs:
            return None
        durable = Extents(run.extent for run in runs)
        modified = max(run.modified for run in runs)
        below = frozenset(run.session for run in runs)
        return FileState(file, "partial", total_size_of(runs[0].session), durable, modified, below=below)

    async def _complete(self, file: FileId) -> FileState | None:
        info = await complete_file(self._buckets.perm, file)
        if info is None:
            return None
        session = info.metadata.get("session", "")
        digest = self._recent.digest_of(file, session)
        if digest is None:
            digest = await checked_digest(self._buckets.perm, file, session)
        whole = Extents([Extent(0, info.size)])
        sessions = (session,) if session else ()
        about = info.content_type, digest, info.etag
        return FileState(file, "complete", info.size, whole, info.modified, sessions, *about)

    async def blocks(self, state: FileState, extent: Extent) -> AsyncGenerator[bytes, None]:
        """Stream bytes [start, end) of the gap-free prefix. Raises ObjectNotFound when the file is deleted meanwhile,
        or its object replaced.

        An upload that is completed or parked on the way is read on from where its bytes are by then; not one that was
        completed by another session, which may have begun anew with other bytes.
        """
        at, size = extent.start, part_size(state.total_size)
        tries = _TRIES
        while state.state != "complete" and at < extent.end:
            piece = Extent(at, min(extent.end, (at // size + 1) * size))
            try:
                async with aclosing(read_pieces(await self._plan(state, piece))) as blocks:
                    async for block in blocks:
                        at += len(block)
                        yield block
            except ObjectNotFound:
                tries -= 1
                if not tries:
                    raise
        if at < extent.end:
            async with self._buckets.perm.get(file_key(state.file), at, extent.end, etag=state.etag) as stored:
                async for block in stored:
                    yield block

    async def _plan(self, state: FileState, piece: Extent) -> list[Piece]:
        """From where to read bytes within one part: chunks, the partial file, or by now the complete one."""
        part = piece.start // part_size(state.total_size)
        sources = await chunks_of_part(self._buckets.temp, state.file, state.sessions, part)
        runs = await partial_runs(self._buckets.perm, state.file, state.total_size)
        sources += [run for run in runs if run.session in state.below.union(state.sessions)]
        # Looked for last: the chunks of a complete file are deleted one by one, perhaps those first that count.
        done = await complete_file(self._buckets.perm, state.file)
        if done and is_of(state, done):
            whole = Source(Extent(0, done.size), self._buckets.perm, done.key, done.modified, "", etag=done.etag)
            return [Piece(piece, whole)]
        if any(not source.is_partial for source in sources) and not await self._chunks_stood(state):
            sources = [source for source in sources if source.is_partial]
        pieces = plan(sources, piece)
        if pieces is None:
            raise ObjectNotFound(state.file.filename)
        return pieces

    async def _chunks_stood(self, state: FileState) -> bool:
        """Whether no chunk was deleted until now that is not in the partial file. Else of two that differ the one that
        counts may be gone, and the one that came too late be there."""
        seen = await look(self._buckets.temp, state.file, self._clock)
        # A closer waits before it deletes, and one that parks deletes only what it has written to the partial file.
        stood = seen.closing <= {"park"} or seen.fence.issued < seen.kept_until
        return stood and all(s in seen.sessions and seen.sessions[s].is_open for s in state.sessions)
