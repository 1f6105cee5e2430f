"""What files and chunks cost: store calls, events and bytes, counted. A figure here goes down, or has a reason to go
up."""

from collections import Counter

import pytest

from libs.common import gather
from libs.common.events import ChunkReceived
from libs.common.extents import Extent
from libs.common.store import LEASE
from tests.unit.core.hooked_store import Crash
from tests.unit.core.world import FILE, PART, Node, World, content

PARTS = 4
TOTAL = PARTS * PART
CHUNK = 2  # bytes; four fill a part


def calls(node: Node) -> dict[str, int]:
    """How often a process called its stores, by method."""
    return dict(Counter(call.method for call in node.hooks.calls))


class TestIngest:
    async def test_a_chunk_costs_one_put_and_one_event(self, world: World, node: Node) -> None:
        await node.send(0, content(CHUNK), TOTAL)
        before, told = calls(node), len(world.events)
        await node.send(CHUNK, content(CHUNK), TOTAL)
        assert Counter(calls(node)) - Counter(before) == {"put": 1}
        assert len(world.events) - told == 1

    @pytest.mark.parametrize("number", [10, 500])
    async def test_a_chunk_costs_the_same_however_many_came_before(self, world: World, node: Node, number: int) -> None:
        for at in range(number):
            await node.send(at * CHUNK, content(CHUNK), 1000 * CHUNK)
        before = calls(node)
        await node.send(number * CHUNK, content(CHUNK), 1000 * CHUNK)
        assert Counter(calls(node)) - Counter(before) == {"put": 1}

    async def test_a_lease_costs_one_look_however_many_chunks_come_within_it(self, world: World, node: Node) -> None:
        await node.send(0, content(CHUNK), TOTAL)
        before = calls(node)
        world.clock.now += LEASE
        for start in range(CHUNK, 4 * CHUNK, CHUNK):
            await node.send(start, content(CHUNK), TOTAL)
        assert Counter(calls(node)) - Counter(before) == {"list": 1, "stat": 1, "put": 3}

    async def test_a_file_of_one_chunk(self, world: World, node: Node) -> None:
        await node.send(0, content(PART), PART)
        assert calls(node) == {"list": 3, "stat": 2, "put": 2}
        assert len(world.told(ChunkReceived)) == 1


class TestAssembler:
    async def test_a_file_of_one_chunk(self, world: World) -> None:
        await world.node().send(0, content(PART), PART)
        assembler = world.node()
        await assembler.advancer.advance(FILE)
        assert calls(assembler) == {"list": 3, "stat": 1, "put": 1, "delete_many": 1}
        assert await world.final() == content(PART)

    async def test_an_event_is_no_reason_to_list_a_file_of_many_parts_twice(self, world: World, node: Node) -> None:
        ack = await node.send_all(content(TOTAL), PART)
        told, untold = world.node(), world.node()
        told.hooks.crash(4)
        untold.hooks.crash(4)
        for dying, session in ((told, ack.session), (untold, "")):
            with pytest.raises(Crash):
                await dying.advancer.advance(FILE, None, session)
        assert calls(told) == calls(untold)

    async def test_a_file_of_one_chunk_of_which_an_event_tells(self, world: World) -> None:
        ack = await world.node().send(0, content(PART), PART)
        assembler = world.node()
        await assembler.advancer.advance(FILE, None, ack.session)
        assert calls(assembler) == {"list": 2, "stat": 1, "put": 1, "delete_many": 1}
        assert await world.final() == content(PART)

    async def test_a_part_that_fills(self, world: World, node: Node) -> None:
        assembler = world.node()
        for start in range(0, PART, CHUNK):
            await node.send(start, content(CHUNK), TOTAL)
        await assembler.advancer.advance(FILE, [0])
        before = calls(assembler)
        for start in range(PART, 2 * PART, CHUNK):
            await node.send(start, content(CHUNK), TOTAL)
        await assembler.advancer.advance(FILE, [1])
        assert Counter(calls(assembler)) - Counter(before) == {
            "list": 2,
            "stat": 1,
            "get": PART // CHUNK,
            "put_part": 1,
        }

    async def test_completing_a_file_of_many_parts(self, world: World, node: Node) -> None:
        await node.send_all(content(TOTAL), CHUNK)
        assembler = world.node()
        for part in range(PARTS - 1):
            await assembler.advancer.advance(FILE, [part])
        before = calls(assembler)
        await assembler.advancer.advance(FILE)
        assert Counter(calls(assembler)) - Counter(before) == {
            "list": 6,
            "stat": 2,
            "list_parts": 1,
            "get": PART // CHUNK,
            "put_part": 1,
            "complete_multipart": 1,
            "delete_many": 3,
            "abort_multipart": 1,
        }
        assert await world.final() == content(TOTAL)


