"""Requests that sleep half-way, while their device sends again elsewhere and goes on. They bring nothing back."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from libs.common.bus.events import ChunkReceived
from libs.common.problems import Kind
from libs.common.storage import LEASE, ObjectNotFound
from libs.common.uploads.layout import file_key
from libs.common.uploads.records import SLACK
from libs.common.uploads.tidying import KEPT_CLOSED
from tests.uploads.hooked_store import Gate
from tests.uploads.uploads import DATA, OTHER
from tests.uploads.world import FILE, Node, World, refused

Late = tuple[Gate, "asyncio.Task[object]"]
Begin = Callable[[Node], Awaitable[Late]]


async def late_file(sleeper: Node) -> Late:
    """A whole file was put at once; its request sleeps before the second look."""
    gate = sleeper.hooks.hold("put", "files/", when="after")
    return gate, asyncio.create_task(sleeper.send(0, DATA[:8], 8))


async def late_chunk(sleeper: Node) -> Late:
    """A chunk was put into an upload; its request sleeps before it looks again."""
    await sleeper.send(0, DATA[:4], 8)
    gate = sleeper.hooks.hold("put", "chunks/", when="after")
    return gate, asyncio.create_task(sleeper.send(4, DATA[4:8], 8))


@pytest.mark.parametrize("begin", [late_file, late_chunk])
@pytest.mark.parametrize("later", [0.0, KEPT_CLOSED + 4 * SLACK])
async def test_a_file_that_was_deleted_is_not_brought_back(
    world: World, node: Node, begin: Begin, later: float
) -> None:
    """The device sent again through another replica, and deleted what it had sent. The record may be gone by then."""
    gate, sleeping = await begin(node)
    await gate.reached.wait()
    other = world.node()
    await other.send_all(DATA[:8], 8)
    await other.cancel()
    if later:
        await other.work()
        await world.clock.sleep(later / 2)
        await other.work()
        await world.clock.sleep(later / 2)
        await other.work()
        assert await world.left() == []
    gate.opened.set()
    await refused(Kind.CLOSING, sleeping)
    await refused(Kind.NOT_FOUND, world.node().reader.state(FILE))


@pytest.mark.parametrize("begin", [late_file, late_chunk])
async def test_its_bytes_do_not_go_into_the_next_upload(world: World, node: Node, begin: Begin) -> None:
    gate, sleeping = await begin(node)
    await gate.reached.wait()
    other = world.node()
    await other.send_all(DATA[:8], 8)
    await other.cancel()
    session = (await other.send(0, OTHER[:1], 8)).session
    gate.opened.set()
    await refused(Kind.CLOSING, sleeping)
    state = await world.node().reader.state(FILE)
    assert (state.session, state.offset) == (session, 1)


async def test_a_delete_that_slept_deletes_the_file_all_the_same(world: World, node: Node) -> None:
    """The store refuses it after a lease. The replica announces it again, on a new look."""
    await node.send_all(DATA[:8], 8)
    gate = node.hooks.hold("delete_many", "files/")
    cancelling = asyncio.create_task(node.cancel())
    await gate.reached.wait()
    await world.clock.sleep(3 * LEASE)
    gate.opened.set()
    await cancelling
    with pytest.raises(ObjectNotFound):
        await world.perm.stat(file_key(FILE))


async def test_a_delete_that_slept_spares_the_next_upload(world: World, node: Node) -> None:
    await node.send_all(DATA[:8], 8)
    gate = node.hooks.hold("delete_many", "files/")
    cancelling = asyncio.create_task(node.cancel())
    await gate.reached.wait()
    await world.clock.sleep(3 * LEASE)
    other = world.node()
    session = (await other.send(0, OTHER[:4], 8)).session
    gate.opened.set()
    await cancelling
    assert (await other.reader.state(FILE)).session == session


async def test_what_a_delete_left_goes_before_the_next_upload_is_parked(world: World, node: Node) -> None:
    """No process looks at a parked upload, so the bytes of the deleted file would stay."""
    await node.send_all(DATA[:8], 8)
    gate = node.hooks.hold("delete_many", "files/")
    cancelling = asyncio.create_task(node.cancel())
    await gate.reached.wait()
    other = world.node()
    await other.send(0, OTHER[:4], 8)
    other.hooks.fail("delete_many", "files/")
    for _ in range(3):  # the sweep nudges until it is parked
        await other.park()
    assert (await world.record()).parked_at is not None
    with pytest.raises(ObjectNotFound):
        await world.perm.stat(file_key(FILE))
    cancelling.cancel()


async def test_late_news_of_an_ended_upload_says_nothing_of_the_next_one(world: World, node: Node) -> None:
    """A replica hears of a chunk long after its upload was cancelled."""
    await node.send(0, DATA[:4], 16)
    await world.node().send(4, DATA[4:8], 16)
    await node.send(8, DATA[8:12], 16)  # it listed the gap, and listens from now on
    late = world.told(ChunkReceived)[1]
    await node.cancel()
    await node.send(0, OTHER[:4], 16)
    world.bus.publish(late)
    assert (await node.send(12, OTHER[12:16], 16)).offset == 4
