"""The janitor puts what its sweeps see, so that every replica shows the whole fleet."""

import asyncio
from collections import Counter

import pytest

from libs.common.clock import SystemClock
from libs.common.fleet.rows import DeviceRow, UploadRow
from libs.common.fleet.seen import GONE_AFTER, put_seen
from libs.common.fleet.store import load
from libs.common.fleet.tables import DEVICES, UPLOADS
from libs.common.storage import StoreUnavailable
from libs.common.uploads.layout import FLEET_DEVICES, FLEET_UPLOADS, FileId, new_seen_key
from libs.common.uploads.sweeping import store_time
from services.janitor.app import sweep_forever
from services.janitor.counting import Stored
from services.janitor.viewing import Viewing
from tests.uploads.hooked_store import Crash
from tests.uploads.uploads import DATA, TOTAL, finish_upload, park_first, upload_gap
from tests.uploads.world import FILE, Node, World

DAY = 86400.0  # seconds


class Enough(BaseException):
    """Ends what goes on forever."""


def viewing_of(node: Node, interval: float = 60) -> Viewing:
    return Viewing(node.buckets.perm, interval, Stored(node.buckets.perm, SystemClock(), DAY))


async def look(world: World, node: Node, viewing: Viewing) -> float:
    """One sweep that shows the fleet; the store's time before it."""
    at = await store_time(world.temp)
    viewing.begin()
    await node.janitor.sweep(at, dry_run=False, saw=viewing.saw)
    await viewing.put(at)
    return at


async def uploads(world: World) -> list[UploadRow]:
    found = await load(world.perm, UPLOADS)
    assert found
    assert found.table
    return found.table.rows


async def devices(world: World) -> dict[str, DeviceRow]:
    found = await load(world.perm, DEVICES)
    assert found
    assert found.table
    return {row.device_id: row for row in found.table.rows}


class TestUploads:
    async def test_each_upload_in_progress_has_a_row_that_says_how_far_it_is(self, world: World, node: Node) -> None:
        await upload_gap(world)
        at = await look(world, node, viewing_of(node))
        (row,) = await uploads(world)
        assert (row.file, row.status, row.total_size) == (FILE, "pending", TOTAL)
        assert (row.received_bytes, row.next_expected_byte, row.waiting_for) == (18, 11, "device")
        assert row.session == (await world.record()).session
        assert at - 60 < row.last_updated <= at

    async def test_a_parked_one_too(self, world: World, node: Node) -> None:
        await upload_gap(world)
        await node.park()
        await look(world, node, viewing_of(node))
        assert [(row.status, row.received_bytes) for row in await uploads(world)] == [("partial", 18)]

    async def test_what_is_complete_or_cancelled_has_none(self, world: World, node: Node) -> None:
        await finish_upload(world)
        other = FileId("device-2", "b.bin")
        await node.send(0, DATA[:4], TOTAL, file=other)
        await node.cancel(other)
        await look(world, node, viewing_of(node))
        assert await uploads(world) == []

    async def test_the_rate_is_what_came_between_two_looks(self, world: World, node: Node) -> None:
        viewing = viewing_of(node)
        await node.send(0, DATA[:4], TOTAL)
        await look(world, node, viewing)
        await node.send(4, DATA[4:12], TOTAL)
        await world.clock.sleep(4)
        await look(world, node, viewing)
        (row,) = await uploads(world)
        assert row.rate == pytest.approx(2.0, abs=0.3)


class TestTheObject:
    async def test_a_janitor_that_dies_before_the_end_leaves_the_old_one(self, world: World, node: Node) -> None:
        viewing = viewing_of(node)
        await park_first(world)
        await look(world, node, viewing)
        before = await uploads(world)
        await upload_gap(world)
        node.hooks.on("put", FLEET_UPLOADS, _crash)
        with pytest.raises(Crash):
            await look(world, node, viewing)
        assert await uploads(world) == before

    async def test_a_look_that_broke_off_shows_nothing_in_the_next(self, world: World, node: Node) -> None:
        viewing = viewing_of(node)
        await upload_gap(world)
        node.hooks.on("put", FLEET_UPLOADS, _away)
        with pytest.raises(StoreUnavailable):
            await look(world, node, viewing)
        await look(world, node, viewing)
        assert len(await uploads(world)) == 1

    async def test_an_older_look_never_replaces_a_newer_one(self, world: World) -> None:
        slow, fast = world.node(), world.node()
        gate = slow.hooks.hold("put", FLEET_UPLOADS)
        late = asyncio.create_task(look(world, slow, viewing_of(slow)))
        await gate.reached.wait()
        await upload_gap(world)
        await look(world, fast, viewing_of(fast))
        gate.opened.set()
        await asyncio.gather(late, return_exceptions=True)
        assert len(await uploads(world)) == 1

    async def test_a_look_costs_the_listings_and_four_calls(self, world: World, node: Node) -> None:
        await upload_gap(world)
        viewing = viewing_of(node)
        await look(world, node, viewing)
        node.hooks.calls.clear()
        await look(world, node, viewing)
        asked = Counter(f"{call.method} {call.key.partition('/')[0]}" for call in node.hooks.calls)
        assert {call: count for call, count in asked.items() if "fleet" in call} == {
            "fetch fleet": 1, "list fleet": 1, "stat fleet": 1, "put fleet": 1,
        }  # fmt: skip


