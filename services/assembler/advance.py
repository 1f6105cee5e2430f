"""Advancing a file: assemble what is full, finish what is complete. One function, repeatable after any crash."""

from collections.abc import Sequence

from libs.common.bus import EventBus
from libs.common.clock import Clock
from libs.common.events import FileCompleted, FileCompletedData, subject
from libs.common.gather import (
    Source,
    chunks_of_part,
    complete_file,
    coverage,
    gather,
    partial_keys,
    runs_below,
    void_digests,
)
from libs.common.layout import (
    FileId,
    Reason,
    chunks_prefix,
    closing_fact,
    fact_key,
    file_key,
    part_count,
    part_extent,
    total_size_of,
)
from libs.common.look import Look, look
from libs.common.store import Buckets, ObjectInfo, ObjectStore, list_all
from libs.common.watch import UNWATCHED, Watch
from services.assembler.assembly import (
    DigestMismatch,
    Finished,
    Ready,
    Superseded,
    add_parts,
    finish,
    is_single,
    record_assembly,
)
from services.assembler.known import KnownParts


class Advancer:
    """Turns durable chunks into complete files."""

    def __init__(self, buckets: Buckets, bus: EventBus, clock: Clock, watch: Watch = UNWATCHED) -> None:
        self._buckets = buckets
        self._bus = bus
        self._clock = clock
        self._watch = watch
        self._known = KnownParts()

    async def advance(self, file: FileId, hint: Sequence[int] | None = None, session: str = "") -> bool:
        """Assemble the parts of the hint (or every part that is full) and finish the file if nothing is missing.
        `session`: one of which it is told that all bytes are there, if any is; then what the hint lacks is looked for.

        Whether the file is marked now to be rejected, because its digest is wrong. Does nothing while an upload of
        the file is being closed. Raises Superseded, ObjectNotFound, UploadNotFound
        or FenceExpired when another process was faster: call it again; StoreUnavailable: call it later.
        """
        if session and await self._finish_sole_chunk(file, session):
            return False
        seen = await look(self._buckets.temp, file, self._clock)
        if seen.closing or not seen.open:
            return False
        # Before a file is made it is looked for once more, when its chunks were listed: what is listed after it is
        # there may be other bytes, which came too late.
        single = is_single(seen.open[0].total_size)
        done = None if single else await complete_file(self._buckets.perm, file)
        if not done:
            with self._known.doubted(seen):
                with self._watch.step("assemble"):
                    ready = await self._assemble(seen, hint, told_all=bool(session))
                done = await complete_file(self._buckets.perm, file) if single or ready else None
                if ready and not done:
                    rejected = await self._finish(seen, ready)
                    self._known.forget(seen)
                    return rejected
        if done:
            await self._clean_up(seen, done)
        return False

    async def _finish_sole_chunk(self, file: FileId, session: str) -> bool:
        """Finish a file that is one chunk and has no declared digest, by five calls; whether it was one.

        The chunk is listed before the look, which so shows all that is to be known after the last byte was stored; and
        before the file is looked for: a chunk that came after it may be another."""
        total_size = total_size_of(session)
        if not is_single(total_size):
            return False
        sources = await chunks_of_part(self._buckets.temp, file, [session], 0)
        if [source.extent for source in sources] != [part_extent(total_size, 0)]:
            return False
        seen = await look(self._buckets.temp, file, self._clock)
        if not seen.plain or seen.digests or [each.id for each in seen.open] != [session]:
            return False
        if await complete_file(self._buckets.perm, file):
            return False
        await self._finish(seen, Ready(None, sources, seen))
        return True

    async def _assemble(self, seen: Look, hint: Sequence[int] | None, *, told_all: bool) -> Ready | None:
        total_size = seen.open[0].total_size
        if is_single(total_size):
            sources = await gather(self._buckets, seen)
            return Ready(None, sources) if coverage(sources).covers(part_extent(total_size, 0)) else None
        known = None if hint is None else self._known.of(seen)
        if told_all and not (known and {*known.parts, *(hint or ())}.issuperset(range(part_count(total_size)))):
            hint = known = None  # another process assembled, or nobody did
        assembly = known or await record_assembly(self._buckets, seen)
        if hint is None:
            sources = await gather(self._buckets, seen, assembly.parts)
        else:
            sources = await self._sources_of(seen, [part for part in hint if part not in assembly.parts])
        if seen.expired(self._clock.monotonic()):
            # Since the look the upload may have been parked: chunks that count be gone, and others have come late. The
            # parts outlive this process, and a closer may finish the file with them.
            await self._still_open(seen)
        ready = await add_parts(self._buckets, seen, assembly, sources)
        self._known.keep(assembly)
        return ready

    async def _sources_of(self, seen: Look, parts: Sequence[int]) -> list[Source]:
        """The sources of some parts: a hint says where to look, never what is there."""
        total_size = seen.open[0].total_size
        sessions, found = [session.id for session in seen.open], []
        for part in parts:
            if part < part_count(total_size):
                found += await chunks_of_part(self._buckets.temp, seen.file, sessions, part)
        return await runs_below(self._buckets.perm, seen) + found

    async def _finish(self, seen: Look, ready: Ready) -> bool:
        """Make the file one object, or mark it to be rejected: whether it is marked."""
        try:
            with self._watch.step("finish"):
                finished = await finish(self._buckets, ready, lambda: self._still_open(seen))
        except DigestMismatch:
            again = await self._still_open(seen)
            await mark(self._buckets.temp, again, "reject")
            return True
        if ready.sole_chunk and len(finished.look.sessions) == 1:
            await self._drop(finished, ready.sole_chunk)
        else:
            await self._clean_up(seen, finished.info)
        return False

    async def _still_open(self, seen: Look) -> Look:
        again = await look(self._buckets.temp, seen.file, self._clock)
        if not again.shows_open(session.id for session in seen.open):
            raise Superseded(seen.file)
        return again

    async def _drop(self, finished: Finished, chunk: Source) -> None:
        """A file that was one chunk: all of it is known, so that one call deletes it. What came since is garbage of a
        session that is gone, which a sweep finds."""
        with self._watch.step("clean_up"):
            seen = finished.look
            self._tell(seen.file, finished.info)
            self._watch.finalized(finished.info.modified - chunk.modified)
            (session,) = seen.sessions.values()
            facts = sorted(session.facts, key="open".__eq__)
            await self._buckets.temp.delete_many([chunk.key, *(fact_key(seen.file, session.id, f) for f in facts)])

    async def _clean_up(self, seen: Look, done: ObjectInfo) -> None:
        """The final object exists: tell, then delete what it replaces, `open` last and closing markers never."""
        with self._watch.step("clean_up"):
            await self._delete_replaced(seen, done)

    async def _delete_replaced(self, seen: Look, done: ObjectInfo) -> None:
        file, temp, perm = seen.file, self._buckets.temp, self._buckets.perm
        replaced = await partial_keys(perm, file)
        if len(seen.open) > 1:
            replaced += await void_digests(perm, file, done)
        again = await self._still_open(seen)
        self._tell(file, done)
        if replaced:
            await perm.delete_many(replaced, fence=again.fence)
        chunks = [info for s in seen.sessions for info in await list_all(temp, chunks_prefix(file, s))]
        if chunks:
            self._watch.finalized(done.modified - max(info.modified for info in chunks))
        await temp.delete_many([info.key for info in chunks])
        for upload in {upload for session in again.sessions.values() for upload in session.assemblies}:
            await perm.abort_multipart(file_key(file), upload)
        there = [again.sessions[session] for session in seen.sessions if session in again.sessions]
        facts = [(session.id, fact) for session in there for fact in session.facts if not is_marker(fact)]
        for last in (False, True):
            await temp.delete_many([fact_key(file, s, fact) for s, fact in facts if (fact == "open") == last])

    def _tell(self, file: FileId, done: ObjectInfo) -> None:
        event = completed(file, done)
        self._bus.publish(event)
        self._watch.told(event)


def is_marker(fact: str) -> bool:
    return fact.startswith(("closing/", "closed/"))


async def mark(temp: ObjectStore, seen: Look, reason: Reason) -> None:
    """Say durably why the uploads are to be closed; not of a session that ended, of which a late fact is there."""
    for session in seen.unended:
        await temp.put(fact_key(seen.file, session.id, closing_fact(reason)), b"", fence=seen.fence)


def completed(file: FileId, done: ObjectInfo) -> FileCompleted:
    session = done.metadata.get("session", "")
    data = FileCompletedData(owner=file.owner, filename=file.filename, session=session, total_size=done.size)
    return FileCompleted(id=session or done.key, source="/hiper/assembler", subject=subject(file), data=data)
