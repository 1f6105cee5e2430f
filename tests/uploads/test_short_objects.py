"""Some stores keep the bytes of a sender that died on the way: an object that is shorter than its key says."""

import hashlib

import pytest

from libs.common.bus.events import SessionStalled
from libs.common.files.extents import Extent
from libs.common.problems import Kind
from libs.common.uploads.layout import chunk_key, file_key
from libs.common.uploads.sweeping import Need, store_time
from tests.uploads.uploads import DATA, TOTAL, runs
from tests.uploads.world import AGES, FILE, PART, STALE, Node, World, refused


@pytest.fixture
async def short(world: World, node: Node) -> str:
    """An upload whose bytes 0 to 7 and 12 to 19 are stored, and of 8 to 11 half. The key of that."""
    ack = await node.send(0, DATA[:8], TOTAL)
    await node.send(12, DATA[12:], TOTAL)
    extent = Extent(8, 12)
    key = chunk_key(FILE, ack.session, 8 // PART, extent, hashlib.sha256(DATA[8:12]).hexdigest())
    await world.temp.put(key, DATA[8:10])
    return key


async def test_it_is_not_shown_as_durable_and_not_acknowledged(world: World, short: str) -> None:
    replica = world.node()
    state = await replica.reader.state(FILE)
    assert list(state.durable) == [Extent(0, 8), Extent(12, 20)]
    assert (await replica.send(0, DATA[:8], TOTAL)).offset == 8


async def test_it_is_not_assembled_nor_parked(world: World, short: str) -> None:
    node = world.node()
    await node.work()
    assert (await node.reader.state(FILE)).state == "pending"
    await node.park()
    assert await runs(world) == [Extent(0, 8), Extent(12, 20)]


async def test_a_chunk_that_is_sent_again_takes_its_place(world: World, short: str) -> None:
    node = world.node()
    assert (await node.send(8, DATA[8:12], TOTAL)).offset == TOTAL
    await node.work()
    assert await world.final() == DATA
    assert await world.left() == []


async def test_a_sweep_takes_it_for_no_byte(world: World, short: str) -> None:
    node, now = world.node(), await store_time(world.temp)
    (found,) = await node.janitor.sweep(now + AGES.grace + 1, dry_run=True)
    assert found.why == "chunks came lately: full parts may wait"
    await node.park()
    assert await node.janitor.sweep(now + 2 * STALE, needs=frozenset({Need.STALE}), dry_run=True) == []
    assert not world.told(SessionStalled)


async def test_a_file_of_a_replica_that_died_while_it_put_it_does_not_count_and_is_replaced(
    world: World, node: Node
) -> None:
    await world.perm.put(file_key(FILE), DATA[:5], metadata={"session": "0123456789abcdef", "size": "8"})
    await refused(Kind.NOT_FOUND, node.reader.state(FILE))
    await node.send_all(DATA[:8], 8)
    await node.work()
    assert await world.final() == DATA[:8]
    assert [outcome for outcome, _ in await world.feed()] == ["complete"]


async def test_a_file_of_an_assembler_that_died_while_it_put_it_is_made_again(world: World, node: Node) -> None:
    session = (await node.send_all(DATA[:8], 4)).session
    await world.perm.put(file_key(FILE), DATA[:5], metadata={"session": session, "size": "8"})
    await node.work()
    assert await world.final() == DATA[:8]


async def test_a_part_of_an_assembler_that_died_while_it_put_it_is_put_again(world: World, node: Node) -> None:
    await node.send(0, DATA[:8], TOTAL)
    await node.work()
    (upload,) = world.open_uploads()
    await world.perm.put_part(file_key(FILE), upload, 2, DATA[8:12])
    await node.send(8, DATA[8:], TOTAL)
    await node.work()
    assert await world.final() == DATA


async def test_it_goes_with_its_upload(world: World, short: str) -> None:
    node = world.node()
    await node.cancel()
    await node.assembler.tidy(FILE)
    assert short not in await world.left()
