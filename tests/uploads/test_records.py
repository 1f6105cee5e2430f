"""The record of a name: every race has one winner, and a lost answer is found out."""

import asyncio

import pytest

from libs.common.storage import LEASE, StoreUnavailable
from libs.common.uploads.layout import file_key, record_key
from libs.common.uploads.outcomes import session_of
from libs.common.uploads.record import Record
from libs.common.uploads.records import SLACK, Records
from tests.uploads.hooked_store import When
from tests.uploads.world import FILE, Node, World

OPENING = Record(state="opening", version="", session="s1")


async def test_of_many_that_create_a_record_one_wins(world: World) -> None:
    nodes = [world.node() for _ in range(10)]
    looks = [await node.records.look(FILE) for node in nodes]
    won = await asyncio.gather(*(node.records.swap(seen, OPENING) for node, seen in zip(nodes, looks, strict=True)))
    assert sum(look is not None for look in won) == 1


async def test_of_many_that_change_a_record_one_wins(world: World, node: Node) -> None:
    await node.records.swap(await node.records.look(FILE), OPENING)
    seen = await node.records.look(FILE)
    won = await asyncio.gather(*(world.node().records.change(seen, session=f"s{n}") for n in range(10)))
    (winner,) = [look for look in won if look]
    assert winner.record == await world.record()


@pytest.mark.parametrize("when", ["before", "after"])
async def test_a_write_without_an_answer_is_found_out(world: World, node: Node, when: When) -> None:
    """It was done, or it was not: the version in the record says so."""
    node.hooks.fail("put", "=record", when=when)
    done = await node.records.swap(await node.records.look(FILE), OPENING)
    assert (done is not None) == (when == "after")


async def test_a_write_that_the_http_client_sent_twice_is_its_own(world: World, node: Node) -> None:
    seen = await node.records.look(FILE)
    put = world.temp.put

    async def twice(key: str, body: bytes, **how: object) -> str:
        await put(key, body, **how)  # type: ignore[arg-type]
        return await put(key, body, **how)  # type: ignore[arg-type]

    world.temp.put = twice  # type: ignore[method-assign, assignment]
    assert await Records(world.buckets, world.clock).swap(seen, OPENING)


async def test_a_write_that_comes_later_than_a_lease_after_its_look_has_no_effect(world: World, node: Node) -> None:
    seen = await node.records.look(FILE)
    await world.clock.sleep(LEASE + 0.5)
    assert await node.records.swap(seen, OPENING) is None
    assert (await node.records.look(FILE)).etag == ""


async def test_a_record_that_cannot_be_read_is_neither_believed_nor_overwritten(world: World, node: Node) -> None:
    await world.temp.put(record_key(FILE), b"not a record")
    with pytest.raises(StoreUnavailable):
        await node.send(0, b"abcd", 20)
    assert (await world.temp.fetch(record_key(FILE))).data == b"not a record"


async def test_an_opening_with_a_file_is_closed_with_it(world: World, node: Node) -> None:
    await world.perm.put(file_key(FILE), b"there", metadata={"session": "before"})
    seen = await node.records.swap(await node.records.look(FILE), OPENING)
    assert seen
    done = await node.records.settle(seen)
    assert done
    assert (done.record.state, done.record.file) == ("closed", "before")


async def test_an_opening_without_a_file_is_open(node: Node) -> None:
    seen = await node.records.swap(await node.records.look(FILE), OPENING)
    assert seen
    done = await node.records.settle(seen)
    assert done
    assert (done.record.state, done.record.session) == ("open", "s1")


async def test_a_delete_is_announced_and_its_quiet_time_outlasts_every_copy_of_the_request(
    world: World, node: Node
) -> None:
    await world.perm.put(file_key(FILE), b"there", metadata={"session": "before"})
    seen = await node.records.swap(await node.records.look(FILE), OPENING)
    assert seen
    now = seen.now
    node.hooks.fail("delete_many", "files/")
    said = await node.records.delete_file(seen, state="closed", session="")
    assert said
    assert said.record.quiet >= now + LEASE + SLACK
    assert await node.records.file(FILE), "the delete had no answer and no effect: the record says so all the same"


async def test_a_file_without_a_session_is_its_own(world: World, node: Node) -> None:
    """It was put there by hand."""
    await world.perm.put(file_key(FILE), b"by hand")
    done = await node.records.file(FILE)
    assert done
    assert session_of(done) == done.etag
