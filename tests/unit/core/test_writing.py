"""A chunk is acknowledged once it is durable, and what was acknowledged never changes."""

import asyncio
import hashlib

import pytest

from libs.common.problems import Kind
from libs.common.store import LEASE, StoreUnavailable
from tests.unit.core.world import Node, World, content, refused

TOTAL = 20  # two full parts and a half


class TestOneReplica:
    async def test_acknowledges_the_gap_free_prefix(self, node: Node) -> None:
        data = content(TOTAL)
        offsets = [(await node.send(at, data[at : at + 4], TOTAL)).offset for at in (0, 8, 4, 16, 12)]
        assert offsets == [4, 4, 12, 12, 20]

    async def test_in_order_it_lists_nothing_after_the_first_chunk(self, node: Node) -> None:
        data = content(400)
        await node.send(0, data[:4], 400)
        before = len(node.hooks.calls)
        for at in range(4, 400, 4):
            await node.send(at, data[at : at + 4], 400)
        assert [call.method for call in node.hooks.calls[before:]] == ["put"] * 99

    async def test_a_view_older_than_the_lease_costs_two_calls(self, world: World, node: Node) -> None:
        await node.send(0, b"abcd", TOTAL)
        world.clock.now += LEASE + 0.1
        before = len(node.hooks.calls)
        assert (await node.send(4, b"efgh", TOTAL)).offset == 8
        assert sorted(call.method for call in node.hooks.calls[before:]) == ["list", "put", "stat"]

    async def test_a_chunk_over_part_boundaries_becomes_an_object_in_each(self, world: World, node: Node) -> None:
        data = content(TOTAL)
        assert (await node.send(2, data[2:19], TOTAL)).offset == 0
        starts = [key.rsplit("/", 2)[1:] for key in await world.left() if key.startswith("chunks/")]
        assert [(part, name[:25]) for part, name in starts] == [
            ("00000", "0000000000000002-00000006"),
            ("00001", "0000000000000008-00000008"),
            ("00002", "0000000000000016-00000003"),
        ]

    async def test_bytes_that_come_again_are_compared_and_not_stored(self, world: World, node: Node) -> None:
        data = content(TOTAL)
        await node.send(0, data[:6], TOTAL)
        before = await world.left()
        assert (await node.send(2, data[2:5], TOTAL)).offset == 6
        assert await world.left() == before
        assert (await node.send(3, data[3:12], TOTAL)).offset == 12

    @pytest.mark.parametrize(("start", "end"), [(0, 4), (0, 1), (3, 6), (2, 3), (0, 12)])
    async def test_other_bytes_for_an_acknowledged_range_are_refused(
        self, world: World, node: Node, start: int, end: int
    ) -> None:
        await node.send(0, b"\0" * 4, TOTAL)
        before = await world.left()
        problem = await refused(Kind.CONTENT_CONFLICT, node.send(start, b"\1" * (end - start), TOTAL))
        assert (problem.members["start"], problem.members["end"]) == (start, min(end, 4) - 1)
        assert await world.left() == before

    async def test_another_total_size_is_refused(self, node: Node) -> None:
        await node.send(0, b"abcd", TOTAL)
        problem = await refused(Kind.TOTAL_SIZE_CONFLICT, node.send(4, b"efgh", TOTAL + 1))
        assert problem.members == {"total_size": TOTAL + 1, "existing_total_size": TOTAL}

    async def test_a_second_digest_is_refused_and_the_first_may_be_repeated(self, node: Node) -> None:
        first, second = hashlib.sha256(b"1").hexdigest(), hashlib.sha256(b"2").hexdigest()
        await node.send(0, b"abcd", TOTAL, declared=first)
        await refused(Kind.DIGEST_CONFLICT, node.send(4, b"efgh", TOTAL, declared=second))
        assert (await node.send(4, b"efgh", TOTAL, declared=first)).offset == 8
        assert node.hooks.count("put", "digest/") == 1

    async def test_a_digest_is_durable_before_the_bytes_that_come_with_it(self, world: World, node: Node) -> None:
        node.hooks.fail("put", "chunks/")
        declared = hashlib.sha256(b"1").hexdigest()
        with pytest.raises(StoreUnavailable):
            await node.send(0, b"abcd", TOTAL, declared=declared)
        assert (await world.look()).digests == {declared}

    async def test_a_chunk_that_comes_again_while_it_is_stored_waits_and_is_stored_once(self, node: Node) -> None:
        await node.send(0, b"abcd", TOTAL)
        gate = node.hooks.hold("put", "chunks/")
        first = asyncio.create_task(node.send(4, b"efgh", TOTAL))
        await gate.reached.wait()
        second = asyncio.create_task(node.send(4, b"efgh", TOTAL))
        await asyncio.sleep(0.02)
        assert not second.done()
        gate.opened.set()
        assert ((await first).offset, (await second).offset) == (8, 8)
        assert node.hooks.count("put", "chunks/") == 2

    async def test_other_bytes_wait_for_those_in_flight_and_lose(self, node: Node) -> None:
        await node.send(0, b"abcd", TOTAL)
        gate = node.hooks.hold("put", "chunks/")
        first = asyncio.create_task(node.send(4, b"efgh", TOTAL))
        await gate.reached.wait()
        second = asyncio.create_task(node.send(6, b"XXXX", TOTAL))
        await asyncio.sleep(0.02)
        gate.opened.set()
        assert (await first).offset == 8
        await refused(Kind.CONTENT_CONFLICT, second)
