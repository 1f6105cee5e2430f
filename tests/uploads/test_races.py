"""Meetings of processes, arranged at the one moment that matters."""

import asyncio
import hashlib

import pytest

from libs.common.bus.events import FileCompleted
from libs.common.files.pins import NO_PIN, Pin
from libs.common.problems import Kind
from libs.common.storage import LEASE, StoreUnavailable
from libs.common.uploads.cancelling import end, settle
from libs.common.uploads.layout import file_key
from libs.common.uploads.record import Record
from libs.common.uploads.records import DATE, SLACK
from libs.common.uploads.sweeping import store_time
from tests.uploads.uploads import DATA, OTHER, TOTAL, WRONG
from tests.uploads.world import FILE, Node, World, content, refused

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


@pytest.mark.parametrize("sent", [0, 4])
async def test_a_file_is_complete_at_once_after_the_delete_of_an_unfinished_upload_or_of_nothing(
    world: World, node: Node, sent: int
) -> None:
    if sent:
        await node.send(0, DATA[:sent], TOTAL)
        await node.cancel()
    else:
        await refused(Kind.NOT_FOUND, node.cancel())
    slept = world.clock.slept
    await node.send_all(OTHER[:12])
    await node.work()
    assert await world.final() == OTHER[:12]
    assert world.clock.slept - slept <= DATE + 0.2


async def test_a_file_that_is_made_while_its_upload_is_deleted_does_not_come_back(world: World, node: Node) -> None:
    """No file was there when the DELETE looked, so that it deleted none."""
    await node.send_all(DATA[:8], 4)
    assembler = world.node()
    gate = assembler.hooks.hold("put", "files/")
    working = asyncio.create_task(assembler.work())
    await gate.reached.wait()
    ending = await end(node.tools, FILE, NO_PIN)
    gate.opened.set()
    await working
    await settle(node.tools, ending)
    await refused(Kind.NOT_FOUND, node.reader.state(FILE))
    await node.send_all(OTHER)
    await node.work()
    assert await world.final() == OTHER


async def test_a_file_that_is_made_while_its_upload_is_deleted_goes_with_the_next_sweep(
    world: World, node: Node
) -> None:
    """The assembler makes the file between the last look of the DELETE and its swap."""
    await node.send_all(DATA)
    other = world.node()
    finishing = node.hooks.hold("complete_multipart", "files/")
    finished = node.hooks.hold("complete_multipart", "files/", when="after")
    cancelling = other.hooks.hold("put", "=record")
    making = asyncio.create_task(node.work())
    await finishing.reached.wait()
    deleting = asyncio.create_task(other.cancel())
    await cancelling.reached.wait()
    finishing.opened.set()
    await finished.reached.wait()
    cancelling.opened.set()
    await deleting
    finished.opened.set()
    await making
    await refused(Kind.NOT_FOUND, node.reader.state(FILE))
    await node.work()
    assert file_key(FILE) not in await world.keys()


async def test_a_deleted_file_does_not_come_back_by_a_late_copy_of_the_delete(world: World, node: Node) -> None:
    """A copy of the DELETE request is on its way: no file is made before it can have no effect any more."""
    await node.send(0, DATA[:8], 8)
    deleted = await store_time(world.temp)
    await node.cancel()
    await node.send_all(OTHER)
    await node.work()
    assert (await world.perm.stat(file_key(FILE))).modified > deleted + LEASE + SLACK


async def test_a_file_is_deleted_only_once_the_record_says_so(world: World, node: Node) -> None:
    """Else its next upload would not know of the request that is on its way."""
    await node.send(0, DATA[:8], 8)
    opening = await node.records.swap(await node.records.look(FILE), Record(state="opening", version=""))
    assert opening
    await node.records.settle(opening)
    node.hooks.fail("put", "=record", times=99)
    with pytest.raises(StoreUnavailable):
        await node.cancel()
    assert await world.final() == DATA[:8]


async def test_a_name_that_was_closed_a_moment_ago_opens_a_lease_later(world: World, node: Node) -> None:
    """Until then a replica may acknowledge chunks of the upload that was closed."""
    await node.send(0, DATA[:4], TOTAL)
    closed = await node.records.change(await node.records.look(FILE), state="closed", session="")
    assert closed
    began = world.clock.now
    await world.node().send(0, OTHER[:4], TOTAL)
    assert world.clock.now - began >= LEASE


