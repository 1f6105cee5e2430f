"""What goes stale is kept and can be resumed; what does not match its digest is kept apart."""

import hashlib

import pytest

from libs.common.events import FileCompleted, FileRejected, PartialFileMoved
from libs.common.extents import Extent
from libs.common.layout import fact_key, rejected_prefix
from libs.common.problems import Kind
from libs.common.store import list_all, read
from tests.unit.core.uploads import (
    DATA,
    TOTAL,
    WRONG,
    runs,
    upload_gap,
    upload_wrong,
)
from tests.unit.core.world import FILE, Node, World, content, refused


class TestPark:
    async def test_the_bytes_are_kept_in_as_few_extents_as_possible(self, world: World, node: Node) -> None:
        await upload_gap(world)
        await node.park()
        assert await runs(world) == [(0, 11), (13, 20)]
        assert await world.left() == []
        assert world.open_uploads() == []
        (told,) = world.told(PartialFileMoved)
        assert (told.data.file, told.data.received_bytes) == (FILE, 18)

    async def test_a_long_run_of_many_parts_is_one_extent(self, world: World, node: Node) -> None:
        data = content(50)
        await node.send(0, data[:45], 50)
        await node.park()
        ((key, size),) = [(i.key, i.size) for i in await list_all(world.perm, "")]
        assert (await read(world.perm, key), size) == (data[:45], 45)
        assert world.open_uploads() == []

    async def test_what_is_parked_can_be_read_and_resumed_without_sending_anything_twice(
        self, world: World, node: Node
    ) -> None:
        await upload_gap(world)
        await node.park()
        state = await node.reader.state(FILE)
        assert (state.state, state.total_size, state.offset) == ("partial", TOTAL, 11)
        blocks = [block async for block in node.reader.blocks(state, Extent(0, state.offset))]
        assert b"".join(blocks) == DATA[:11]
        ack = await node.send(11, DATA[11:13], TOTAL)
        assert ack.offset == TOTAL
        await node.work()
        assert await world.final() == DATA
        assert await runs(world) == []
        assert await world.left() == []

    async def test_bytes_that_were_parked_never_change(self, world: World, node: Node) -> None:
        await upload_gap(world)
        await node.park()
        await refused(Kind.CONTENT_CONFLICT, node.send(9, b"\0\0\0", TOTAL))
        await refused(Kind.TOTAL_SIZE_CONFLICT, world.node().send(0, DATA[:4], TOTAL + 1))
        assert (await node.send(9, DATA[9:12], TOTAL)).offset == 12

    async def test_parked_again_it_is_merged_with_what_was_parked_before(self, world: World, node: Node) -> None:
        await node.send(2, DATA[2:5], TOTAL)
        await node.park()
        await node.send(0, DATA[:3], TOTAL)
        await node.send(12, DATA[12:14], TOTAL)
        await node.park()
        assert await runs(world) == [(0, 5), (12, 14)]
        await node.send(5, DATA[5:12], TOTAL)
        await node.park()
        assert await runs(world) == [(0, 14)]
        await node.send(14, DATA[14:], TOTAL)
        await node.work()
        assert await world.final() == DATA
        assert await runs(world) == []

    @pytest.mark.parametrize("data", [DATA, DATA[:5], b""], ids=["parts", "one part", "empty"])
    async def test_an_upload_that_is_full_is_completed_instead(self, world: World, node: Node, data: bytes) -> None:
        digest = hashlib.sha256(data).hexdigest()
        await node.send_all(data, 7, declared=digest)
        await node.park()
        assert await world.final() == data
        assert await world.left() == []
        assert await runs(world) == []
        assert len(world.told(FileCompleted)) == 1
        assert (await node.reader.state(FILE)).sha256 == digest

    async def test_a_full_upload_with_a_wrong_digest_is_rejected_instead(self, world: World, node: Node) -> None:
        await node.send_all(DATA, 7, declared=WRONG)
        await node.park()
        await refused(Kind.REJECTED, node.reader.state(FILE))
        assert await world.left() == []

    async def test_an_upload_of_which_nothing_came_leaves_nothing(self, world: World, node: Node) -> None:
        await node.send(0, b"", TOTAL)
        await node.park()
        assert await world.keys() == []

    async def test_an_upload_with_a_young_chunk_is_not_parked(self, world: World, node: Node) -> None:
        await upload_gap(world)
        before = await world.keys()
        await node.closer.park(FILE, threshold=60)
        assert await world.keys() == before

    async def test_chunks_of_a_session_that_is_gone_are_never_read(self, world: World, node: Node) -> None:
        await node.send(0, DATA[:4], TOTAL)
        await world.store_chunk(f"{TOTAL}-gone", 4, b"\0\0\0\0")
        await world.temp.put(fact_key(FILE, f"{TOTAL}-gone", "writer/x"), b"")
        await node.park()
        assert await runs(world) == [(0, 4)]


class TestReject:
    async def test_the_bytes_are_kept_apart_and_the_name_is_free_again(self, world: World, node: Node) -> None:
        await upload_wrong(world)
        await node.work()
        ((key,),) = [[info.key for info in await list_all(world.perm, "")]]
        assert key.startswith(rejected_prefix(FILE))
        assert await read(world.perm, key) == DATA
        assert await world.left() == []
        assert world.open_uploads() == []
        (told,) = world.told(FileRejected)
        assert (told.data.declared, told.data.computed) == (WRONG, hashlib.sha256(DATA).hexdigest())
        await refused(Kind.REJECTED, node.reader.state(FILE))
        await node.send_all(DATA)
        await node.work()
        assert (await node.reader.state(FILE)).state == "complete"

    async def test_bytes_that_were_parked_are_among_the_rejected(self, world: World, node: Node) -> None:
        await node.send(0, DATA[:9], TOTAL)
        await node.park()
        await node.send(9, DATA[9:], TOTAL, declared=WRONG)
        await node.work()
        ((key,),) = [[info.key for info in await list_all(world.perm, "")]]
        assert await read(world.perm, key) == DATA