class TestBytes:
    async def test_every_byte_of_a_file_is_written_twice(self, world: World, node: Node) -> None:
        await node.send_all(content(TOTAL), CHUNK)
        facts = node.hooks.written - TOTAL
        await node.advancer.advance(FILE)
        assert node.hooks.written - facts == 2 * TOTAL

    @pytest.mark.parametrize(("ahead", "held"), [(2 * CHUNK, 2 * CHUNK), (CHUNK - 1, CHUNK), (TOTAL, PART)])
    async def test_assembling_holds_no_more_in_memory_than_is_read_ahead(
        self, world: World, node: Node, monkeypatch: pytest.MonkeyPatch, ahead: int, held: int
    ) -> None:
        monkeypatch.setattr(gather, "AHEAD", ahead)
        await node.send_all(content(TOTAL), CHUNK)
        await node.advancer.advance(FILE)
        assert node.hooks.most_held == held
        assert await world.final() == content(TOTAL)


class TestReading:
    async def range_of(self, node: Node) -> dict[str, int]:
        """The calls for a range of the file."""
        before = calls(node)
        state = await node.reader.state(FILE)
        assert b"".join([block async for block in node.reader.blocks(state, Extent(3, 9))]) == content(TOTAL)[3:9]
        return dict(Counter(calls(node)) - Counter(before))

    async def test_a_range_of_a_file_that_is_being_read_is_one_call(self, world: World, node: Node) -> None:
        await node.send_all(content(TOTAL), CHUNK)
        await node.work()
        reader = world.node()
        assert await self.range_of(reader) == {"list": 2, "stat": 1, "get": 1}  # a look, the file, its digest, bytes
        assert await self.range_of(reader) == {"get": 1}
        for listings in (2, 2, 1):  # for a moment another assembler may still tell that it checked a digest
            world.clock.now += LEASE
            assert await self.range_of(reader) == {"list": listings, "stat": 1, "get": 1}


class TestReplicas:
    async def test_a_cold_replica_lists_only_what_is_not_assembled(self, world: World, node: Node) -> None:
        for start in range(0, TOTAL - PART, CHUNK):
            await node.send(start, content(CHUNK), TOTAL)
        await node.advancer.advance(FILE)
        cold = world.node()
        await cold.reader.state(FILE)
        assert calls(cold) == {"list": 2, "stat": 1, "list_parts": 1}


class TestCopies:
    """What one chunk object holds is copied by the store: none of its bytes comes to the assembler."""

    async def test_a_file_that_is_one_chunk(self, world: World) -> None:
        await world.node().send(0, content(PART), PART)
        assembler = world.node()
        await assembler.advancer.advance(FILE)
        assert assembler.hooks.count("get", "chunks/") == 0
        assert await world.final() == content(PART)

    async def test_parts_that_are_one_chunk_each(self, world: World) -> None:
        await world.node().send_all(content(TOTAL), PART)
        assembler = world.node()
        await assembler.advancer.advance(FILE)
        assert (assembler.hooks.count("get", "chunks/"), assembler.hooks.count("put_part")) == (0, PARTS)
        assert await world.final() == content(TOTAL)