async def test_the_offset_counts_what_another_replica_stored_in_between(world: World) -> None:
    one, two = world.node(), world.node()
    await one.send(0, DATA[:4], TOTAL)
    await two.send(4, DATA[4:8], TOTAL)
    assert (await one.send(8, DATA[8:12], TOTAL)).offset == 12


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
    until = ended.now + 30.0
    await node.records.change(ended, removing=until)
    await world.node().send(0, OTHER[:4], 12)
    opened = await node.records.look(FILE)
    assert opened.modified > until


async def test_a_file_that_is_there_is_never_written_over(world: World, node: Node) -> None:
    """Another one came whole, and was acknowledged, after this request had looked."""
    gate = node.hooks.hold("put", "files/")
    late = asyncio.create_task(node.send(0, DATA[:8], 8))
    await gate.reached.wait()
    assert (await world.node().send(0, OTHER[:8], 8)).complete
    gate.opened.set()
    await refused(Kind.CONTENT_CONFLICT, late)
    assert await world.final() == OTHER[:8]


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


async def test_a_delete_of_an_upload_that_is_rejected_meanwhile_removes_what_was_kept(world: World, node: Node) -> None:
    await node.send_all(DATA, declared=WRONG)
    gate = node.hooks.hold("put", "=record")
    deleting = asyncio.create_task(node.cancel())
    await gate.reached.wait()
    await world.node().work()
    gate.opened.set()
    await deleting
    await refused(Kind.NOT_FOUND, world.node().reader.state(FILE))


async def test_a_delete_of_nothing_spares_an_upload_that_begins_meanwhile(world: World, node: Node) -> None:
    """A later session is not its business: a chunk of it may have been acknowledged already."""
    gate = node.hooks.hold("put", "=record")
    deleting = asyncio.create_task(node.cancel())
    await gate.reached.wait()
    await node.records.swap(await node.records.look(FILE), Record(state="opening", version=""))
    gate.opened.set()
    again = node.hooks.hold("stat", "files/")
    await again.reached.wait()
    other = world.node()
    await other.send(0, DATA[:4], TOTAL)
    again.opened.set()
    await refused(Kind.NOT_FOUND, deleting)
    assert (await other.reader.state(FILE)).offset == 4


async def test_a_chunk_of_an_upload_that_is_over_tells_nothing_of_the_next_one(world: World, node: Node) -> None:
    """It lists stored bytes of the old upload while another request of the same replica begins the new one."""
    session = (await node.send(8, DATA[8:16], TOTAL)).session
    gate = node.hooks.hold("list", "/00001/")
    late = asyncio.create_task(node.send(4, DATA[4:12], TOTAL, pin=Pin(match=frozenset({session}))))
    await gate.reached.wait()
    await world.node().cancel()
    await node.send(0, OTHER[:4], TOTAL)
    gate.opened.set()
    await refused(Kind.PRECONDITION_FAILED, late)
    assert (await node.send(4, OTHER[4:8], TOTAL)).offset == 8


async def test_a_digest_that_is_declared_while_the_file_is_made_is_checked_by_each_assembler(world: World) -> None:
    """The first one made the file by a record without a digest, and sleeps. The second one finds its multipart upload
    purged, and the file there."""
    device, first, second, data = world.node(), world.node(), world.node(), content(24)
    await device.send_all(data)
    made, slept = first.hooks.hold("complete_multipart", "files/"), first.hooks.hold("stat", "files/")
    working = asyncio.create_task(first.work())
    await made.reached.wait()
    await device.send(0, data[:8], 24, declared=hashlib.sha256(b"another file").hexdigest())
    made.opened.set()
    await slept.reached.wait()
    listing = second.hooks.hold("list_parts", "files/")
    other = asyncio.create_task(second.work())
    await listing.reached.wait()
    for upload in world.open_uploads():
        await world.perm.abort_multipart(file_key(FILE), upload)
    listing.opened.set()
    await other
    slept.opened.set()
    await working
    await refused(Kind.REJECTED, world.node().reader.state(FILE))
