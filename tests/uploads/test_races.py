"""Meetings of processes, arranged at the one moment that matters."""

import asyncio

import pytest

from libs.common.events import FileCompleted
from libs.common.problems import Kind
from libs.common.store import LEASE
from libs.common.uploads.layout import file_key
from libs.common.uploads.pins import Pin
from libs.common.uploads.records import SLACK
from tests.uploads.uploads import DATA, OTHER, TOTAL
from tests.uploads.world import FILE, Node, World, refused

MINUTE = 60.0  # seconds


async def test_two_replicas_that_get_the_first_chunk_at_the_same_moment_open_one_upload(world: World) -> None:
    one, two = world.node(), world.node()
    gates = [node.hooks.hold("put", "=record") for node in (one, two)]
    sends = [asyncio.create_task(one.send(0, DATA[:4], TOTAL)), asyncio.create_task(two.send(4, DATA[4:8], TOTAL))]
    for gate in gates:
        await gate.reached.wait()
    for gate in gates:
        gate.opened.set()
    first, second = await asyncio.gather(*sends)
    assert first.session == second.session
    assert (await one.reader.state(FILE)).offset == 8


async def test_an_assembler_that_sleeps_for_a_minute_before_its_last_write_writes_nothing(
    world: World, node: Node
) -> None:
    """Meanwhile the file was deleted, and the name is in use for another one."""
    await node.send_all(DATA)
    sleeper = world.node()
    gate = sleeper.hooks.hold("complete_multipart", "files/")
    working = asyncio.create_task(sleeper.work())
    await gate.reached.wait()
    await node.cancel()
    await world.clock.sleep(MINUTE)
    await node.send_all(OTHER)
    gate.opened.set()
    await working
    await node.work()
    assert await world.final() == OTHER


async def test_two_assemblers_make_one_file_and_tell_of_it(world: World, node: Node) -> None:
    await node.send_all(DATA)
    await asyncio.gather(world.node().work(), world.node().work())
    assert await world.final() == DATA
    assert len({event.id for event in world.told(FileCompleted)}) == 1
    await world.clock.sleep(LEASE + SLACK + 1)
    await node.work()
    assert await world.left() == []


async def test_a_whole_file_that_meets_a_delete_is_not_acknowledged(world: World, node: Node) -> None:
    """The record that the DELETE made is seen by the second look."""
    gate = node.hooks.hold("put", "files/")
    sending = asyncio.create_task(node.send(0, DATA[:8], 8, pin=Pin(none_match=frozenset({"*"}))))
    await gate.reached.wait()
    await refused(Kind.NOT_FOUND, world.node().cancel())
    gate.opened.set()
    ack = await sending  # it opened an upload of its own after the DELETE, and is acknowledged by that
    assert (await node.reader.state(FILE)).session == ack.session


async def test_a_whole_file_that_meets_an_upload_of_its_name_is_not_acknowledged(world: World, node: Node) -> None:
    """The upload opened between the look and the put. The file is a leftover, which its assembler deletes."""
    gate = node.hooks.hold("put", "files/")
    sending = asyncio.create_task(node.send(0, DATA[:8], 8))
    await gate.reached.wait()
    other = world.node()
    await other.send(0, OTHER[:4], TOTAL)
    gate.opened.set()
    await refused(Kind.TOTAL_SIZE_CONFLICT, sending)
    await other.send(4, OTHER[4:], TOTAL)
    await other.work()
    assert await world.final() == OTHER


async def test_a_chunk_at_the_moment_of_parking_is_acknowledged_and_kept(world: World, node: Node) -> None:
    await node.send(0, DATA[:4], TOTAL)
    parker = world.node()
    gate = parker.hooks.hold("put", "partials/")
    parking = asyncio.create_task(parker.park())
    await gate.reached.wait()
    assert (await node.send(4, DATA[4:8], TOTAL)).offset == 8
    gate.opened.set()
    await parking
    assert (await world.node().reader.state(FILE)).offset == 8


async def test_a_chunk_right_after_parking_goes_on_with_the_same_upload(world: World, node: Node) -> None:
    before = await node.send(0, DATA[:4], TOTAL)
    await node.park()
    after = await node.send(4, DATA[4:8], TOTAL)
    assert after.offset == 8, "on a look of a moment ago"
    await world.clock.sleep(LEASE + 0.1)
    after = await node.send(4, DATA[4:8], TOTAL)
    assert (after.session, after.offset) == (before.session, 8)
    assert (await world.record()).parked_at is None


