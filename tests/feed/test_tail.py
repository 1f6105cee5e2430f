"""One listing a second serves every reader of a process; nothing is lost where memory ends and the store begins."""

import asyncio

import pytest

from libs.common.feed import reading, tail
from libs.common.feed.positions import Position
from libs.common.feed.reading import FeedReader
from libs.common.feed.tail import Batch, Tail
from libs.common.feed.writing import FeedWriter
from libs.common.storage import StoreUnavailable
from libs.common.uploads.layout import EntryKey, FileId
from libs.common.uploads.outcomes import deleted
from tests.uploads.conftest import _no_power_cuts, world
from tests.uploads.hooked_store import Hooks
from tests.uploads.world import World

__all__ = ["_no_power_cuts", "world"]  # fixtures
START = Position.at(0)
SETTLED = reading.CLOSED_AFTER + 0.1


def anything(key: EntryKey) -> bool:
    return True


class Rig:
    def __init__(self, world: World) -> None:
        self.world, self.hooks, self.put_so_far = world, Hooks(), 0
        self.tail = Tail(FeedReader(self.hooks.over(world.buckets).perm), world.clock)
        self.writer = FeedWriter(world.perm, world.clock)

    async def put(self, count: int, owner: str = "car-7") -> None:
        for _ in range(count):
            self.put_so_far += 1
            await self.writer.put(deleted(FileId(owner, "a"), f"{self.put_so_far:016x}", "/hiper/ingest"))
            await self.world.clock.sleep(0.01)

    async def settle(self) -> None:
        await self.world.clock.sleep(SETTLED)


@pytest.fixture
def rig(world: World) -> Rig:
    return Rig(world)


def numbers(batch: Batch) -> list[int]:
    return [int(told.outcome.data.session, 16) for told in batch.told]


async def follow(rig: Rig, after: Position, limit: int = 1000) -> tuple[list[int], Position]:
    found, more = list[int](), True
    while more:
        batch = await rig.tail.read(after, limit, anything)
        found, after, more = found + numbers(batch), batch.next, batch.more
    return found, after


async def test_a_hundred_readers_cost_the_store_one_listing_a_second_and_one_read_for_each_entry(rig: Rig) -> None:
    _, after = await follow(rig, START)
    await rig.put(10)
    await rig.settle()
    rig.hooks.calls.clear()
    found = await asyncio.gather(*(follow(rig, after) for _ in range(100)))
    assert [numbers for numbers, _ in found] == [list(range(1, 11))] * 100
    assert (rig.hooks.count("list"), rig.hooks.count("get")) == (1, 10)
    await rig.world.clock.sleep(1.0)
    await asyncio.gather(*(follow(rig, after) for _ in range(100)))
    assert (rig.hooks.count("list"), rig.hooks.count("get")) == (2, 10)


async def test_a_reader_who_was_away_goes_on_where_it_was(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whether that is still in memory, has just left it, or was before this process."""
    monkeypatch.setattr(tail, "KEPT", 7)
    found, after = await follow(rig, START)
    for count, pause in ((3, 1.0), (20, 1.0), (5, 100.0), (9, 15.0), (0, 50.0), (2, 3.0)):
        await rig.put(count)
        await rig.world.clock.sleep(pause)
        await rig.tail.read(START, 1, anything)
        more, after = await follow(rig, after, limit=4)
        found += more
    await rig.settle()
    found += (await follow(rig, after))[0]
    assert found == list(range(1, 40))


async def test_a_filter_moves_the_cursor_past_what_it_leaves_out(rig: Rig) -> None:
    await rig.put(5, "car-8")
    await rig.put(1)
    await rig.settle()
    batch = await rig.tail.read(START, 3, lambda key: key.owner == "car-7")
    assert numbers(batch) == [6]
    rig.hooks.calls.clear()
    assert numbers(await rig.tail.read(batch.next, 3, anything)) == []
    assert rig.hooks.count("get") == 0


async def test_who_waits_hears_of_an_entry_within_two_seconds_of_its_closing(rig: Rig) -> None:
    _, after = await follow(rig, START)
    await rig.put(1)
    began = rig.world.clock.now
    await rig.tail.wait(after, 60)
    assert rig.world.clock.now - began <= SETTLED + 2
    assert numbers(await rig.tail.read(after, 10, anything)) == [1]


async def test_who_waits_in_vain_is_told_so_in_time(rig: Rig) -> None:
    _, after = await follow(rig, START)
    began = rig.world.clock.now
    await rig.tail.wait(after, 5)
    assert 5 <= rig.world.clock.now - began < 6.1


async def test_a_store_that_is_away_is_asked_once_a_second_for_all_readers(rig: Rig) -> None:
    _, after = await follow(rig, START)
    await rig.world.clock.sleep(1.0)
    rig.hooks.calls.clear()
    rig.hooks.fail("list", times=1)
    refused = await asyncio.gather(*(rig.tail.read(after, 1, anything) for _ in range(50)), return_exceptions=True)
    assert all(isinstance(answer, StoreUnavailable) for answer in refused)
    assert rig.hooks.count("list") == 1
    await rig.put(1)
    await rig.settle()
    assert (await follow(rig, after))[0] == [1]
