"""Reading what is there, whatever happens to it meanwhile."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from libs.common.files.extents import Extent
from libs.common.files.pins import NO_PIN
from libs.common.problems import Kind
from libs.common.storage import LEASE, ObjectNotFound
from libs.common.uploads.cancelling import end
from libs.common.uploads.layout import FileId
from libs.common.uploads.states import FileState
from tests.uploads.uploads import DATA, OTHER, TOTAL, upload_gap
from tests.uploads.world import FILE, Node, World, refused


async def bytes_of(node: Node, state: FileState, start: int, end: int) -> bytes:
    return b"".join([block async for block in node.reader.blocks(state, Extent(start, end))])


async def first_part(node: Node, state: FileState) -> tuple[bytes, AsyncIterator[bytes]]:
    """The bytes of the first part, and the rest of the download."""
    blocks, data = node.reader.blocks(state, Extent(0, state.offset)), b""
    while len(data) < 8:
        data += await anext(blocks)
    return data, blocks


async def test_an_unknown_file_is_not_found(node: Node) -> None:
    await refused(Kind.NOT_FOUND, node.reader.state(FileId("nobody", "nothing")))


async def test_an_upload_in_progress_is_pending(node: Node) -> None:
    first = await node.send(0, DATA[:4], TOTAL, content_type="text/plain")
    await node.send(8, DATA[8:12], TOTAL)
    state = await node.reader.state(FILE)
    assert (state.state, state.total_size, state.offset, state.session) == ("pending", TOTAL, 4, first.session)
    assert list(state.durable) == [(0, 4), (8, 12)]
    assert state.content_type == "text/plain"
    assert await bytes_of(node, state, 1, 4) == DATA[1:4]


async def test_the_version_changes_with_every_change(world: World, node: Node) -> None:
    versions = []
    for start in (0, 4, 8):
        await node.send(start, DATA[start : start + 4], TOTAL)
        versions.append((await node.reader.state(FILE)).version)
    await node.park()
    versions.append((await node.reader.state(FILE)).version)
    assert len(set(versions)) == 4


async def test_a_parked_upload_keeps_its_session(world: World, node: Node) -> None:
    await upload_gap(world)
    before = await node.reader.state(FILE)
    await node.park()
    state = await node.reader.state(FILE)
    assert (state.state, state.session, state.offset) == ("partial", before.session, 11)
    assert await bytes_of(node, state, 0, 11) == DATA[:11]


async def test_a_download_goes_on_when_its_upload_is_parked_or_completed(world: World, node: Node) -> None:
    await upload_gap(world)
    data, blocks = await first_part(node, await node.reader.state(FILE))
    await world.node().park()
    await world.node().send(11, DATA[11:13], TOTAL)
    await world.node().work()
    async for block in blocks:
        data += block
    assert data == DATA[:11]


async def test_a_download_keeps_to_its_upload(world: World, node: Node) -> None:
    """The name is deleted and used for other bytes while somebody downloads."""
    await upload_gap(world)
    data, blocks = await first_part(node, await node.reader.state(FILE))
    await world.node().cancel()
    await world.node().send(0, OTHER[:16], TOTAL)
    with pytest.raises(ObjectNotFound):
        await anext(blocks)
    assert data == DATA[:8]


async def test_a_complete_file_is_asked_for_again_after_a_lease(world: World, node: Node) -> None:
    await node.send(0, DATA[:8], 8)
    reader = world.node()
    assert (await reader.reader.state(FILE)).state == "complete"
    await node.cancel()
    await world.clock.sleep(LEASE)
    await refused(Kind.NOT_FOUND, reader.reader.state(FILE))


async def test_bytes_of_a_file_that_took_its_place_are_not_given(world: World, node: Node) -> None:
    await node.send(0, DATA[:8], 8)
    state = await node.reader.state(FILE)
    await world.perm.put("files/device-1/log.bin", OTHER[:8], metadata={"session": "another"})
    with pytest.raises(ObjectNotFound):
        await bytes_of(node, state, 0, 8)


async def test_a_name_is_not_found_only_once_no_replica_can_acknowledge_a_chunk_of_it(world: World, node: Node) -> None:
    await node.send(0, DATA[:4], TOTAL)
    await end(node.tools, FILE, NO_PIN)  # and its answer comes a lease later
    began = world.clock.now
    await refused(Kind.NOT_FOUND, world.node().reader.state(FILE))
    assert world.clock.now - began >= LEASE


async def test_a_file_that_is_deleted_while_its_status_is_asked_for_is_not_shown(world: World, node: Node) -> None:
    """A file without a record counts, but only if there is no record afterwards either: it may not have been
    acknowledged."""
    await node.send(0, DATA[:8], 8)
    reader = world.node()
    gate = reader.hooks.hold("stat", "files/", when="after")
    asking = asyncio.create_task(reader.reader.state(FILE))
    await gate.reached.wait()
    await end(node.tools, FILE, NO_PIN)
    gate.opened.set()
    await refused(Kind.NOT_FOUND, asking)
