"""How uploads end: parked, deleted, rejected. Each at every moment at which a process can die."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from libs.common.bus.events import FileCompleted, FileRejected, PartialFileMoved
from libs.common.files.extents import Extent
from libs.common.files.pins import Pin
from libs.common.problems import Kind
from libs.common.storage import LEASE, StoreUnavailable, list_all
from libs.common.uploads.cancelling import cancel
from libs.common.uploads.layout import file_key, rejected_prefix
from libs.common.uploads.parking import park
from libs.common.uploads.records import SLACK
from libs.common.uploads.runs import UNNAMED
from libs.common.uploads.sweeping import Need, store_time
from libs.common.uploads.tidying import KEPT_CLOSED
from tests.uploads.crashes import after_each_crash, crash
from tests.uploads.hooked_store import Crash
from tests.uploads.uploads import DATA, OTHER, TOTAL, WRONG, park_first, runs, upload_all, upload_gap
from tests.uploads.world import FILE, Node, World, content, refused


async def swept(world: World) -> None:
    """What sweeps do in the hour after."""
    for seconds in (10.0, KEPT_CLOSED + 10, UNNAMED + 10, 10.0, KEPT_CLOSED + 10):
        await world.clock.sleep(seconds)
        await world.node().work()


class TestParking:
    async def test_the_bytes_become_runs_and_the_chunks_go(self, world: World, node: Node) -> None:
        await upload_gap(world)
        await node.park()
        assert await runs(world) == [Extent(0, 11), Extent(13, 20)]
        assert [key.rsplit("/", 1)[1] for key in await world.left()] == ["=record"]
        assert [event.data.received_bytes for event in world.told(PartialFileMoved)] == [18]

    async def test_it_goes_on_where_it_was_and_becomes_complete(self, world: World, node: Node) -> None:
        await upload_gap(world)
        await node.park()
        device = world.node()
        ack = await device.send(11, DATA[11:13], TOTAL)
        assert ack.offset == TOTAL
        await node.work()
        assert await world.final() == DATA
        assert (await node.reader.state(FILE)).session == ack.session

    async def test_a_device_that_begins_anew_goes_on_with_it(self, world: World, node: Node) -> None:
        """As with an upload that it knows, but not with one that is open."""
        await upload_gap(world)
        anew = Pin(none_match=frozenset({"*"}))
        await refused(Kind.PRECONDITION_FAILED, world.node().send(11, DATA[11:12], TOTAL, pin=anew))
        await node.park()
        ack = await world.node().send(11, DATA[11:12], TOTAL, pin=anew)
        await node.park()
        known = Pin(match=frozenset({ack.session}))
        assert (await world.node().send(12, DATA[12:13], TOTAL, pin=known)).session == ack.session

    async def test_what_is_parked_again_is_merged(self, world: World, node: Node) -> None:
        await park_first(world)
        await node.park()
        assert await runs(world) == [Extent(0, 10), Extent(15, 20)]

    async def test_an_upload_that_is_not_stale_is_left_alone(self, world: World, node: Node) -> None:
        await upload_gap(world)
        assert await park(node.tools, FILE, 3600.0)
        assert await runs(world) == []

    async def test_an_upload_whose_bytes_are_all_there_is_finished_instead(self, world: World, node: Node) -> None:
        await upload_all(world)
        await node.park()
        assert await runs(world) == []
        await node.work()
        assert await world.final() == DATA

    async def test_runs_that_took_long_to_write_are_not_named(self, world: World, node: Node) -> None:
        """A sweep takes runs that no record names for garbage once they are old."""
        await upload_gap(world)
        node.hooks.on("put", "partials/", lambda: world.clock.sleep(UNNAMED))
        assert not await park(node.tools, FILE, -1e9)
        assert (await world.record()).runs == ()
        await node.park()
        assert await runs(world) == [Extent(0, 11), Extent(0, 11), Extent(13, 20), Extent(13, 20)]
        await swept(world)
        assert await runs(world) == [Extent(0, 11), Extent(13, 20)]

    async def test_an_upload_whose_runs_take_hours_to_write_is_parked(self, world: World, node: Node) -> None:
        await upload_gap(world)
        node.hooks.on("put", "partials/", lambda: world.clock.sleep(3 * 3600.0))
        assert await park(node.tools, FILE, -1e9)
        assert await runs(world) == [Extent(0, 11), Extent(13, 20)]

    async def test_of_two_processes_that_park_at_once_the_slower_one_deletes_its_runs(
        self, world: World, node: Node
    ) -> None:
        await upload_gap(world)
        slow = world.node()
        gate = slow.hooks.hold("put", "partials/", when="after")
        parking = asyncio.create_task(slow.park())
        await gate.reached.wait()
        await node.park()
        gate.opened.set()
        await parking
        assert await runs(world) == [Extent(0, 11), Extent(13, 20)]
        assert (await node.reader.state(FILE)).durable.total() == 18

    async def test_a_process_whose_swap_is_refused_deletes_its_runs(self, world: World, node: Node) -> None:
        await upload_gap(world)
        slow = world.node()
        gate = slow.hooks.hold("put", "=record")
        parking = asyncio.create_task(slow.park())
        await gate.reached.wait()
        await node.park()
        gate.opened.set()
        await parking
        assert await runs(world) == [Extent(0, 11), Extent(13, 20)]

    async def test_a_process_that_cannot_write_all_runs_deletes_those_that_it_wrote(
        self, world: World, node: Node
    ) -> None:
        await upload_gap(world)
        node.hooks.fail("put", "13-7-")
        with pytest.raises(StoreUnavailable):
            await node.park()
        assert await runs(world) == []

    async def test_a_swap_that_may_take_effect_later_keeps_its_runs(self, world: World, node: Node) -> None:
        await upload_gap(world)
        node.hooks.fail("put", "=record")
        await node.park()
        assert await runs(world) == [Extent(0, 11), Extent(13, 20)]

    async def test_wherever_a_parker_dies_no_byte_is_lost(self, tmp_path: Path) -> None:
        async for world in after_each_crash(tmp_path, upload_gap, Node.park):
            node = world.node()
            state = await node.reader.state(FILE)
            assert list(state.durable) == [(0, 11), (13, 20)]
            await node.send(11, DATA[11:13], TOTAL)
            await swept(world)
            assert await world.final() == DATA
            assert await world.left() == []
            assert await runs(world) == []


class TestDeleting:
    @pytest.mark.parametrize("prepare", [upload_gap, upload_all, park_first])
    async def test_nothing_of_an_upload_stays(
        self, world: World, node: Node, prepare: Callable[[World], Awaitable[None]]
    ) -> None:
        await prepare(world)
        await node.cancel()
        await refused(Kind.NOT_FOUND, node.reader.state(FILE))
        await swept(world)
        assert await world.keys() == []
        assert world.open_uploads() == []

    async def test_a_complete_file_is_deleted(self, world: World, node: Node) -> None:
        await node.send(0, DATA[:8], 8)
        await node.cancel()
        await refused(Kind.NOT_FOUND, node.reader.state(FILE))
        await swept(world)
        assert await world.keys() == []

    async def test_it_is_answered_a_lease_after_its_swap(self, world: World, node: Node) -> None:
        await upload_gap(world)
        before = world.clock.slept
        await node.cancel()
        assert world.clock.slept - before >= LEASE

    async def test_one_that_names_another_upload_is_refused(self, world: World, node: Node) -> None:
        await upload_gap(world)
        with_pin = cancel(node.tools, FILE, Pin(match=frozenset({"another"})))
        await refused(Kind.PRECONDITION_FAILED, with_pin)
        assert (await node.reader.state(FILE)).offset == 11

    async def test_one_that_is_repeated_is_answered_alike(self, world: World, node: Node) -> None:
        await upload_gap(world)
        await node.cancel()
        await node.cancel()

    async def test_what_is_not_there_is_not_found(self, world: World, node: Node) -> None:
        await refused(Kind.NOT_FOUND, node.cancel())
        await swept(world)
        assert await world.keys() == []

    async def test_wherever_a_canceller_dies_the_upload_is_there_or_gone(self, tmp_path: Path) -> None:
        async for world in after_each_crash(tmp_path, upload_gap, Node.cancel):
            await world.node().cancel()
            await world.node().send_all(OTHER)
            await swept(world)
            assert await world.final() == OTHER
            assert await world.left() == []


class TestRejecting:
    async def test_the_bytes_are_kept_apart_and_the_status_says_why(self, world: World, node: Node) -> None:
        await node.send_all(DATA, declared=WRONG)
        await node.work()
        problem = await refused(Kind.REJECTED, node.reader.state(FILE))
        assert "Repr-Digest" in problem.detail
        kept = await list_all(world.perm, rejected_prefix(FILE))
        assert sum(info.size for info in kept) == TOTAL
        (event,) = world.told(FileRejected)
        assert event.data.declared == WRONG

    async def test_a_new_upload_begins_from_the_first_byte_and_the_kept_bytes_stay(
        self, world: World, node: Node
    ) -> None:
        await node.send_all(DATA, declared=WRONG)
        await node.work()
        await world.clock.sleep(LEASE + 0.1)
        await node.send_all(DATA)
        await swept(world)
        assert await world.final() == DATA
        assert await list_all(world.perm, rejected_prefix(FILE))

    async def test_a_delete_removes_what_was_kept(self, world: World, node: Node) -> None:
        await node.send_all(DATA, declared=WRONG)
        await node.work()
        await node.cancel()
        await swept(world)
        assert await world.keys() == []

    async def test_a_delete_is_pinned_to_the_upload_that_was_rejected(self, world: World, node: Node) -> None:
        session = (await node.send_all(DATA, declared=WRONG)).session
        await node.work()
        await refused(Kind.PRECONDITION_FAILED, cancel(node.tools, FILE, Pin(match=frozenset({"another"}))))
        assert await list_all(world.perm, rejected_prefix(FILE))
        for _ in range(2):
            await cancel(node.tools, FILE, Pin(match=frozenset({session})))

    async def test_a_file_that_is_left_under_the_name_goes(self, world: World, node: Node) -> None:
        await node.send_all(DATA, declared=WRONG)
        await node.work()
        await world.perm.put(file_key(FILE), b"put at once, never acknowledged", metadata={"session": "another"})
        for _ in range(2):
            await world.clock.sleep(LEASE + SLACK + 1)
            await node.janitor.sweep(await store_time(world.temp), dry_run=False)
        assert [key for key in await world.keys() if key.startswith("files/")] == []
        await refused(Kind.REJECTED, node.reader.state(FILE))
        assert any(key.startswith("rejected/") for key in await world.keys())
        await world.clock.sleep(LEASE + SLACK + 1)
        for _ in range(2):
            await node.janitor.sweep(await store_time(world.temp), dry_run=False)
        assert await node.janitor.sweep(await store_time(world.temp), dry_run=False) == []

    async def test_bytes_that_took_long_to_copy_are_copied_again(self, world: World, node: Node) -> None:
        """A sweep takes copies that no record names for garbage once they are old."""
        await node.send_all(DATA, declared=WRONG)
        rejecter = world.node()

        async def sweep() -> None:
            await world.clock.sleep(UNNAMED + 1)
            await node.janitor.sweep(await store_time(world.temp), needs=frozenset({Need.GARBAGE}), dry_run=False)

        rejecter.hooks.on("complete_multipart", "rejected/", sweep, when="after")
        await rejecter.work()
        kept = await list_all(world.perm, rejected_prefix(FILE))
        assert sum(info.size for info in kept) == TOTAL
        await refused(Kind.REJECTED, node.reader.state(FILE))

    async def test_wherever_a_rejecter_dies_the_file_is_rejected(self, tmp_path: Path) -> None:
        async def prepare(world: World) -> None:
            await world.node().send_all(DATA, declared=WRONG)

        async for world in after_each_crash(tmp_path, prepare, Node.work):
            await swept(world)
            await refused(Kind.REJECTED, world.node().reader.state(FILE))


class TestFinishing:
    @pytest.mark.parametrize("size", [0, 3, 8, 20, 40])
    async def test_wherever_an_assembler_dies_the_file_becomes_complete(self, tmp_path: Path, size: int) -> None:
        data = content(size)

        async def prepare(world: World) -> None:
            node = world.node()
            if size > 1:
                await node.send(1, data[1:], size)
                await node.send(0, data[:1], size)
            else:
                await node.send(0, data, size)

        async for world in after_each_crash(tmp_path, prepare, Node.work):
            await swept(world)
            assert await world.final() == data
            assert await world.left() == []
            assert len(world.open_uploads()) <= 1, "one that was not recorded stays until the store purges it"

    @pytest.mark.parametrize("rejected_before", [False, True])
    async def test_a_sweep_tells_of_a_file_whose_assembler_died_before_it_told(
        self, world: World, node: Node, rejected_before: bool
    ) -> None:
        if rejected_before:
            await node.send_all(DATA, declared=WRONG)
            await node.work()
        session = (await node.send_all(DATA[:8])).session
        dying = world.node()
        dying.hooks.on("put", "=record", crash, when="after")
        with pytest.raises(Crash):
            await dying.work()
        assert world.told(FileCompleted) == []
        for _ in range(3):
            await world.clock.sleep(LEASE + SLACK + 1)
            await node.janitor.sweep(await store_time(world.temp), dry_run=False)
        (event,) = world.told(FileCompleted)
        assert (event.id, event.data.total_size) == (session, 8)

    async def test_wherever_a_replica_dies_what_it_acknowledged_stays(self, tmp_path: Path) -> None:
        async def nothing(world: World) -> None:
            pass

        async for world in after_each_crash(tmp_path, nothing, lambda node: node.send_all(DATA)):
            await world.node().send_all(DATA)
            await swept(world)
            assert await world.final() == DATA
            assert await world.left() == []

    async def test_a_purged_multipart_upload_is_built_anew(self, world: World, node: Node) -> None:
        await upload_gap(world)
        (upload,) = world.open_uploads()
        await world.perm.abort_multipart("files/device-1/log.bin", upload)
        await node.send(11, DATA[11:13], TOTAL)
        await world.node().work()
        assert await world.final() == DATA

    async def test_the_event_tells_what_the_file_is(self, world: World, node: Node) -> None:
        await node.send(0, DATA[:8], 8, content_type="text/plain")
        (event,) = world.told(FileCompleted)
        assert (event.data.total_size, event.data.content_type) == (8, "text/plain")
        assert event.data.key == "files/device-1/log.bin"


class TestUnknownLength:
    async def test_nothing_completes_before_it_is_told(self, world: World, node: Node) -> None:
        await node.send(0, DATA[:12], None)
        await node.work()
        state = await node.reader.state(FILE)
        assert (state.state, state.total_size, state.offset) == ("pending", None, 12)
        ack = await node.send(12, DATA[12:], TOTAL)
        assert (ack.offset, ack.total_size) == (TOTAL, TOTAL)
        await node.work()
        assert await world.final() == DATA

    async def test_it_cannot_be_less_than_what_is_stored(self, node: Node) -> None:
        await node.send(0, DATA[:12], None)
        await refused(Kind.TOTAL_SIZE_CONFLICT, node.send(0, DATA[:4], 10))

    async def test_once_told_it_does_not_change(self, node: Node) -> None:
        await node.send(0, DATA[:12], None)
        await node.send(12, DATA[12:14], TOTAL)
        await refused(Kind.TOTAL_SIZE_CONFLICT, node.send(14, DATA[14:16], TOTAL + 1))
        await node.send(14, DATA[14:16], None)
