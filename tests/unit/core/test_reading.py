"""What is known of a file, and its bytes, whatever happens to them while they are read."""

import asyncio

import pytest

from libs.common.extents import Extent, Extents
from libs.common.layout import FileId, file_key
from libs.common.problems import Kind
from libs.common.store import ObjectNotFound
from services.ingest.recent import RecentFiles
from services.ingest.states import FileState
from tests.unit.core.uploads import DATA, TOTAL, WRONG, upload_all, upload_gap
from tests.unit.core.world import FILE, Node, World, content, refused


async def bytes_of(node: Node, state: FileState, start: int, end: int) -> bytes:
    return b"".join([block async for block in node.reader.blocks(state, Extent(start, end))])


class TestState:
    async def test_an_unknown_file_is_not_found(self, node: Node) -> None:
        await refused(Kind.NOT_FOUND, node.reader.state(FileId("nobody", "nothing")))

    async def test_an_open_upload_is_pending(self, world: World, node: Node) -> None:
        first = await node.send(0, DATA[:4], TOTAL, content_type="text/plain")
        opened = await node.reader.state(FILE)
        await node.send(8, DATA[8:12], TOTAL)
        state = await node.reader.state(FILE)
        assert (state.state, state.total_size, state.offset, state.tag) == ("pending", TOTAL, 4, first.session)
        assert list(state.durable) == [(0, 4), (8, 12)]
        assert (state.content_type, state.sha256) == ("text/plain", "")
        assert state.modified > opened.modified

    async def test_a_parked_upload_is_partial_and_belongs_to_no_session(self, world: World, node: Node) -> None:
        await upload_gap(world)
        await node.park()
        state = await node.reader.state(FILE)
        assert (state.state, state.total_size, state.offset, state.tag) == ("partial", TOTAL, 11, "")
        assert list(state.durable) == [(0, 11), (13, 20)]

    async def test_a_finished_file_is_complete_and_keeps_the_tag_of_its_upload(self, world: World, node: Node) -> None:
        ack = await node.send_all(DATA)
        await node.work()
        state = await node.reader.state(FILE)
        assert (state.state, state.total_size, state.offset, state.tag) == ("complete", TOTAL, TOTAL, ack.session)

    async def test_a_cancelled_file_is_not_found_at_once_and_a_rejected_one_says_so(
        self, world: World, node: Node
    ) -> None:
        await upload_all(world)
        await node.cancel()
        await refused(Kind.NOT_FOUND, node.reader.state(FILE))
        await node.work()
        await node.send_all(DATA, declared=WRONG)
        await node.work()
        await refused(Kind.REJECTED, node.reader.state(FILE))

    @pytest.mark.parametrize("method", ["stat", "list"])
    async def test_an_upload_that_is_completed_while_one_asks_is_complete(
        self, world: World, node: Node, method: str
    ) -> None:
        await world.node().send(0, DATA, TOTAL, content_type="text/csv")
        node.hooks.on(method, "sessions/", world.node().work, when="before" if method == "stat" else "after")
        assert (await node.reader.state(FILE)).state == "complete"

    async def test_a_partial_file_that_is_completed_while_one_asks_is_complete(self, world: World, node: Node) -> None:
        await upload_gap(world)
        await node.park()

        async def complete() -> None:
            await world.node().send(11, DATA[11:13], TOTAL)
            await world.node().work()

        node.hooks.on("list", "partials/", complete)
        assert (await node.reader.state(FILE)).state == "complete"

    async def test_an_upload_that_is_parked_while_one_asks_loses_no_byte(self, world: World, node: Node) -> None:
        await upload_gap(world)
        node.hooks.on("list", "chunks/", world.node().park)
        assert (await node.reader.state(FILE)).offset == 11


class TestRecent:
    """A complete file is remembered for a lease."""

    async def test_a_file_is_not_shown_once_its_delete_is_answered_by_any_replica(
        self, world: World, node: Node
    ) -> None:
        await node.send_all(DATA)
        await node.work()
        for deleting in (node, world.node()):
            await node.reader.state(FILE)
            await deleting.cancel()
            await refused(Kind.NOT_FOUND, node.reader.state(FILE))
            await node.work()
            await node.send_all(DATA)
            await node.work()

    async def test_bytes_of_a_file_that_took_its_place_are_not_mixed_in(self, world: World, node: Node) -> None:
        await node.send_all(DATA)
        await node.work()
        state = await node.reader.state(FILE)
        await world.perm.put(file_key(FILE), content(TOTAL, seed=3), metadata={"session": state.tag})
        with pytest.raises(ObjectNotFound):
            await bytes_of(node, state, 0, TOTAL)

    async def test_those_not_asked_for_longest_are_forgotten(self, world: World) -> None:
        recent = RecentFiles(world.clock, limit=2)
        first, second, third = (FileId("device-1", name) for name in "abc")
        for file in (first, second):
            recent.remember(await world.look(file), FileState(file, "complete", 0, Extents(), 0.0))
        assert recent.within_lease(first)
        recent.remember(await world.look(third), FileState(third, "complete", 0, Extents(), 0.0))
        assert [bool(recent.within_lease(file)) for file in (first, second, third)] == [True, False, True]


