"""Events are nudges: what they name is looked at, what can never succeed is poison, what is away is waited for."""

import asyncio

import pytest

from libs.common.bus import Poison
from libs.common.bus.memory import MemoryBus
from libs.common.events import (
    ChunkReceived,
    ChunkReceivedData,
    Event,
    FileCompleted,
    FileCompletedData,
    SessionCancelled,
    SessionData,
    SessionStale,
)
from libs.common.gather import complete_file
from libs.common.layout import FileId, fact_key, new_session
from libs.common.problems import Kind
from libs.common.store import ObjectNotFound, StoreUnavailable, UploadNotFound
from libs.common.sweep import Need, store_time
from services.assembler.assembly import Superseded
from services.assembler.handling import Assembler, Locks
from services.assembler.worker import Worker
from tests.unit.core.test_janitor import age
from tests.unit.core.uploads import DATA, TOTAL, WRONG, upload_all, upload_gap, upload_wrong
from tests.unit.core.world import AGES, FILE, STALE, Node, World, refused


def chunk_received(session: str, offset: int, *filled: int) -> ChunkReceived:
    data = ChunkReceivedData(
        owner=FILE.owner,
        filename=FILE.filename,
        session=session,
        start=0,
        length=4,
        offset=offset,
        filled_parts=list(filled),
    )
    return ChunkReceived(source="/test", subject="x", data=data)


def names(session: str = "") -> SessionData:
    return SessionData(owner=FILE.owner, filename=FILE.filename, session=session)


class TestHandling:
    async def test_a_chunk_that_fills_nothing_costs_nothing(self, world: World, node: Node) -> None:
        ack = await node.send(0, DATA[:4], TOTAL)
        assembler = world.node()
        await assembler.assembler.handle(chunk_received(ack.session, 4))
        assert assembler.hooks.calls == []

    async def test_a_chunk_that_fills_a_part_gets_it_assembled(self, world: World, node: Node) -> None:
        ack = await node.send(0, DATA[:12], TOTAL)
        await node.assembler.handle(chunk_received(ack.session, 12, 0))
        assert node.hooks.count("put_part") == 1

    async def test_the_last_byte_gets_the_file_assembled_whatever_the_hint(self, world: World, node: Node) -> None:
        ack = await node.send_all(DATA)
        await node.assembler.handle(chunk_received(ack.session, TOTAL, 2))
        assert await world.final() == DATA

    async def test_a_file_with_a_wrong_digest_is_rejected_at_once(self, world: World, node: Node) -> None:
        ack = await node.send_all(DATA, declared=WRONG)
        await node.assembler.handle(chunk_received(ack.session, TOTAL, 2))
        await refused(Kind.REJECTED, node.reader.state(FILE))
        assert await world.left() == []

    async def test_a_cancelled_file_is_closed(self, world: World, node: Node) -> None:
        await upload_gap(world)
        await node.cancel()
        await node.assembler.handle(SessionCancelled(source="/test", subject="x", data=names()))
        assert await world.keys() == []

    @pytest.mark.parametrize("session", ["", "x", "-aa", "12.5-aa", "\0", "../../etc"])
    async def test_what_names_no_session_is_poison(self, node: Node, session: str) -> None:
        with pytest.raises(Poison):
            await node.assembler.handle(chunk_received(session, 4, 0))

    async def test_what_is_not_for_the_assembler_is_poison(self, node: Node) -> None:
        data = FileCompletedData(owner="a", filename="b", session="1-a", total_size=1)
        with pytest.raises(Poison):
            await node.assembler.handle(FileCompleted(source="/test", subject="x", data=data))

    async def test_an_event_about_what_is_gone_changes_nothing(self, world: World, node: Node) -> None:
        for event in (
            chunk_received(new_session(TOTAL), TOTAL, 0, 1, 2),
            SessionStale(source="/test", subject="x", data=names("20-gone")),
            SessionCancelled(source="/test", subject="x", data=names("20-gone")),
        ):
            await node.assembler.handle(event)
        assert await world.keys() == []

    @pytest.mark.parametrize("name", ["..", "a/b", "", "a\0b", "x" * 256])
    async def test_names_that_cannot_be_keys_are_poison(self, world: World, node: Node, name: str) -> None:
        for owner, filename in ((name, "b"), ("a", name)):
            data = SessionData(owner=owner, filename=filename, session="1-a")
            with pytest.raises(Poison):
                await node.assembler.handle(SessionStale(source="/test", subject="x", data=data))
        assert await world.keys() == []


class TestTrying:
    async def test_a_store_that_is_away_is_waited_for(self, world: World, node: Node) -> None:
        await upload_all(world)
        node.hooks.fail("list", times=20)
        began = world.clock.now
        await node.work()
        assert await world.final() == DATA
        assert 60 < world.clock.now - began < 200

    @pytest.mark.parametrize("error", [Superseded, ObjectNotFound, UploadNotFound])
    async def test_who_is_overtaken_tries_again_a_few_times(
        self, world: World, node: Node, error: type[Exception]
    ) -> None:
        async def overtake() -> None:
            raise error

        await upload_all(world)
        node.hooks.on("put_part", "", overtake, times=5)
        await node.assembler.handle(chunk_received("20-x", TOTAL))
        assert await world.final() == DATA

    async def test_who_is_overtaken_for_ever_lets_the_bus_deliver_again(self, world: World, node: Node) -> None:
        async def overtake() -> None:
            raise Superseded

        await upload_all(world)
        node.hooks.on("put_part", "", overtake, times=99)
        with pytest.raises(Superseded):
            await node.assembler.handle(chunk_received("20-x", TOTAL))

    async def test_one_process_works_once_at_a_time_on_a_file(self, world: World, node: Node) -> None:
        await upload_all(world)
        await asyncio.gather(*(node.assembler.handle(chunk_received("20-x", TOTAL)) for _ in range(5)))
        assert node.hooks.count("complete_multipart") == 1

    async def test_locks_are_forgotten_when_nobody_needs_them(self) -> None:
        locks, order = Locks(), list[int]()

        async def work(number: int) -> None:
            async with locks.held("file"):
                order.append(number)
                await asyncio.sleep(0)
                order.append(number)

        await asyncio.gather(work(1), work(2), work(3))
        assert order == [1, 1, 2, 2, 3, 3]
        assert not vars(locks)["_locks"]


