"""Closing a file's uploads: cancel, park, reject. One function, `close`, repeatable after any crash."""

from collections.abc import Sequence

from libs.common.bus import EventBus
from libs.common.clock import Clock
from libs.common.events import Event, FileRejected, FileRejectedData, PartialFileMoved, PartialFileMovedData, subject
from libs.common.extents import Extent
from libs.common.gather import Source, complete_file, coverage, gather, partial_keys, rejected_runs, void_digests
from libs.common.layout import (
    FileId,
    Reason,
    chunks_prefix,
    closed_fact,
    closing_fact,
    digests_prefix,
    fact_key,
    file_key,
    partials_prefix,
    rejected_prefix,
    run_key,
    total_size_of,
)
from libs.common.look import SETTLE, Look, Session, look
from libs.common.store import Buckets, Fence, FenceExpired, ObjectNotFound, ObjectStore, UploadNotFound, list_all
from libs.common.watch import UNWATCHED, Watch
from services.assembler.advance import completed, is_marker, mark
from services.assembler.assembly import (
    DigestMismatch,
    Ready,
    Superseded,
    add_parts,
    finish,
    is_single,
    record_assembly,
)
from services.assembler.runs import sha256_of, write_run

PRECEDENCE: tuple[Reason, ...] = ("cancel", "reject", "park")  # the first that is marked is what happens
_TRIES = 8


def reason_of(seen: Look) -> Reason | None:
    """Why the file's uploads are being closed, if they are."""
    return next((reason for reason in PRECEDENCE if reason in seen.closing), None)


def is_closed(seen: Look, reason: Reason) -> bool:
    """Whether a closing by this reason was done, but for its facts and markers."""
    return any(reason in session.marked("closed/") for session in seen.sessions.values())


def newest_marker(seen: Look) -> float:
    """When the file was last marked to be closed, in the store's time."""
    facts = [(fact, info) for session in seen.sessions.values() for fact, info in session.facts.items()]
    return max((info.modified for fact, info in facts if fact.startswith("closing/")), default=0.0)


