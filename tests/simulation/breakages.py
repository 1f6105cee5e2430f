"""Deliberate breakages of the code under test, one rule each. The simulation has to catch every one of them."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, replace
from typing import Any, Protocol
from unittest.mock import patch

from libs.common import look
from libs.common.extents import Extent, Extents
from libs.common.gather import Assembly, Piece, complete_file, partial_keys, rejected_runs
from libs.common.layout import (
    FileId,
    Reason,
    chunk_key,
    chunks_prefix,
    closing_fact,
    fact_key,
    file_key,
    part_extent,
)
from libs.common.look import Look
from libs.common.store import Buckets, list_all
from services.assembler import advance, assembly, closing
from services.assembler.advance import Advancer
from services.assembler.closing import PRECEDENCE, Closer, _Closing, reason_of
from services.ingest import compare, reading, writing
from services.ingest.cancelling import Canceller
from services.ingest.recent import RecentFiles
from services.ingest.view import Complete, View, Views
from services.ingest.writing import ChunkWriter
from services.janitor.sweeping import Janitor
from tests.simulation.bucket import Bucket
from tests.simulation.loop import ProcessClock
from tests.simulation.store import SimStore, kind

Patches = Callable[[], Iterator[AbstractContextManager[Any]]]


@dataclass(frozen=True)
class Breakage:
    """`rare`: it is caught by one history of many thousands, if by any, and has a unit test of its own."""

    patches: Patches
    rare: bool = False

    @contextmanager
    def applied(self) -> Iterator[None]:
        with ExitStack() as stack:
            for each in self.patches():
                stack.enter_context(each)
            yield


BREAKAGES: dict[str, Breakage] = {}


class Define(Protocol):
    def __call__(self, patches: Patches) -> Patches: ...


def breakage(name: str, *, rare: bool = False) -> Define:
    def define(patches: Patches) -> Patches:
        BREAKAGES[name] = Breakage(patches, rare)
        return patches

    return define


# -- chunks and their acknowledgement


@breakage("acknowledge before the put")
def _() -> Iterator[AbstractContextManager[Any]]:
    put_all = ChunkWriter._put_all

    async def later(self: ChunkWriter, *args: Any) -> None:
        writing.asyncio.create_task(put_all(self, *args))  # type: ignore[attr-defined]

    yield patch.object(ChunkWriter, "_put_all", later)


@breakage("skip the lease check")
def _() -> Iterator[AbstractContextManager[Any]]:
    yield patch.object(Look, "expired", lambda self, now: False)


@breakage("acknowledge a repeated chunk of a file on any look")
def _() -> Iterator[AbstractContextManager[Any]]:
    repeat = ChunkWriter._repeat_of_file

    async def at_once(self: ChunkWriter, chunk: Any, entry: Any, found: Complete) -> Any:
        endless = replace(found, look=replace(found.look, seen_at=float("inf")))
        return await repeat(self, chunk, entry, endless)

    yield patch.object(ChunkWriter, "_repeat_of_file", at_once)


@breakage("fold with an off-by-one")
def _() -> Iterator[AbstractContextManager[Any]]:
    def offset(self: View) -> int:
        end = self.durable.prefix_end()
        return min(end + 1, self.total_size) if end else 0

    yield patch.object(View, "offset", property(offset))


@breakage("overwrite a chunk: no digest in its key")
def _() -> Iterator[AbstractContextManager[Any]]:
    def key(file: FileId, session: str, extent: Extent, sha256_hex: str, attempt: str = "") -> str:
        return chunk_key(file, session, extent, "0" * 64)

    yield patch.object(writing, "chunk_key", key)


@breakage("a chunk that is put again renews the one that is there")
def _() -> Iterator[AbstractContextManager[Any]]:
    yield patch.object(writing, "new_attempt", lambda: "")


@breakage("do not compare with what is stored")
def _() -> Iterator[AbstractContextManager[Any]]:
    async def never(payload: Any, piece: Piece, known: Mapping[Extent, str]) -> bool:
        return True

    yield patch.object(compare, "_same", never)


@breakage("a writer that joins does not wait")
def _() -> Iterator[AbstractContextManager[Any]]:
    async def never(self: Views, *args: Any) -> None: ...

    yield patch.object(Views, "settle", never)


@breakage("every writer believes that it is alone")
def _() -> Iterator[AbstractContextManager[Any]]:
    yield patch.object(Views, "alone", lambda self, view, entry: True)


@breakage("forget that a put failed")
def _() -> Iterator[AbstractContextManager[Any]]:
    yield patch.object(Views, "alone", lambda self, view, entry: view.look.writers == {self.replica})


@breakage("a clock that stops while its process is paused")
def _() -> Iterator[AbstractContextManager[Any]]:
    yield patch.object(ProcessClock, "stops", True)


# -- assembling


@breakage("delete chunks before the final object exists")
def _() -> Iterator[AbstractContextManager[Any]]:
    finish = Advancer._finish

    async def eager(self: Advancer, seen: Look, ready: Any) -> Any:
        if ready.assembly:
            for session in seen.sessions:
                chunks = await list_all(self._buckets.temp, chunks_prefix(seen.file, session))
                await self._buckets.temp.delete_many([info.key for info in chunks])
        return await finish(self, seen, ready)

    yield patch.object(Advancer, "_finish", eager)


@breakage("trust filled_parts without looking")
def _() -> Iterator[AbstractContextManager[Any]]:
    """Parts that a hint names are taken for full, and what is missing of them for zeros."""
    trusted = advance.Advancer._sources_of

    async def sources_of(self: Advancer, seen: Look, parts: Any) -> Any:
        found = await trusted(self, seen, parts)
        hinted.extend(part_extent(seen.open[0].total_size, part) for part in parts)
        return found

    hinted: list[Extent] = []
    covers = Extents.covers

    def full(self: Extents, extent: Extent) -> bool:
        return extent in hinted or covers(self, extent)

    yield patch.object(advance.Advancer, "_sources_of", sources_of)
    yield patch.object(Extents, "covers", full)


@breakage("keep only the multipart upload")
def _() -> Iterator[AbstractContextManager[Any]]:
    add = assembly.add_parts

    async def add_parts(buckets: Buckets, look: Look, found: Assembly, sources: Any) -> Any:
        ready = await add(buckets, look, found, sources)
        parts = [part_extent(look.open[0].total_size, part) for part in found.parts]
        inside = [s.key for s in sources if not s.is_partial and any(Extents([p]).covers(s.extent) for p in parts)]
        await buckets.temp.delete_many(inside)
        return ready

    yield patch.object(advance, "add_parts", add_parts)


@breakage("adopt another session's multipart upload")
def _() -> Iterator[AbstractContextManager[Any]]:
    from libs.common.gather import find_assembly as find

    async def any_of_that_name(perm: SimStore, look: Look) -> Assembly | None:
        found = await find(perm, look)
        there = [i for i, upload in perm._bucket.uploads.items() if upload.key == file_key(look.file)]
        if found or not there or any(session.assemblies for session in look.open):
            return found
        parts = await perm.list_parts(file_key(look.file), there[0])
        return Assembly(there[0], {part.number - 1: part for part in parts})

    yield patch.object(assembly, "find_assembly", any_of_that_name)


@breakage("do not look for a declared digest")
def _() -> Iterator[AbstractContextManager[Any]]:
    yield patch.object(Look, "digests", property(lambda self: set()))


@breakage("of two that contradict, the newer counts")
def _() -> Iterator[AbstractContextManager[Any]]:
    def newest_first(sources: Any, wanted: Extent) -> Any:
        turned = [replace(source, modified=-source.modified) for source in sources]
        return plan(turned, wanted)

    from libs.common.gather import plan
    from services.assembler import runs

    yield patch.object(runs, "plan", newest_first)


# -- fences


def _unfenced(*kinds: str) -> Iterator[AbstractContextManager[Any]]:
    for name in ("put", "complete_multipart", "delete_many"):
        call = getattr(SimStore, name)

        def without(self: SimStore, key: Any, *args: Any, call: Any = call, **kwargs: Any) -> Any:
            if kind(key if isinstance(key, str) else key[0] if key else "") in kinds:
                kwargs.pop("fence", None)
            return call(self, key, *args, **kwargs)

        yield patch.object(SimStore, name, without)


@breakage("no fence on the final object")
def _() -> Iterator[AbstractContextManager[Any]]:
    yield from _unfenced("files")


@breakage("no fence on partials")
def _() -> Iterator[AbstractContextManager[Any]]:
    yield from _unfenced("partials")


@breakage("no fence on a late cancel")
def _() -> Iterator[AbstractContextManager[Any]]:
    yield from _unfenced("closing/cancel")


@breakage("no fence on the end of a closing", rare=True)
def _() -> Iterator[AbstractContextManager[Any]]:
    yield from _unfenced("closed")


@breakage("no fence on the opening of an upload", rare=True)
def _() -> Iterator[AbstractContextManager[Any]]:
    yield from _unfenced("open")


# -- closing


class _Impatient:
    """A clock that does not sleep the n-th time."""

    def __init__(self, clock: Any, skipped: int) -> None:
        self._clock = clock
        self._skipped = skipped

    def monotonic(self) -> float:
        return float(self._clock.monotonic())

    async def sleep(self, seconds: float) -> None:
        self._skipped -= 1
        if self._skipped != -1:
            await self._clock.sleep(seconds)


def _without_wait(number: int) -> Iterator[AbstractContextManager[Any]]:
    close = Closer._close

    async def hasty(self: Closer, seen: Look, reason: Reason) -> None:
        await close(Closer(self._buckets, self._bus, _Impatient(self._clock, number), self._watch), seen, reason)  # type: ignore[arg-type]

    yield patch.object(Closer, "_close", hasty)


@breakage("park without waiting")
def _() -> Iterator[AbstractContextManager[Any]]:
    yield from _without_wait(0)


@breakage("remove the markers without waiting")
def _() -> Iterator[AbstractContextManager[Any]]:
    yield from _without_wait(1)


@breakage("answer a cancel without waiting")
def _() -> Iterator[AbstractContextManager[Any]]:
    async def at_once(_self: Canceller) -> None:
        pass

    yield patch.object(Canceller, "wait", at_once)


@breakage("one key for all closing reasons")
def _() -> Iterator[AbstractContextManager[Any]]:
    put = Bucket.put

    def overwrite(self: Bucket, key: str, *args: Any) -> None:
        put(self, key, *args)
        if kind(key).startswith("closing/"):
            siblings = key.rpartition("/")[0] + "/"
            for other in [k for k in self.objects if k.startswith(siblings) and k != key]:
                self.delete(other, None)

    yield patch.object(Bucket, "put", overwrite)


@breakage("remove another's marker")
def _() -> Iterator[AbstractContextManager[Any]]:
    close = Closer._close

    async def all_of_them(self: Closer, seen: Look, reason: Reason) -> None:
        await close(self, seen, reason)
        facts = [fact_key(seen.file, s, closing_fact(other)) for s in seen.sessions for other in PRECEDENCE]
        await self._buckets.temp.delete_many(facts)

    async def unaware(self: Closer, file: FileId, reason: Reason, sessions: Any) -> None:
        await delete_facts(self, file, reason_of(await look.look(self._buckets.temp, file, self._clock)), sessions)

    delete_facts: Any = Closer._delete_facts
    yield patch.object(Closer, "_close", all_of_them)
    yield patch.object(Closer, "_delete_facts", unaware)


@breakage("do not abort multipart uploads")
def _() -> Iterator[AbstractContextManager[Any]]:
    async def never(self: Closer, file: FileId, sessions: Any) -> None: ...

    yield patch.object(Closer, "_abort_uploads", never)


@breakage("delete the old partial file before the new one is written")
def _() -> Iterator[AbstractContextManager[Any]]:
    merge = _Closing._merge

    async def delete_first(self: _Closing, seen: Look, sources: Any) -> Any:
        old = await partial_keys(self._buckets.perm, seen.file)
        done = await merge(self, seen, [s for s in sources if not s.is_partial])
        await self._buckets.perm.delete_many(old)
        return done

    yield patch.object(_Closing, "_merge", delete_first)


@breakage("mark sessions that ended", rare=True)
def _() -> Iterator[AbstractContextManager[Any]]:
    yield patch.object(Look, "unended", property(lambda self: list(self.sessions.values())))


@breakage("forget an upload before its closing is marked as done")
def _() -> Iterator[AbstractContextManager[Any]]:
    clear = _Closing._clear_permanent

    async def forget(self: _Closing) -> None:
        closer = Closer(self._buckets, self._bus, self._clock, self._watch)
        await closer._delete_facts(self._file, self._reason, self._sessions)
        await clear(self)

    yield patch.object(_Closing, "_clear_permanent", forget)


@breakage("a rejection deletes the partial file, whatever became of it", rare=True)
def _() -> Iterator[AbstractContextManager[Any]]:
    clear = _Closing._clear_permanent

    async def all_of_it(self: _Closing) -> None:
        await clear(self)
        if self._reason == "reject":
            runs = await partial_keys(self._buckets.perm, self._file)
            await self._buckets.perm.delete_many(runs, fence=await self._fence())

    yield patch.object(_Closing, "_clear_permanent", all_of_it)


@breakage("what was kept of any rejected upload is that of this one")
def _() -> Iterator[AbstractContextManager[Any]]:
    async def any_of_them(perm: Any, seen: Look) -> Any:
        return await rejected_runs(perm, seen.file)

    yield patch.object(closing, "kept_apart", any_of_them)


@breakage("leave the mark of a digest that was checked for nothing", rare=True)
def _() -> Iterator[AbstractContextManager[Any]]:
    async def none(perm: Any, file: FileId, done: Any) -> list[str]:
        return []

    yield patch.object(closing, "void_digests", none)


@breakage("look for the file before its chunks are listed")
def _() -> Iterator[AbstractContextManager[Any]]:
    advancing = Advancer.advance
    looked: ContextVar[Any] = ContextVar("looked")

    async def advance_of(self: Advancer, file: FileId, *args: Any) -> bool:
        looked.set(await complete_file(self._buckets.perm, file))
        return await advancing(self, file, *args)

    async def found_before(perm: Any, file: FileId) -> Any:
        return looked.get()

    yield patch.object(Advancer, "advance", advance_of)
    yield patch.object(advance, "complete_file", found_before)


# -- sweeping and reading


@breakage("delete orphans at once, without a second look")
def _() -> Iterator[AbstractContextManager[Any]]:
    """Without the age as well: either alone is enough, for a chunk older than the sweep's time is a chunk of a session
    that the sweep's listing shows, if it is open."""
    from libs.common import sweep

    async def delete(self: Janitor, file: FileId, session: str, now: float) -> None:
        chunks = await list_all(self.buckets.temp, chunks_prefix(file, session))
        await self.buckets.temp.delete_many([info.key for info in chunks])

    find = sweep.findings

    def all_orphans(swept: Any, now: float, ages: Any) -> Any:
        for finding in find(swept, now, ages):
            if finding.need is not sweep.Need.ORPHANS:
                yield finding
        for session in swept.chunks.keys() - swept.sessions.keys():
            yield sweep.Finding(sweep.Need.ORPHANS, swept.file, session, 0.0, "no session")

    from services.janitor import sweeping

    yield patch.object(Janitor, "_delete_chunks", delete)
    yield patch.object(sweeping, "findings", all_orphans)


@breakage("a download goes on in whatever file has the name", rare=True)
def _() -> Iterator[AbstractContextManager[Any]]:
    yield patch.object(reading, "is_of", lambda state, done: done.size == state.total_size)


@breakage("a status counts chunks that came too late for the closer", rare=True)
def _() -> Iterator[AbstractContextManager[Any]]:
    yield patch.object(Look, "kept_until", float("inf"))


# -- acting on what was looked at before


@breakage("a read acts on a look for ever")
def _() -> Iterator[AbstractContextManager[Any]]:
    def known(self: RecentFiles, file: FileId) -> Any:
        return self._known[file].state if file in self._known else None

    yield patch.object(RecentFiles, "within_lease", known)


@breakage("no upload looks for a partial file below it")
def _() -> Iterator[AbstractContextManager[Any]]:
    yield patch.object(look, "is_plain", lambda session: True)