class TestDevices:
    async def test_what_the_replicas_saw_is_folded_and_the_latest_counts(self, world: World, node: Node) -> None:
        now = await store_time(world.temp)
        for rows in (
            [DeviceRow("car-1", now, now, "busy")],
            [DeviceRow("car-1", now - 5, 0.0), DeviceRow("car-2", now)],
        ):
            await put_seen(world.perm, new_seen_key(), now, rows)
        viewing = viewing_of(node)
        await look(world, node, viewing)
        assert (await devices(world))["car-1"] == DeviceRow("car-1", now, now, "busy")
        assert (await devices(world))["car-2"].last_seen == now

    async def test_a_replica_that_is_gone_leaves_what_it_saw_and_no_object(self, world: World, node: Node) -> None:
        now, key = await store_time(world.temp), new_seen_key()
        await put_seen(world.perm, key, now, [DeviceRow("car-1", now)])
        await look(world, node, viewing_of(node))
        assert key in await world.keys()
        await world.clock.sleep(GONE_AFTER + 1)
        await look(world, node, viewing_of(node))
        assert key not in await world.keys()
        await look(world, node, viewing_of(node))
        assert (await devices(world))["car-1"].last_seen == now

    async def test_nothing_is_deleted_before_it_is_in_the_table(self, world: World, node: Node) -> None:
        now, key = await store_time(world.temp), new_seen_key()
        await put_seen(world.perm, key, now, [DeviceRow("car-1", now)])
        await world.clock.sleep(GONE_AFTER + 1)
        node.hooks.on("put", FLEET_DEVICES, _away)
        with pytest.raises(StoreUnavailable):
            await look(world, node, viewing_of(node))
        assert key in await world.keys()

    async def test_uploads_count_for_their_device_and_have_its_class(self, world: World, node: Node) -> None:
        now = await store_time(world.temp)
        row = DeviceRow(FILE.owner, now, device_class="truck")
        await put_seen(world.perm, new_seen_key(), now, [row])
        await upload_gap(world)
        await look(world, node, viewing_of(node))
        assert (await devices(world))[FILE.owner].uploads_open == 1
        assert [row.device_class for row in await uploads(world)] == ["truck"]


class TestStoredBytes:
    async def test_they_are_counted_by_a_listing_a_day_and_shown_to_whoever_else_needs_it(
        self, world: World, node: Node
    ) -> None:
        shown = []

        async def show(file: FileId, _: object) -> None:
            shown.append(file)

        viewing = Viewing(node.buckets.perm, 60, Stored(node.buckets.perm, SlowClock(), DAY, show))
        await finish_upload(world)
        await look(world, node, viewing)
        assert FILE.owner not in await devices(world)
        for _ in range(2):
            await viewing.count_if_due()
            await look(world, node, viewing)
        assert (await devices(world))[FILE.owner].bytes_stored == TOTAL
        assert shown == [FILE]
        await world.clock.sleep(DAY)
        await look(world, node, viewing)
        await viewing.count_if_due()
        assert shown == [FILE, FILE]

    async def test_a_short_listing_is_made_as_often_as_it_takes_a_hundredth_of_the_time(
        self, world: World, node: Node
    ) -> None:
        viewing = Viewing(node.buckets.perm, 60, Stored(node.buckets.perm, SlowClock(takes=1), DAY))
        await look(world, node, viewing)
        await viewing.count_if_due()
        await finish_upload(world)
        for waited, stored in ((50, 0), (60, TOTAL)):
            await world.clock.sleep(waited)
            await look(world, node, viewing)
            await viewing.count_if_due()
            await look(world, node, viewing)
            found = (await devices(world)).get(FILE.owner, DeviceRow(FILE.owner, bytes_stored=0))
            assert found.bytes_stored == stored

    async def test_what_another_janitor_counted_later_stays(self, world: World) -> None:
        early, late = world.node(), world.node()
        first, second = viewing_of(early), viewing_of(late)
        await look(world, early, first)
        await first.count_if_due()
        await finish_upload(world)
        await world.clock.sleep(1)
        await look(world, late, second)
        await second.count_if_due()
        await look(world, late, second)
        await look(world, early, first)
        assert (await devices(world))[FILE.owner].bytes_stored == TOTAL


class SlowClock(SystemClock):
    """A clock on which everything takes some seconds."""

    def __init__(self, takes: float = DAY) -> None:
        self._now = 0.0
        self._takes = takes

    def monotonic(self) -> float:
        self._now += self._takes
        return self._now


class TestHowOften:
    async def looks(self, world: World, node: Node, takes: float, interval: float) -> list[float]:
        """When sweeps begin in 1,000 s, by a janitor whose sweeps take some seconds."""
        began, started = list[float](), world.clock.now

        async def note() -> None:
            began.append(world.clock.now - started)
            if world.clock.now - started > 1000:
                raise Enough
            await world.clock.sleep(takes)

        node.hooks.on("list", "chunks/", note, times=999)
        with pytest.raises(Enough):
            await sweep_forever(node.janitor, 3600, 600, viewing_of(node, interval))
        return began

    async def test_the_fleet_is_looked_at_as_often_as_the_setting_says(self, world: World, node: Node) -> None:
        assert await self.looks(world, node, 0, 100) == [*range(0, 1200, 100)]

    async def test_but_for_the_view_alone_at_most_a_tenth_of_the_time(self, world: World, node: Node) -> None:
        assert await self.looks(world, node, 30, 60) == [0, 300, 600, 900, 1200]


async def _crash() -> None:
    raise Crash


async def _away() -> None:
    raise StoreUnavailable("away")