class TestBytes:
    @pytest.mark.parametrize(("start", "end"), [(0, 11), (3, 9), (8, 8), (10, 11)])
    async def test_the_gap_free_prefix_can_be_read_in_every_state(
        self, world: World, node: Node, start: int, end: int
    ) -> None:
        await upload_gap(world)
        assert await bytes_of(node, await node.reader.state(FILE), start, end) == DATA[start:end]
        await node.park()
        assert await bytes_of(node, await node.reader.state(FILE), start, end) == DATA[start:end]
        await node.send(9, DATA[9:13], TOTAL)
        assert await bytes_of(node, await node.reader.state(FILE), start, end) == DATA[start:end]
        await node.work()
        assert await bytes_of(node, await node.reader.state(FILE), start, end) == DATA[start:end]

    @pytest.mark.parametrize("ends", ["parked", "completed"])
    async def test_an_upload_that_is_parked_or_completed_on_the_way_is_read_on(
        self, world: World, node: Node, ends: str
    ) -> None:
        await upload_gap(world)
        state = await node.reader.state(FILE)
        blocks = node.reader.blocks(state, Extent(0, 11))
        read = await anext(blocks)
        if ends == "parked":
            await world.node().park()
        else:
            await node.send(11, DATA[11:13], TOTAL)
            await world.node().work()
        assert read + b"".join([block async for block in blocks]) == DATA[:11]

    async def test_a_file_that_another_upload_completed_is_not_read_on_for_it_may_have_other_bytes(
        self, world: World, node: Node
    ) -> None:
        await upload_gap(world)
        state = await node.reader.state(FILE)
        await world.node().park()
        await world.node().send(11, DATA[11:13], TOTAL)
        await world.node().work()
        with pytest.raises(ObjectNotFound):
            await bytes_of(node, state, 0, 11)

    async def test_a_chunk_that_vanishes_before_it_is_read_is_looked_for_again(self, world: World, node: Node) -> None:
        await upload_gap(world)
        state = await node.reader.state(FILE)
        node.hooks.on("get", "chunks/", world.node().park)
        assert await bytes_of(node, state, 0, 11) == DATA[:11]

    async def test_a_file_that_is_cancelled_on_the_way_ends_the_stream_with_an_error(
        self, world: World, node: Node
    ) -> None:
        await upload_gap(world)
        state = await node.reader.state(FILE)
        await node.cancel()
        await node.work()
        with pytest.raises(ObjectNotFound):
            await bytes_of(node, state, 0, 11)

    @pytest.mark.parametrize("size", [TOTAL, TOTAL + 1])
    async def test_bytes_of_a_later_file_are_not_mixed_in(self, world: World, node: Node, size: int) -> None:
        await upload_gap(world)
        state = await node.reader.state(FILE)
        await node.cancel()
        await node.work()
        await node.send_all(content(size, seed=3))
        await node.work()
        with pytest.raises(ObjectNotFound):
            await bytes_of(node, state, 0, 11)

    async def test_bytes_of_a_file_that_takes_its_place_just_before_they_are_read_are_not_mixed_in(
        self, world: World, node: Node
    ) -> None:
        await upload_gap(world)
        state = await node.reader.state(FILE)
        await node.send(11, DATA[11:13], TOTAL)
        other = world.node()
        await other.work()

        async def replace() -> None:
            await other.cancel()
            await other.work()
            await other.send_all(content(TOTAL, seed=3))
            await other.work()

        node.hooks.on("get", file_key(FILE), replace)
        with pytest.raises(ObjectNotFound):
            await bytes_of(node, state, 0, 3)

    @pytest.mark.parametrize("before", ["pending", "partial"])
    @pytest.mark.parametrize("after", ["partial", "complete"])
    async def test_bytes_of_a_later_upload_of_that_size_are_not_mixed_in(
        self, world: World, node: Node, before: str, after: str
    ) -> None:
        await node.send(0, DATA[:6], TOTAL)
        if before == "partial":
            await node.park()
        state = await node.reader.state(FILE)
        await node.cancel()
        await node.work()
        if after == "partial":
            await node.send(0, content(6, seed=3), TOTAL)
            await node.park()
        else:
            await node.send_all(content(TOTAL, seed=3))
            await node.work()
        with pytest.raises(ObjectNotFound):
            await bytes_of(node, state, 0, 3)


async def test_views_that_nobody_uses_are_forgotten_the_oldest_first(world: World) -> None:
    node = world.node(limit=2)
    files = [FILE._replace(filename=str(number)) for number in range(3)]
    for file in files:
        await node.send(0, DATA[:4], TOTAL, file=file)
    before = len(node.hooks.calls)
    await node.send(4, DATA[4:6], TOTAL, file=files[2])
    assert len(node.hooks.calls) == before + 1
    assert (await node.send(4, DATA[4:6], TOTAL, file=files[0])).offset == 6
    assert len(node.hooks.calls) > before + 4


async def test_a_view_in_use_is_not_forgotten(world: World) -> None:
    node = world.node(limit=0)
    gate = node.hooks.hold("put", "chunks/")
    first = asyncio.create_task(node.send(0, DATA[:4], TOTAL))
    await gate.reached.wait()
    second = asyncio.create_task(node.send(0, DATA[:4], TOTAL))
    await asyncio.sleep(0.02)
    assert not second.done()
    gate.opened.set()
    assert ((await first).offset, (await second).offset) == (4, 4)
    assert node.hooks.count("put", "chunks/") == 1
