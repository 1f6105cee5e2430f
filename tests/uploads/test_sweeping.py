"""The sweep: what it finds, in one pass, and what is done about it."""

import os

import pytest

from libs.common.bus.events import SessionStale, SessionStalled
from libs.common.files.extents import Extent
from libs.common.storage import LEASE, list_all, read
from libs.common.uploads.layout import FileId, record_key, rejected_prefix, run_key
from libs.common.uploads.owned import records_of
from libs.common.uploads.records import SLACK
from libs.common.uploads.runs import UNNAMED
from libs.common.uploads.sweeping import Need, Sweep, findings, store_time
from libs.common.uploads.tidying import KEPT_CLOSED
from tests.uploads.uploads import DATA, TOTAL, WRONG, runs, upload_all, upload_gap
from tests.uploads.world import AGES, FILE, STALE, Node, World


async def found(world: World, *, after: float) -> list[tuple[Need, str]]:
    """What a sweep finds some seconds later, and of which file."""
    await world.clock.sleep(after)
    now = await store_time(world.temp)
    return [
        (finding.need, finding.file.filename)
        async for swept in Sweep(world.temp).names(now)
        for finding in findings(swept, now, AGES)
    ]


class TestFindings:
    async def test_an_upload_without_a_chunk_for_the_threshold_is_stale(self, world: World, node: Node) -> None:
        await upload_gap(world)
        assert await found(world, after=STALE + 1) == [(Need.STALE, "log.bin")]

    async def test_one_that_is_parked_is_left_alone(self, world: World, node: Node) -> None:
        await upload_gap(world)
        await node.park()
        await node.work()  # aborts its multipart upload
        assert await found(world, after=STALE + 1) == []

    async def test_one_whose_bytes_are_all_there_is_stalled_however_old(self, world: World) -> None:
        await upload_all(world)
        assert await found(world, after=AGES.grace) == [(Need.STALLED, "log.bin")]
        assert await found(world, after=STALE) == [(Need.STALLED, "log.bin")]

    async def test_one_that_goes_on_is_left_alone(self, world: World, node: Node) -> None:
        await node.send(0, DATA[:4], TOTAL)
        assert await found(world, after=0) == []

    async def test_a_closed_record_is_garbage(self, world: World, node: Node) -> None:
        await upload_gap(world)
        await node.cancel()
        assert await found(world, after=1) == [(Need.GARBAGE, "log.bin")]

    async def test_chunks_of_an_upload_that_is_over_are_garbage_at_once(self, world: World, node: Node) -> None:
        await node.send(0, DATA[:4], TOTAL)
        await world.store_chunk("0123456789abcdef", 4, b"late")
        assert await found(world, after=0) == [(Need.GARBAGE, "log.bin")]

    async def test_names_are_joined_in_the_order_of_both_listings(self, world: World, node: Node) -> None:
        names = ["a", "a b", "a-b", "a.b", "a0", "b"]
        for name in names:
            await node.send(0, DATA[:4], TOTAL, file=FileId("car", name))
        swept = [swept async for swept in Sweep(world.temp).names(await store_time(world.temp))]
        assert sorted(each.file.filename for each in swept) == sorted(names)
        assert all(each.upload and each.durable.total() == 4 for each in swept)

    async def test_what_is_not_ours_is_left_alone(self, world: World, node: Node) -> None:
        foreign = ("uploads/README", "uploads/aa/car/x/record", "chunks/a", "chunks/aa/car/x/=s/one/two")
        for key in foreign:
            await world.temp.put(key, b"by hand")
        await world.temp.put(record_key(FileId("car", "damaged")), b"by hand")
        await node.send(0, DATA[:4], TOTAL)
        assert await found(world, after=STALE + 1) == [(Need.STALE, "log.bin")]

    async def test_a_record_is_read_again_only_when_it_changed(self, world: World, node: Node) -> None:
        await node.send(0, DATA[:4], TOTAL)
        await world.clock.sleep(5)
        watcher = world.node()
        sweep = Sweep(watcher.buckets.temp)
        for _ in range(3):
            assert [each.file async for each in sweep.names(await store_time(world.temp))] == [FILE]
        assert watcher.hooks.count("get") == 1
        await node.cancel()
        assert [each.file async for each in sweep.names(await store_time(world.temp))] == [FILE]
        assert watcher.hooks.count("get") == 2

    async def test_a_record_that_changed_twice_in_the_second_that_the_store_tells_is_read_again(
        self, world: World, node: Node
    ) -> None:
        await node.send(0, DATA[:4], TOTAL)
        path = world.root / "temp" / record_key(FILE)
        sweep, date = Sweep(world.temp), path.stat().st_mtime
        assert [each.record async for each in sweep.names(await store_time(world.temp))] == [await world.record()]
        await node.records.change(await world.look(), state="closed", session="")
        os.utime(path, (date, date))
        await world.clock.sleep(5)
        assert [each.record async for each in sweep.names(await store_time(world.temp))] == [await world.record()]

    async def test_multipart_uploads_of_no_use_do_not_keep_a_file_from_being_finished(
        self, world: World, node: Node
    ) -> None:
        """The recovery sweep, which comes often, looks at what is stalled alone."""
        await upload_gap(world)
        await node.park()
        await node.send(11, DATA[11:13], TOTAL)
        assert await found(world, after=AGES.grace) == [(Need.GARBAGE, "log.bin"), (Need.STALLED, "log.bin")]