class Closer:
    """Ends uploads: once their markers are there and a lease has passed, it has the file alone."""

    def __init__(self, buckets: Buckets, bus: EventBus, clock: Clock, watch: Watch = UNWATCHED) -> None:
        self._buckets = buckets
        self._bus = bus
        self._clock = clock
        self._watch = watch

    async def close(self, file: FileId) -> None:
        """Do what the markers of the file's sessions say, until none is left. Raises StoreUnavailable."""
        for _ in range(_TRIES):
            seen = await look(self._buckets.temp, file, self._clock)
            reason = reason_of(seen)
            if reason is None:
                return
            try:
                await self._close(seen, reason)
            except (Superseded, ObjectNotFound, UploadNotFound, FenceExpired):
                continue

    async def park(self, file: FileId, threshold: float) -> None:
        """Move an upload to permanent storage if its newest chunk is older than `threshold` seconds."""
        seen = await look(self._buckets.temp, file, self._clock)
        if seen.open and not seen.closing and await self._is_stale(seen, threshold):
            again = await look(self._buckets.temp, file, self._clock)
            if again.shows_open(session.id for session in seen.open):
                await mark(self._buckets.temp, again, "park")
        await self.close(file)

    async def _is_stale(self, seen: Look, threshold: float) -> bool:
        """By the store's own clock, from the newest chunk or the opening."""
        newest = max(session.facts["open"].modified for session in seen.open)
        for session in seen.open:
            for info in await list_all(self._buckets.temp, chunks_prefix(seen.file, session.id)):
                newest = max(newest, info.modified)
        return seen.fence.issued - newest > threshold

    async def _close(self, seen: Look, reason: Reason) -> None:
        first = await self._mark_all(seen, reason)
        seen = await self._wait(seen.file, reason, first)
        sessions = await self._mark_all(seen, reason)  # those too that were opened at the last moment
        if not any(reason in seen.sessions[session].marked("closed/") for session in sessions):
            closing = _Closing(self._buckets, self._bus, self._clock, self._watch, seen.file, reason, sessions)
            await closing.run()
        await self._clock.sleep(SETTLE)  # from here on no fenced write of another closer takes effect
        if reason != "cancel":
            await self._clear_late(seen.file, reason, sessions)
        await self._delete_facts(seen.file, reason, sessions)
        ended: set[Reason] = set(PRECEDENCE[PRECEDENCE.index(reason) :])  # but a cancel that came meanwhile stays
        for fact in (closing_fact, closed_fact):
            keys = [fact_key(seen.file, session, fact(ending)) for session in sessions for ending in ended]
            await self._buckets.temp.delete_many(keys)

    async def _delete_facts(self, file: FileId, reason: Reason, sessions: Sequence[str]) -> None:
        """All but the markers, once `closed` says that nobody is to conclude anything from those that are left. Raises
        Superseded where a stronger reason came before that: who closes by it needs them."""
        seen = await look(self._buckets.temp, file, self._clock)
        if reason_of(seen) not in (reason, None):
            raise Superseded("it is to be closed by a stronger reason")
        there = [seen.sessions[session] for session in sessions if session in seen.sessions]
        await self._abort_uploads(file, there)
        facts = [fact_key(file, session.id, fact) for session in there for fact in session.facts if not is_marker(fact)]
        await self._buckets.temp.delete_many(facts)

    async def _abort_uploads(self, file: FileId, sessions: Sequence[Session]) -> None:
        """Before their records go: after that nobody can."""
        for upload in sorted({upload for session in sessions for upload in session.assemblies}):
            await self._buckets.perm.abort_multipart(file_key(file), upload)

    async def _clear_late(self, file: FileId, reason: Reason, sessions: Sequence[str]) -> None:
        """Delete what a slower closer parked of a file that this one completed or rejected, and the digest that one
        checked for a file that was not made after all."""
        seen = await look(self._buckets.temp, file, self._clock)
        done = await complete_file(self._buckets.perm, file)
        void = await void_digests(self._buckets.perm, file, done)
        if done or (reason == "reject" and await kept_apart(self._buckets.perm, seen)):
            void += await partial_keys(self._buckets.perm, file)
        if void:  # only if it is still this closing: else they may be those of an upload that came after it
            seen = await self._same_closing(file, reason, sessions)
            await self._buckets.perm.delete_many(void, fence=seen.fence)

    async def _wait(self, file: FileId, reason: Reason, sessions: Sequence[str]) -> Look:
        """Until nobody acknowledges a chunk, nor tells that it is durable, that this closer might not see (see
        `Look.kept_until`). The closing may have been marked again meanwhile, by who looked before it was marked."""
        marked = newest_marker(await self._same_closing(file, reason, sessions))
        while True:
            await self._clock.sleep(SETTLE)
            seen = await self._same_closing(file, reason, sessions)
            if newest_marker(seen) == marked:
                return seen
            marked = newest_marker(seen)

    async def _same_closing(self, file: FileId, reason: Reason, sessions: Sequence[str]) -> Look:
        """Look again: whether the closing for which this one waits is still going on."""
        seen = await look(self._buckets.temp, file, self._clock)
        if reason_of(seen) != reason or any(s not in seen.sessions or not seen.sessions[s].closing for s in sessions):
            raise Superseded("another closer finished, or it was cancelled meanwhile")
        return seen

    async def _mark_all(self, seen: Look, reason: Reason) -> list[str]:
        """The sessions that close together: all that are open or marked, so that no twin stays open. A fact that comes
        late to one that ended marks nothing: it might be the next upload that is closed by it."""
        if is_closed(seen, reason):
            # What is left is to be removed, by this closer or by another that is at it: nothing is marked any more.
            return [session.id for session in seen.sessions.values() if session.closing]
        for session in seen.unended:
            if reason not in session.closing:
                key = fact_key(seen.file, session.id, closing_fact(reason))
                await self._buckets.temp.put(key, b"", fence=seen.fence)
        return [session.id for session in seen.unended]


async def kept_apart(perm: ObjectStore, seen: Look) -> list[Source]:
    """What was kept of the open upload, which is being rejected; not of one that was rejected before."""
    opened = {session.id for session in seen.open}
    return [run for run in await rejected_runs(perm, seen.file) if run.session in opened]