class DeafBus(MemoryBus):
    """A broker that is away for good."""

    def publish(self, event: Event) -> None:
        pass


class TestWithoutEvents:
    def worker(self, world: World, node: Node) -> Worker:
        bus = DeafBus()
        assembler = Assembler(node.buckets, bus, world.clock, STALE)
        return Worker(assembler, node.buckets, bus, world.clock, AGES)

    async def test_files_complete_by_the_sweeps_of_the_assembler_itself(self, world: World, node: Node) -> None:
        worker = self.worker(world, node)
        await upload_all(world)
        await worker.recover()
        with pytest.raises(ObjectNotFound):
            await world.final()
        age(world, AGES.grace + 1)
        await worker.recover()
        assert await world.final() == DATA

    async def test_stale_rejected_and_cancelled_uploads_end_too(self, world: World, node: Node) -> None:
        worker = self.worker(world, node)
        await upload_wrong(world)
        await worker.recover()
        await refused(Kind.REJECTED, node.reader.state(FILE))
        await upload_gap(world)
        age(world, STALE + 1)
        await worker.recover()
        assert (await node.reader.state(FILE)).state == "partial"
        await node.cancel()
        await worker.recover()
        assert await world.keys() == []

    async def test_one_file_does_not_wait_for_another(self, world: World, node: Node) -> None:
        worker = self.worker(world, node)
        other = FILE._replace(filename="other.bin")
        await node.send_all(DATA)
        await node.send_all(DATA, file=other)
        age(world, AGES.grace + 1)
        gate = node.hooks.hold("put", FILE.filename)
        recovering = asyncio.create_task(worker.recover())
        await gate.reached.wait()
        async with asyncio.timeout(5):
            while await complete_file(world.perm, other) is None:  # noqa: ASYNC110  # it has no event to offer
                await asyncio.sleep(0.01)  # another store's work has no event to offer
        gate.opened.set()
        await recovering
        assert await world.final() == DATA

    async def test_garbage_is_left_to_the_janitor(self, world: World, node: Node) -> None:
        await world.store_chunk("20-gone", 0, b"abcd")
        age(world, STALE + 1)
        await self.worker(world, node).recover()
        assert len(await world.left()) == 1
        found = await node.janitor.sweep(await store_time(world.temp), dry_run=False)
        assert [each.need for each in found] == [Need.ORPHANS]
        assert await world.left() == []

    async def test_one_file_that_fails_does_not_keep_the_others(self, world: World, node: Node) -> None:
        await upload_all(world)
        other = FileId("device-0", "first")
        await world.temp.put(fact_key(other, "1-aaaaaaaa00", "open"), b"this is no JSON")
        await world.store_chunk("1-aaaaaaaa00", 0, b"x", other)
        age(world, AGES.grace + 1)
        await self.worker(world, node).recover()
        assert await world.final() == DATA

    def completed(self, node: Node) -> asyncio.Event:
        """Set when the final object has been made."""
        done = asyncio.Event()

        async def note() -> None:
            done.set()

        node.hooks.on("complete_multipart", "", note, when="after")
        return done

    async def test_a_silent_bus_makes_it_sweep(self, world: World, node: Node) -> None:
        await upload_all(world)
        age(world, AGES.grace + 1)
        done = self.completed(node)
        worker = self.worker(world, node)
        async with worker.running(recovery_interval=60, drain_timeout=5), asyncio.timeout(5):
            await done.wait()
        assert await world.final() == DATA

    async def test_a_store_that_is_away_is_swept_again(self, world: World, node: Node) -> None:
        await upload_all(world)
        age(world, AGES.grace + 1)
        node.hooks.fail("list", times=2)
        done = self.completed(node)
        worker = self.worker(world, node)
        with pytest.raises(StoreUnavailable):
            await worker.recover()
        async with worker.running(recovery_interval=60, drain_timeout=5), asyncio.timeout(5):
            await done.wait()

    async def test_a_sweep_that_fails_for_any_reason_is_not_the_last(self, world: World, node: Node) -> None:
        await upload_all(world)
        age(world, AGES.grace + 1)

        async def fail() -> None:
            raise RuntimeError("something unforeseen")

        node.hooks.on("list", "sessions/", fail)
        done = self.completed(node)
        async with self.worker(world, node).running(60, 5), asyncio.timeout(5):
            await done.wait()

    async def test_a_file_that_the_store_keeps_refusing_is_given_back(self, world: World, node: Node) -> None:
        """So that others, and the sweep, do not wait behind it for ever."""
        await upload_all(world)
        node.hooks.fail("list", times=999)
        before = world.clock.now
        with pytest.raises(StoreUnavailable):
            await node.work()
        assert 300 < world.clock.now - before < 400


async def test_a_worker_handles_what_its_bus_brings_until_it_is_stopped(world: World, node: Node) -> None:
    worker = Worker(node.assembler, node.buckets, world.bus, world.clock, AGES)
    async with worker.running(recovery_interval=1e9, drain_timeout=5):
        await node.send_all(DATA)
        await world.bus.queue.drained()
    assert await world.final() == DATA
    assert not world.bus.dead_letters
