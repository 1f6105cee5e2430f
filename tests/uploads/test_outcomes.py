"""Every outcome is an entry of the feed: a record owes it from the swap that makes it true until the feed tells it."""

from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from libs.common.files.pins import Pin
from libs.common.storage import StoreUnavailable
from libs.common.uploads.comparing import SETTLED, Comparison
from libs.common.uploads.layout import FileId, file_key, files_root, parse_file_key, record_key
from libs.common.uploads.ours import walk_ours
from libs.common.uploads.outcomes import session_of
from libs.common.uploads.sweeping import Need, store_time
from tests.uploads.crashes import after_each_crash, crash
from tests.uploads.hooked_store import Crash
from tests.uploads.uploads import DATA, OTHER, TOTAL, WRONG, upload_all, upload_gap
from tests.uploads.world import AGES, FILE, Node, World

Act = Callable[[Node], Awaitable[None]]


async def test_a_file_that_the_assembler_makes_is_told(world: World, node: Node) -> None:
    session = (await node.send_all(DATA)).session
    await node.work()
    assert await world.feed() == [("complete", session)]


async def test_a_file_in_one_request_is_told_before_it_is_acknowledged(world: World, node: Node) -> None:
    node.hooks.fail("put", "feed/")
    with pytest.raises(StoreUnavailable):
        await node.send_all(DATA[:8], 8)
    again = await node.send_all(DATA[:8], 8)
    assert await world.feed() == [("complete", again.session)]


async def test_a_whole_file_that_is_sent_again_is_told_again(world: World, node: Node) -> None:
    session = (await node.send_all(DATA[:8], 8)).session
    await world.node().send_all(DATA[:8], 8)
    assert await world.feed() == [("complete", session)] * 2


async def test_a_file_whose_replica_died_before_it_told_is_told_when_an_upload_meets_it(world: World) -> None:
    dying = world.node()
    dying.hooks.on("put", "files/", crash, when="after")
    with pytest.raises(Crash):
        await dying.send_all(DATA[:8], 8)
    assert await world.feed() == []
    node = world.node()
    ack = await node.send(0, DATA[:4], 8)
    assert ack.complete
    await node.work()
    assert await world.feed() == [("complete", ack.session)]


async def test_or_when_a_chunk_that_names_it_is_sent_again(world: World) -> None:
    dying = world.node()
    dying.hooks.on("put", "files/", crash, when="after")
    with pytest.raises(Crash):
        await dying.send_all(DATA[:8], 8)
    session = (await world.node().reader.state(FILE)).session
    ack = await world.node().send(0, DATA[:4], 8, pin=Pin(match=frozenset({session})))
    assert ack.complete
    assert await world.feed() == [("complete", session)]


async def test_parking_is_told_once_for_all_its_bytes(world: World, node: Node) -> None:
    await upload_gap(world)
    session = (await world.record()).session
    await node.park()
    await node.work()
    assert await world.feed() == [("parked", session)]
    assert (await world.record()).owes == ()


async def test_a_rejection_is_told(world: World, node: Node) -> None:
    session = (await node.send_all(DATA, declared=WRONG)).session
    await node.work()
    assert await world.feed() == [("rejected", session)]
    assert (await world.record()).owes == ()


async def test_a_delete_is_told_when_the_name_is_tidied(world: World, node: Node) -> None:
    session = (await node.send_all(DATA[:8], 8)).session
    await node.cancel()
    await node.work()
    await node.work()
    assert await world.feed() == [("complete", session), ("deleted", session)]


async def test_the_end_of_an_upload_is_told_before_the_next_one_begins(world: World, node: Node) -> None:
    session = (await node.send(0, DATA[:8], TOTAL)).session
    await node.cancel()
    anew = (await node.send_all(OTHER[:8], 8)).session
    await node.work()
    assert await world.feed() == [("deleted", session), ("complete", anew)]


async def test_a_delete_of_nothing_is_not_told(world: World, node: Node) -> None:
    await node.send_all(DATA[:8], 8)
    await node.cancel()
    await node.cancel()
    await node.work()
    assert [outcome for outcome, _ in await world.feed()] == ["complete", "deleted"]


async def complete(node: Node) -> None:
    await node.work()


async def park(node: Node) -> None:
    await node.park()


@pytest.mark.parametrize(("act", "outcome", "declared"), [
    (complete, "complete", ""), (complete, "rejected", WRONG), (Node.cancel, "deleted", ""), (park, "parked", ""),
])  # fmt: skip
async def test_wherever_a_process_dies_an_outcome_that_became_true_is_told(
    tmp_path: Path, act: Act, outcome: str, declared: str
) -> None:
    async def prepare(world: World) -> None:
        if outcome in ("deleted", "parked"):
            await upload_gap(world)
        elif declared:
            await world.node().send_all(DATA, declared=declared)
        else:
            await upload_all(world)

    async for world in after_each_crash(tmp_path, prepare, act):
        before = (await world.look()).record
        became = before.state != "open" or before.parked_at is not None
        for _ in range(2):
            await world.clock.sleep(AGES.grace + 10)
            await world.node().janitor.sweep(await store_time(world.temp), dry_run=False)
        told = {each for each, _ in await world.feed()}
        assert told == ({outcome} if became else set())
        assert (await world.look()).record.owes == ()


async def test_a_sweep_finds_a_parked_upload_that_owes_its_outcome(world: World, node: Node) -> None:
    await upload_gap(world)
    node.hooks.fail("put", "feed/")
    with pytest.raises(StoreUnavailable):
        await node.park()
    assert (await world.record()).owes
    now = await store_time(world.temp)
    found = await node.janitor.sweep(now + AGES.grace + 1, needs=frozenset({Need.GARBAGE}), dry_run=False)
    assert found[0].file == FILE
    assert [outcome for outcome, _ in await world.feed()] == ["parked"]
    assert record_key(FILE) in await world.left()


async def compare(world: World, later: float) -> None:
    """A janitor lists all files, `later` seconds from now."""
    await world.clock.sleep(later)
    comparison = Comparison(world.node().tools)
    async for file, info in walk_ours(world.perm, files_root(), parse_file_key):
        await comparison.visit(file, info)


async def test_a_file_whose_replica_died_and_whose_device_never_comes_back_is_told_by_the_comparison(
    world: World,
) -> None:
    dying = world.node()
    dying.hooks.on("put", "files/", crash, when="after")
    with pytest.raises(Crash):
        await dying.send_all(DATA[:8], 8)
    await compare(world, SETTLED / 2)
    assert await world.feed() == []
    await compare(world, SETTLED)
    session = session_of(await world.perm.stat(file_key(FILE)))
    assert await world.feed() == [("complete", session)]
    await compare(world, SETTLED)
    assert len(await world.feed()) == 1


async def test_the_comparison_repeats_nothing_and_tells_of_no_file_that_does_not_count(
    world: World, node: Node
) -> None:
    await node.send_all(DATA[:8], 8)
    other = FileId("device-1", "other.bin")
    await node.send(0, DATA[:4], TOTAL, file=other)
    await world.perm.put(file_key(other), b"left", metadata={"session": "0123456789abcdef"})
    await compare(world, SETTLED + 1)
    assert [outcome for outcome, _ in await world.feed()] == ["complete"]