async def test_a_name_is_free_at_once_when_an_unfinished_upload_is_deleted(world: World, node: Node) -> None:
    await node.send(0, DATA[:4], TOTAL)
    await node.cancel()
    slept = world.clock.slept
    assert (await node.send(0, OTHER[:12], 12)).session
    await node.work()
    assert await world.final() == OTHER[:12]
    assert world.clock.slept - slept < LEASE + SLACK + 3


async def test_a_deleted_file_does_not_come_back_by_a_late_copy_of_the_delete(world: World, node: Node) -> None:
    """A copy of the DELETE request is on its way: no file is made before it can have no effect any more."""
    await node.send(0, DATA[:8], 8)
    await node.cancel()
    quiet = (await world.record()).quiet
    await node.send_all(OTHER)
    await node.work()
    assert (await world.perm.stat(file_key(FILE))).modified > quiet


@pytest.mark.parametrize("replicas", [1, 2])
async def test_bytes_that_contradict_are_refused_by_a_replica_and_rejected_by_the_assembler(
    world: World, replicas: int
) -> None:
    first = world.node()
    second = first if replicas == 1 else world.node()
    await first.send(0, DATA[:4], TOTAL)
    await second.send(4, DATA[4:8], TOTAL)
    if replicas == 1:
        await refused(Kind.CONTENT_CONFLICT, second.send(0, OTHER[:4], TOTAL))
        return
    session = (await world.record()).session
    await world.store_chunk(session, 0, OTHER[:4])  # by a replica that had not heard of the first chunk
    await first.send(8, DATA[8:], TOTAL)
    await world.node().work()
    await refused(Kind.REJECTED, world.node().reader.state(FILE))


async def test_nothing_is_refused_on_a_remembered_record(world: World, node: Node) -> None:
    """Within the lease of what this replica remembers, the upload was deleted and begun anew through another one."""
    await node.send(0, DATA[:4], TOTAL)
    other = world.node()
    remembered = (await world.record()).session
    ended = await other.records.delete_file(await other.records.look(FILE), state="closed", session="")
    assert ended
    anew = await world.node().send(0, OTHER[:4], 12)
    assert anew.session != remembered
    world.clock.now -= world.clock.slept  # as if no time had passed for the first replica
    pinned = await node.send(4, OTHER[4:8], 12, pin=Pin(match=frozenset({anew.session})))
    assert (pinned.session, pinned.offset) == (anew.session, 8)


async def test_a_record_that_is_being_removed_is_not_taken_over(world: World, node: Node) -> None:
    """The request that deletes it may be on its way: it would take the record of the next upload with it."""
    await node.send(0, DATA[:4], TOTAL)
    seen = await node.records.look(FILE)
    ended = await node.records.delete_file(seen, state="closed", session="")
    assert ended
    until = ended.store_time(world.clock.monotonic()) + 30.0
    await node.records.change(ended, removing=until)
    await world.node().send(0, OTHER[:4], 12)
    opened = await node.records.look(FILE)
    assert opened.modified > until


async def test_a_file_that_is_there_is_never_written_over(world: World, node: Node) -> None:
    """An assembler that looked before another one made the file finds it made."""
    await node.send_all(DATA[:8], 4)
    slow = world.node()
    gate = slow.hooks.hold("put", "files/")
    working = asyncio.create_task(slow.work())
    await gate.reached.wait()
    await world.node().work()
    made = await world.perm.stat(file_key(FILE))
    gate.opened.set()
    await working
    assert (await world.perm.stat(file_key(FILE))).etag == made.etag


async def test_bytes_that_come_late_do_not_take_the_place_of_those_that_were_acknowledged(world: World) -> None:
    """They are another object, so that the assembler sees that the device contradicted itself."""
    first, second = world.node(), world.node()
    await first.send(8, DATA[8:], TOTAL)
    gate = first.hooks.hold("put", "chunks/")
    late = asyncio.create_task(first.send(0, OTHER[:8], TOTAL))
    await gate.reached.wait()
    await second.send(0, DATA[:8], TOTAL)
    gate.opened.set()
    await late
    await world.node().work()
    await refused(Kind.REJECTED, world.node().reader.state(FILE))