class _Closing:
    """One closing of a file that nobody else writes to any more, other closers apart."""

    def __init__(
        self,
        buckets: Buckets,
        bus: EventBus,
        clock: Clock,
        watch: Watch,
        file: FileId,
        reason: Reason,
        sessions: Sequence[str],
    ) -> None:
        self._buckets = buckets
        self._bus = bus
        self._clock = clock
        self._watch = watch
        self._file = file
        self._reason: Reason = reason
        self._sessions = sessions

    async def run(self) -> None:
        temp, file = self._buckets.temp, self._file
        seen = await self._right()
        chunks = [i.key for s in self._sessions for i in await list_all(temp, chunks_prefix(file, s))]
        event = await self._keep_bytes(seen) if self._reason != "cancel" else None
        if event:  # told before the chunks go: who takes over from here on may not know any more
            self._bus.publish(event)
            self._watch.told(event)
        done = await complete_file(self._buckets.perm, file) if self._reason == "cancel" else None
        await temp.delete_many(chunks)
        await self._clear_permanent()
        fence = await self._fence()
        for session in self._sessions:
            await temp.put(fact_key(file, session, closed_fact(self._reason)), b"", fence=fence)
        if self._reason == "cancel":
            session = self._sessions[0]
            self._watch.deleted(file, session, done.size if done else total_size_of(session))

    async def _right(self) -> Look:
        """Look again: whether this closing is still to be done, and by this reason."""
        seen = await look(self._buckets.temp, self._file, self._clock)
        for session in self._sessions:
            if session not in seen.sessions or self._reason not in seen.sessions[session].marked("closing/"):
                raise Superseded("another closer finished")
        if is_closed(seen, self._reason):
            raise Superseded("another closer finished")
        if reason_of(seen) != self._reason:
            raise Superseded("cancelled meanwhile")
        return seen

    async def _fence(self) -> Fence:
        return (await self._right()).fence

    async def _keep_bytes(self, seen: Look) -> Event | None:
        """Bring the upload's bytes to permanent storage; the event that tells of it."""
        sources = await gather(self._buckets, seen)
        # Looked for once they are listed: chunks that come when the file is there, or when they were kept apart, may be
        # other bytes, and those that count are being deleted.
        kept = await self._kept_apart(seen)
        sources = kept or sources
        done = await complete_file(self._buckets.perm, self._file)
        if not done and seen.open:
            whole = Extent(0, seen.open[0].total_size)
            if not coverage(sources).covers(whole):
                return await self._merge(seen, sources)
            if self._reason == "reject":
                if not kept:
                    await self._keep_apart(seen, sources, whole)
                return await self._rejected(seen, sources, whole)
            await self._finish(seen, sources)
            done = await complete_file(self._buckets.perm, self._file)
        return completed(self._file, done) if done else None

    async def _finish(self, seen: Look, sources: Sequence[Source]) -> None:
        """All bytes are there after all: complete the file instead of parking it."""
        ready: Ready | None = Ready(None, sources)
        if not is_single(seen.open[0].total_size):
            ready = await add_parts(self._buckets, seen, await record_assembly(self._buckets, seen), sources)
        try:
            if ready:
                await finish(self._buckets, ready, self._right)
        except DigestMismatch:
            await mark(self._buckets.temp, await self._right(), "reject")
            raise Superseded("to be rejected instead") from None

    async def _merge(self, seen: Look, sources: Sequence[Source]) -> PartialFileMoved:
        """Write the bytes as a partial file of as few extents as possible, then delete the one it replaces."""
        session = seen.open[0].id  # which everybody knew who knew any of them
        prefix = partials_prefix(self._file, session)
        runs = {run_key(prefix, run): run for run in coverage(sources)}
        there = {source.key for source in sources if source.is_partial}
        for key, run in runs.items():
            if key not in there:
                await write_run(self._buckets.perm, key, sources, run, self._fence)
        replaced = sorted(there - runs.keys())
        if replaced:
            await self._buckets.perm.delete_many(replaced, fence=await self._fence())
        data = PartialFileMovedData(**self._names(session), received_bytes=sum(run.length for run in runs.values()))
        return PartialFileMoved(source="/hiper/assembler", subject=subject(self._file), data=data)

    async def _kept_apart(self, seen: Look) -> list[Source]:
        return await kept_apart(self._buckets.perm, seen) if self._reason == "reject" else []

    async def _keep_apart(self, seen: Look, sources: Sequence[Source], whole: Extent) -> None:
        """Keep the bytes, apart from everything that is read or resumed."""
        key = run_key(rejected_prefix(self._file, seen.open[0].id), whole)
        await write_run(self._buckets.perm, key, sources, whole, self._fence)

    async def _rejected(self, seen: Look, sources: Sequence[Source], whole: Extent) -> FileRejected:
        session = seen.open[0].id
        computed = await sha256_of(sources, whole.end)
        declared = ", ".join(sorted(seen.digests))
        data = FileRejectedData(**self._names(session), declared=declared, computed=computed)
        return FileRejected(source="/hiper/assembler", subject=subject(self._file), data=data)

    def _names(self, session: str) -> dict[str, str]:
        return {"owner": self._file.owner, "filename": self._file.filename, "session": session}

    async def _clear_permanent(self) -> None:
        """Delete what ends with the uploads: everything of the name for a cancel, else the partial file if it was
        built into something else. The final object first, so that no late assembler can bring it back."""
        perm, file, prefixes = self._buckets.perm, self._file, [partials_prefix]
        if self._reason == "cancel":
            prefixes += [digests_prefix, rejected_prefix]
            await perm.delete_many([file_key(file)], fence=await self._fence())
        elif not await complete_file(perm, file) and not await self._kept_apart(await self._right()):
            return
        for prefix in prefixes:
            keys = [info.key for info in await list_all(perm, prefix(file))]
            if keys:
                await perm.delete_many(keys, fence=await self._fence())
