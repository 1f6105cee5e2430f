"""A sweep tells how many uploads there are, and for how long the oldest have waited."""

import pytest

from libs.common.uploads.layout import FileId
from libs.common.uploads.sweeping import Need, Tally, store_time
from libs.common.uploads.watch import Watch
from services.janitor.metrics import SweepWatch
from services.janitor.sweeping import Janitor
from tests.unit.metrics import growth, value
from tests.uploads.uploads import DATA, TOTAL, upload_gap
from tests.uploads.world import AGES, FILE, STALE, Node, World

OTHER = FileId("device-2", "b.bin")


class Kept(Watch):
    def swept(self, tally: Tally) -> None:
        self.tally = tally


async def swept(world: World, node: Node, later: float) -> Tally:
    """What a sweep sees so many seconds from now."""
    watch = Kept()
    now = await store_time(world.temp) + later
    await Janitor(node.buckets, world.bus, world.clock, AGES, watch).sweep(now, dry_run=True)
    return watch.tally


async def test_an_empty_bucket_has_nothing_to_tell(world: World, node: Node) -> None:
    tally = await swept(world, node, 100)
    assert tally == Tally(tally.now)


async def test_uploads_are_counted_with_their_bytes_and_the_age_of_the_oldest(world: World, node: Node) -> None:
    await node.send(0, b"abc", 100)
    await node.send(0, b"de", 100, file=OTHER)
    tally = await swept(world, node, 100)
    assert (tally.open, tally.stored) == (2, 5)
    assert tally.oldest == pytest.approx(100, abs=5)
    assert tally.unassembled == 0, "neither has all its bytes"


async def test_the_oldest_is_the_one_that_was_opened_first_however_often_its_record_changed(
    world: World, node: Node
) -> None:
    await node.send(0, DATA[:12], TOTAL)
    await world.clock.sleep(50)
    await node.work()
    assert (await world.record()).assembly
    tally = await swept(world, node, 50)
    assert tally.oldest == pytest.approx(100, abs=5)


async def test_an_upload_whose_bytes_are_all_there_waits_for_the_assembler(world: World, node: Node) -> None:
    await node.send_all(DATA)
    tally = await swept(world, node, 50)
    assert tally.unassembled == pytest.approx(50, abs=5)
    assert tally.findings == {Need.STALLED: 1}


async def test_a_name_that_is_closed_is_no_open_upload(world: World, node: Node) -> None:
    await node.send(0, b"abc", 100)
    await node.cancel()
    tally = await swept(world, node, 50)
    assert (tally.open, tally.closed, tally.oldest) == (0, 1, 0)


async def test_what_is_parked_is_counted_apart(world: World, node: Node) -> None:
    await upload_gap(world)
    await node.park()
    tally = await swept(world, node, 50)
    assert (tally.open, tally.parked, tally.oldest, tally.stored) == (0, 1, 0, 0)


async def test_the_metrics_show_the_last_sweep(world: World, node: Node) -> None:
    await node.send(0, b"abc", 100, file=FILE)
    now = await store_time(world.temp) + STALE + 5
    with growth("hiper_sweep_findings_total", need="stale") as stale:
        await Janitor(node.buckets, world.bus, world.clock, AGES, SweepWatch()).sweep(now, dry_run=True)
    assert (value("hiper_uploads_open"), value("hiper_uploads_stored_bytes"), stale.by) == (1, 3, 1)
    assert value("hiper_uploads_oldest_seconds") == pytest.approx(STALE + 5, abs=5)
    assert value("hiper_sweep_last_success_timestamp_seconds") > 0