class TestActing:
    async def test_a_dry_run_does_nothing(self, world: World, node: Node) -> None:
        await upload_gap(world)
        await world.clock.sleep(STALE + 1)
        before = await world.keys()
        assert await node.janitor.sweep(await store_time(world.temp), dry_run=True)
        assert await world.keys() == before
        assert world.told(SessionStale) == []

    async def test_the_assembler_is_nudged(self, world: World, node: Node) -> None:
        await upload_gap(world)
        await world.clock.sleep(STALE + 1)
        await node.janitor.sweep(await store_time(world.temp), dry_run=False)
        (event,) = world.told(SessionStale)
        await node.assembler.handle(event)
        assert (await node.reader.state(FILE)).state == "partial"

    async def test_a_nudge_makes_up_for_every_event_that_was_lost(self, world: World, node: Node) -> None:
        await upload_all(world)
        await world.clock.sleep(AGES.grace)
        await node.janitor.sweep(await store_time(world.temp), dry_run=False)
        (event,) = world.told(SessionStalled)
        await node.assembler.handle(event)
        assert await world.final() == DATA

    async def test_garbage_is_deleted_and_what_is_in_use_is_not(self, world: World, node: Node) -> None:
        await node.send(0, DATA[:4], TOTAL)
        await world.store_chunk("0123456789abcdef", 4, b"late")
        await node.janitor.sweep(await store_time(world.temp), dry_run=False)
        assert len(await world.left()) == 2
        assert (await node.reader.state(FILE)).offset == 4

    async def test_runs_that_no_record_names_go_after_a_day(self, world: World, node: Node) -> None:
        await upload_gap(world)
        await node.park()
        session = (await world.record()).session
        for of, extent in ((session, Extent(0, 8)), ("0123456789abcdef", Extent(0, 1))):
            await world.perm.put(run_key(FILE, of, extent), b"of a parker that died")
        await node.janitor.sweep(await store_time(world.temp), dry_run=False)
        assert len(await world.keys()) == 5
        await world.clock.sleep(UNNAMED + 1)
        await node.janitor.sweep(await store_time(world.temp), dry_run=False)
        assert len(await world.keys()) == 3
        assert (await node.reader.state(FILE)).durable.total() == 18

    async def test_a_run_that_came_late_goes_although_its_session_was_rejected(self, world: World, node: Node) -> None:
        session = (await node.send_all(DATA, declared=WRONG)).session
        await node.work()
        await world.perm.put(run_key(FILE, session, Extent(0, 4)), b"late")
        await world.clock.sleep(UNNAMED + 1)
        await node.janitor.sweep(await store_time(world.temp), dry_run=False)
        assert await runs(world) == []
        assert await list_all(world.perm, rejected_prefix(FILE))

    async def test_what_is_parked_is_read_once_however_many_sweeps_come(self, world: World, node: Node) -> None:
        await upload_gap(world)
        await node.park()
        await node.work()
        await world.clock.sleep(UNNAMED + 1)
        janitor = world.node()
        for _ in range(3):
            assert await janitor.janitor.sweep(await store_time(world.temp), dry_run=False) == []
        assert janitor.hooks.count("get") + janitor.hooks.count("fetch") == 1

    async def test_a_closed_record_goes_when_nothing_is_left_to_be_said(self, world: World, node: Node) -> None:
        await node.send(0, DATA[:8], 8)
        await node.cancel()
        await node.work()
        await world.clock.sleep(LEASE + SLACK)
        await node.work()
        assert await world.left(), "a file that comes late is met by it"
        await world.clock.sleep(KEPT_CLOSED + 1)
        await node.work()
        assert await world.keys() == []


async def test_an_owners_records_are_listed_page_by_page(world: World, node: Node) -> None:
    names = [f"n{number:03d}" for number in range(40)]
    for name in names:
        await node.send(0, DATA[:4], TOTAL, file=FileId("car", name))
    await node.send(0, DATA[:4], TOTAL, file=FileId("cart", "other"))
    assert [owned.filename async for owned in records_of(world.temp, "car")] == names
    assert [owned.filename async for owned in records_of(world.temp, "car", after="n037")] == names[38:]


@pytest.mark.parametrize("size", [0, 5])
async def test_a_file_that_came_whole_needs_no_sweep(world: World, node: Node, size: int) -> None:
    await node.send(0, DATA[:size], size)
    assert await world.left() == []
    assert await read(world.perm, "files/device-1/log.bin") == DATA[:size]
