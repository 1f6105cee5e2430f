"""Deliberate breakages of the code under test, one rule each. The simulation has to catch every one of them."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from dataclasses import dataclass, replace
from typing import Any, Protocol
from unittest.mock import patch

from libs.common.bus.events import ChunkReceivedData
from libs.common.files.extents import Extent
from libs.common.storage import LEASE, Fence, FenceExpired, ObjectInfo, StoreUnavailable
from libs.common.storage.filesystem import FilesystemStore
from libs.common.uploads import assembling, cancelling, parking, records, stock, tidying, writing
from libs.common.uploads.assembling import Assembler
from libs.common.uploads.cancelling import Ended
from libs.common.uploads.layout import chunk_key, file_key
from libs.common.uploads.outcomes import About, completed
from libs.common.uploads.reading import FileReader
from libs.common.uploads.record import Record
from libs.common.uploads.records import Look, Records
from libs.common.uploads.states import FileState
from libs.common.uploads.stock import Stock, take_stock
from libs.common.uploads.tools import Tools
from libs.common.uploads.view import View, Views
from libs.common.uploads.writing import ChunkWriter
from services.assembler import handling
from services.janitor import sweeping
from tests.simulation.bucket import Bucket
from tests.simulation.store import SimStore

Patches = Callable[[], Iterator[AbstractContextManager[Any]]]


@dataclass(frozen=True)
class Breakage:
    """`seed`: of a history near which one catches it. Where that takes too many of them, `test` in tests/uploads
    arranges the meeting, and fails with the breakage on."""

    patches: Patches
    seed: int = 0
    test: str = ""

    @contextmanager
    def applied(self) -> Iterator[None]:
        with ExitStack() as stack:
            for each in self.patches():
                stack.enter_context(each)
            yield


BREAKAGES: dict[str, Breakage] = {}


class Define(Protocol):
    def __call__(self, patches: Patches) -> Patches: ...


def breakage(name: str, *, seed: int = 0, test: str = "") -> Define:
    def define(patches: Patches) -> Patches:
        BREAKAGES[name] = Breakage(patches, seed, test)
        return patches

    return define


# -- rule 1: every change is a compare-and-swap, rests on a look, and is fenced


@breakage("records are written without a condition")
def _() -> Iterator[AbstractContextManager[Any]]:
    check = Bucket.check_condition

    def unless_record(self: Bucket, key: str, absent: bool, match: str) -> None:
        if not key.startswith("uploads/"):
            check(self, key, absent, match)

    yield patch.object(Bucket, "check_condition", unless_record)


@breakage("writes with an expired fence are accepted", seed=114)
def _() -> Iterator[AbstractContextManager[Any]]:
    def accept(self: SimStore, fence: Fence | None) -> None:
        pass

    yield patch.object(SimStore, "_accept", accept)


@breakage(
    "a refused or unanswered write is never recognized as one's own",
    test="test_records.py::test_a_write_without_an_answer_is_found_out",
)
def _() -> Iterator[AbstractContextManager[Any]]:
    swap = Records.swap

    async def forgetful(self: Records, seen: Look, new: Record) -> Look | None:
        done = await swap(self, seen, new)
        return done if done and done.written_at is not None else None

    yield patch.object(Records, "swap", forgetful)


# -- rule 2: a record that was created because nothing was there is confirmed afterwards


@breakage("the replica that opens does not look whether a file is there")
def _() -> Iterator[AbstractContextManager[Any]]:
    async def blind(self: Records, seen: Look) -> Look | None:
        return await self.change(seen, state="open" if seen.record.session else "closed")

    yield patch.object(Records, "settle", blind)


@breakage(
    "a whole file is acknowledged without a second look at the record",
    test="test_races.py::test_a_whole_file_that_meets_an_upload_of_its_name_is_not_acknowledged",
)
def _() -> Iterator[AbstractContextManager[Any]]:
    at_once = writing._Request._at_once

    async def acknowledged(self: Any, seen: Look) -> Any:
        async def same(*_: Any) -> Look:
            return seen

        with patch.object(self._records, "look", same):
            return await at_once(self, seen)

    yield patch.object(writing._Request, "_at_once", acknowledged)


# -- rule 3: a file is created where none is, and not before `quiet`


@breakage(
    "the file is written over another one",
    test="test_races.py::test_a_file_that_is_there_is_never_written_over",
)
def _() -> Iterator[AbstractContextManager[Any]]:
    check = Bucket.check_condition

    def unless_file(self: Bucket, key: str, absent: bool, match: str) -> None:
        if not key.startswith("files/"):
            check(self, key, absent, match)

    yield patch.object(Bucket, "check_condition", unless_file)
    for method in ("put", "complete_multipart"):
        yield patch.object(FilesystemStore, method, _without_condition(getattr(FilesystemStore, method)))


def _without_condition(write: Any) -> Any:
    async def unconditional(self: Any, key: str, *rest: Any, absent: bool = False, **how: Any) -> Any:
        return await write(self, key, *rest, absent=absent and not key.startswith("files/"), **how)

    return unconditional


@breakage(
    "a file is made while an announced delete is under way",
    test="test_races.py::test_a_deleted_file_does_not_come_back_by_a_late_copy_of_the_delete",
)
def _() -> Iterator[AbstractContextManager[Any]]:
    change = Records.change

    async def without_quiet(self: Records, seen: Look, **changes: Any) -> Look | None:
        return await change(self, seen, **{name: value for name, value in changes.items() if name != "quiet"})

    yield patch.object(Records, "change", without_quiet)


@breakage("the file is not looked at before it is called complete")
def _() -> Iterator[AbstractContextManager[Any]]:
    close = Assembler._close

    async def trusting(self: Assembler, made: Look) -> bool:
        there = Records.file

        async def as_hoped(records: Records, name: Any) -> ObjectInfo | None:
            real = await there(records, name)
            return real or _as_hoped(made.record)

        with patch.object(Records, "file", as_hoped):
            return await close(self, made)

    yield patch.object(Assembler, "_close", trusting)


def _as_hoped(record: Record) -> ObjectInfo:
    return ObjectInfo("", record.total_size or 0, 0.0, metadata={"session": record.session})


@breakage("another session's leftover counts as the file")
def _() -> Iterator[AbstractContextManager[Any]]:
    close = Assembler._close

    async def any_file(self: Assembler, made: Look) -> bool:
        with patch.object(assembling, "session_of", lambda done: made.record.session):
            return await close(self, made)

    yield patch.object(Assembler, "_close", any_file)


@breakage("the digest is not checked")
def _() -> Iterator[AbstractContextManager[Any]]:
    async def believed(self: Assembler, record: Record, sources: Any) -> str:
        return record.digest

    yield patch.object(Assembler, "_computed", believed)


# -- rule 4: a file is deleted only by a process that announced it


@breakage(
    "the file is deleted before the record says so",
    test="test_races.py::test_a_file_is_deleted_only_once_the_record_says_so",
)
def _() -> Iterator[AbstractContextManager[Any]]:
    delete = Records.delete_file

    async def at_once(self: Records, seen: Look, **changes: Any) -> Look | None:
        with suppress(FenceExpired, StoreUnavailable):
            await self._perm.delete_many([file_key(seen.file)], fence=seen.fence)
        return await delete(self, seen, **changes)

    yield patch.object(Records, "delete_file", at_once)


# -- rule 5: the record is deleted only after a swap that says `removing`


@breakage(
    "a record that is being removed is taken over at once",
    test="test_races.py::test_a_record_that_is_being_removed_is_not_taken_over",
)
def _() -> Iterator[AbstractContextManager[Any]]:
    begin = writing._Request._begin

    async def hasty(self: Any, seen: Look) -> Any:
        return await begin(self, replace(seen, record=seen.record.changed(removing=0.0)))

    yield patch.object(writing._Request, "_begin", hasty)


@breakage(
    "a record without a file is removed at once",
    test="test_sweeping.py::TestActing::test_a_closed_record_goes_when_nothing_is_left_to_be_said",
)
def _() -> Iterator[AbstractContextManager[Any]]:
    yield patch.object(tidying, "KEPT_CLOSED", 0.0)


# -- rule 6: an acknowledgement needs a look within its lease


@breakage("looks are believed for ever")
def _() -> Iterator[AbstractContextManager[Any]]:
    yield patch.object(Look, "expired", False)


@breakage("a chunk is acknowledged before it is stored")
def _() -> Iterator[AbstractContextManager[Any]]:
    put = writing._Request._put

    async def later(self: Any, record: Record, new: Any) -> None:
        self._writer.background = getattr(self._writer, "background", [])
        chance = len(self._writer.background) % 5
        self._writer.background.append(None)
        if chance:
            await put(self, record, new)

    yield patch.object(writing._Request, "_put", later)


# -- rule 7: nothing is refused on a remembered look


@breakage(
    "a chunk is refused on a remembered record", test="test_races.py::test_nothing_is_refused_on_a_remembered_record"
)
def _() -> Iterator[AbstractContextManager[Any]]:
    yield patch.object(View, "looked_since", lambda *_: True)


@breakage(
    "different bytes are acknowledged by one replica",
    test="test_races.py::test_bytes_that_contradict_are_refused_by_a_replica_and_rejected_by_the_assembler",
)
def _() -> Iterator[AbstractContextManager[Any]]:
    async def same(*_: Any) -> None:
        pass

    yield patch.object(writing, "refuse_difference", same)
    yield patch.object(writing, "refuse_difference_from_file", same)


# -- rule 8: times count from the answer of a swap


@breakage("a cancel is answered at once")
def _() -> Iterator[AbstractContextManager[Any]]:
    settle = cancelling.settle

    async def hasty(tools: Tools, ended: Ended) -> None:
        await settle(tools, replace(ended, seen=replace(ended.seen, written_at=-1e9)))

    yield patch.object(cancelling, "settle", hasty)


@breakage(
    "a reader says within a lease that a name is closed",
    test="test_reading.py::test_a_name_is_not_found_only_once_no_replica_can_acknowledge_a_chunk_of_it",
)
def _() -> Iterator[AbstractContextManager[Any]]:
    state = FileReader._state

    async def hasty(self: FileReader, seen: Look) -> FileState | None:
        return await state(self, replace(seen, written_at=-1e9))

    yield patch.object(FileReader, "_state", hasty)


@breakage(
    "a closed name is opened again within a lease",
    test="test_races.py::test_a_name_that_was_closed_a_moment_ago_opens_a_lease_later",
)
def _() -> Iterator[AbstractContextManager[Any]]:
    begin = writing._Request._begin

    async def hasty(self: Any, seen: Look) -> Any:
        return await begin(self, replace(seen, written_at=-1e9))

    yield patch.object(writing._Request, "_begin", hasty)


# -- rule 9: a listing counts only if the record is still the same afterwards


@breakage("a reader believes a listing without looking again", seed=70)
def _() -> Iterator[AbstractContextManager[Any]]:
    progress = FileReader._in_progress

    async def believing(self: FileReader, seen: Look) -> FileState | None:
        async def same(file: Any, known: Look | None = None) -> Look:
            return known or seen

        with patch.object(self._records, "look", same):
            return await progress(self, seen)

    yield patch.object(FileReader, "_in_progress", believing)


@breakage(
    "a reader believes a file without looking again whether there is a record",
    test="test_reading.py::test_a_file_that_is_deleted_while_its_status_is_asked_for_is_not_shown",
)
def _() -> Iterator[AbstractContextManager[Any]]:
    without = FileReader._without_record

    async def believing(self: FileReader, seen: Look) -> FileState | None:
        async def same(file: Any, known: Look | None = None) -> Look:
            return seen

        with patch.object(self._records, "look", same):
            return await without(self, seen)

    yield patch.object(FileReader, "_without_record", believing)


# -- rule 10: replace first, delete afterwards


@breakage("chunks are deleted before the record names the runs")
def _() -> Iterator[AbstractContextManager[Any]]:
    replace_by_runs = parking._replace_by_runs

    async def hasty(tools: Tools, seen: Look, stock: Stock) -> Look | None:
        change = tools.records.change

        async def deleted_first(look: Look, **changes: Any) -> Look | None:
            await tools.buckets.temp.delete_many([source.key for source in stock.sources if source.digest])
            return await change(look, **changes)

        with patch.object(tools.records, "change", deleted_first):
            return await replace_by_runs(tools, seen, stock)

    yield patch.object(parking, "_replace_by_runs", hasty)


@breakage("chunks are deleted before the record names the file")
def _() -> Iterator[AbstractContextManager[Any]]:
    finished = Assembler._finished

    async def hasty(self: Assembler, seen: Look, done: ObjectInfo) -> bool:
        await self._dispose(seen, done)
        return await finished(self, seen, done)

    yield patch.object(Assembler, "_finished", hasty)


@breakage("the sweep reads the record before it lists chunks")
def _() -> Iterator[AbstractContextManager[Any]]:
    tidy, look = tidying.tidy, Records.look

    async def in_the_wrong_order(tools: Tools, file: Any) -> bool:
        seen = await look(tools.records, file)

        async def before(name: Any, known: Look | None = None) -> Look:
            return seen

        with patch.object(tools.records, "look", before):
            return await tidy(tools, file)

    yield patch.object(handling, "tidy", in_the_wrong_order)
    yield patch.object(sweeping, "tidy", in_the_wrong_order)


@breakage(
    "runs are named however old they are",
    test="test_ending.py::TestParking::test_runs_that_took_long_to_write_are_not_named",
)
def _() -> Iterator[AbstractContextManager[Any]]:
    yield patch.object(parking, "can_be_named", lambda *_: True)


@breakage("parking moves only what is gap-free")
def _() -> Iterator[AbstractContextManager[Any]]:
    async def prefix_only(*args: Any, every: bool = False) -> Stock:
        stock = await take_stock(*args, every=every)
        end = stock.durable.prefix_end()
        return stock._replace(durable=type(stock.durable)([Extent(0, end)]))

    yield patch.object(parking, "take_stock", prefix_only)


# -- outcomes: the feed tells each that became true, and no other


@breakage("the feed tells of a file before the record names it")
def _() -> Iterator[AbstractContextManager[Any]]:
    finished = Assembler._finished

    async def hasty(self: Assembler, seen: Look, done: ObjectInfo) -> bool:
        await self._tools.tell(seen, completed(seen.file, About.of(done), "/hiper/assembler"))
        return await finished(self, seen, done)

    yield patch.object(Assembler, "_finished", hasty)


@breakage(
    "a record says that an outcome was told before it is",
    test="test_outcomes.py::test_a_sweep_finds_a_parked_upload_that_owes_its_outcome",
)
def _() -> Iterator[AbstractContextManager[Any]]:
    async def hasty(self: Tools, seen: Look, **changes: Any) -> Look | None:
        changed = await self.records.change(seen, owes=(), **changes)
        if changed:
            await self.tell(changed, *seen.record.owes)
        return changed

    yield patch.object(Tools, "pay", hasty)


@breakage(
    "a whole file is acknowledged before the feed tells it",
    test="test_outcomes.py::test_a_file_in_one_request_is_told_before_it_is_acknowledged",
)
def _() -> Iterator[AbstractContextManager[Any]]:
    tell = Tools.tell

    async def later(self: Tools, seen: Look, *outcomes: Any, again: bool = False) -> None:
        with suppress(StoreUnavailable):
            await tell(self, seen, *outcomes, again=again)

    yield patch.object(Tools, "tell", later)


# -- what no rule names, and the device relies on


@breakage(
    "a replica does not list where it sees a gap",
    test="test_races.py::test_the_offset_counts_what_another_replica_stored_in_between",
)
def _() -> Iterator[AbstractContextManager[Any]]:
    yield patch.object(View, "has_gap_before", lambda *_: False)


@breakage("next_expected_byte counts what is beyond a gap")
def _() -> Iterator[AbstractContextManager[Any]]:
    write = ChunkWriter.write

    async def boastful(self: ChunkWriter, chunk: Any) -> Any:
        ack = await write(self, chunk)
        return replace(ack, offset=max(ack.offset, chunk.extent.end))

    yield patch.object(ChunkWriter, "write", boastful)


@breakage(
    "a chunk's key does not tell its bytes",
    test="test_races.py::test_bytes_that_come_late_do_not_take_the_place_of_those_that_were_acknowledged",
)
def _() -> Iterator[AbstractContextManager[Any]]:
    def alike(file: Any, session: str, part: int, extent: Extent, sha256: str) -> str:
        return chunk_key(file, session, part, extent, "0" * 64)

    yield patch.object(writing, "chunk_key", alike)


@breakage(
    "an object that is shorter than its key says counts",
    test="test_short_objects.py::test_it_is_not_shown_as_durable_and_not_acknowledged",
)
def _() -> Iterator[AbstractContextManager[Any]]:
    among = stock.chunks_among

    def any_size(temp: Any, found: Any) -> Any:
        return among(temp, [(key, replace(info, size=key.extent.length)) for key, info in found])

    yield patch.object(stock, "chunks_among", any_size)


@breakage(
    "a file that is shorter than it says counts",
    test="test_short_objects.py::test_a_file_of_a_replica_that_died_while_it_put_it_does_not_count_and_is_replaced",
)
def _() -> Iterator[AbstractContextManager[Any]]:
    for module in (assembling, records, writing):
        yield patch.object(module, "is_whole", lambda _: True)


@breakage(
    "contradicting extents are not looked for",
    test="test_races.py::test_bytes_that_contradict_are_refused_by_a_replica_and_rejected_by_the_assembler",
)
def _() -> Iterator[AbstractContextManager[Any]]:
    async def none(*_: Any) -> None:
        return None

    yield patch.object(assembling, "contradicting", none)


@breakage(
    "a download goes on with another upload's bytes",
    test="test_reading.py::test_a_download_keeps_to_its_upload",
)
def _() -> Iterator[AbstractContextManager[Any]]:
    plan = FileReader._plan

    async def whichever(self: FileReader, state: FileState, piece: Extent) -> Any:
        seen = await self._records.look(state.file)
        return await plan(self, replace(state, session=seen.record.session or state.session), piece)

    yield patch.object(FileReader, "_plan", whichever)


@breakage(
    "a fence lasts half a lease longer",
    test="test_records.py::test_a_write_that_comes_later_than_a_lease_after_its_look_has_no_effect",
)
def _() -> Iterator[AbstractContextManager[Any]]:
    fence = Look.fence.fget  # type: ignore[attr-defined]
    yield patch.object(Look, "fence", property(lambda self: Fence(fence(self).issued + LEASE / 2)))


@breakage(
    "a chunk that is heard of counts for whatever upload is there",
    test="test_late_requests.py::test_late_news_of_an_ended_upload_says_nothing_of_the_next_one",
)
def _() -> Iterator[AbstractContextManager[Any]]:
    def credulous(self: Views, chunk: ChunkReceivedData) -> None:
        view = self._in_use.get(chunk.file)
        if view:
            view.held.durable.add(Extent(chunk.start, chunk.start + chunk.length))

    yield patch.object(Views, "hear", credulous)
