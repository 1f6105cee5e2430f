"""Any number of ingest replicas take chunks of one file, and none acknowledges what another contradicts."""

import asyncio
import random
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from libs.common.extents import Extent, Extents
from libs.common.problems import Kind, Problem
from libs.common.store import LEASE
from tests.unit.clocks import ManualClock
from tests.unit.core.world import FILE, Node, World, content, open_world, refused

TOTAL = 20
MINE, YOURS = b"mine", b"your"

Chunks = list[tuple[int, int, bool]]
chunks = st.lists(st.tuples(st.integers(0, TOTAL - 1), st.integers(1, 10), st.booleans()), min_size=1, max_size=12)


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(sent=chunks)
async def test_every_offset_is_the_durable_prefix_whoever_takes_the_chunk(
    tmp_path_factory: pytest.TempPathFactory, sent: Chunks
) -> None:
    data, durable = content(TOTAL), Extents()
    async with open_world(tmp_path_factory.mktemp("world")) as world:
        one, other = world.node(), world.node()
        for start, length, mine in sent:
            end = min(TOTAL, start + length)
            durable.add(Extent(start, end))
            ack = await (one if mine else other).send(start, data[start:end], TOTAL)
            assert ack.offset == durable.prefix_end()


async def test_two_replicas_in_turn_complete_a_file(world: World, node: Node) -> None:
    data, other = content(TOTAL), world.node()
    for turn, at in enumerate((16, 0, 12, 4, 8)):
        await (node, other)[turn % 2].send(at, data[at : at + 4], TOTAL)
    await node.work()
    assert await world.final() == data
    assert await world.left() == []


async def test_one_after_the_other_within_the_lease_only_the_first_is_acknowledged(world: World, node: Node) -> None:
    other = world.node()
    await node.send(0, b"abcd", TOTAL)
    assert (await node.send(4, MINE, TOTAL)).offset == 8
    await refused(Kind.CONTENT_CONFLICT, other.send(4, YOURS, TOTAL))
    await other.send(8, b"ijkl", TOTAL)
    await refused(Kind.CONTENT_CONFLICT, node.send(8, b"IJKL", TOTAL))


async def acknowledged(sending: Sequence["asyncio.Task[object]"]) -> list[bool]:
    """Which of these chunks were acknowledged; the others must have been refused."""
    answers = await asyncio.gather(*sending, return_exceptions=True)
    for answer in answers:
        if isinstance(answer, BaseException) and not isinstance(answer, Problem):
            raise answer
    return [not isinstance(answer, Problem) for answer in answers]


async def test_a_replica_that_joins_stores_nothing_while_another_still_acts_alone(tmp_path: Path) -> None:
    """Else its chunk could be the older of two that differ, though the other's is acknowledged."""
    async with open_world(tmp_path) as world:
        clock = ManualClock()
        node, joining = world.node(clock), world.node(clock)
        await node.send(0, b"abcd", TOTAL)
        gate = joining.hooks.hold("stat", "files/")  # the last call of its first look around
        joined = asyncio.create_task(joining.send(4, YOURS, TOTAL))
        await gate.reached.wait()
        gate.opened.set()
        await asyncio.sleep(0.02)
        assert (await node.send(4, MINE, TOTAL)).offset == 8  # on its look from before the other joined
        await clock.wake(LEASE + 0.1, joined.done)
        await refused(Kind.CONTENT_CONFLICT, joined)
        await node.send(8, content(TOTAL)[8:], TOTAL)
        await node.work()
        assert (await world.final())[4:8] == MINE


@pytest.mark.parametrize("seed", range(15))
async def test_of_two_that_differ_at_once_at_most_one_is_acknowledged_and_stays(world: World, seed: int) -> None:
    chance = random.Random(seed)
    nodes = [world.node(), world.node()]
    for at, joining in ((0, nodes[0]), (4, nodes[1])):
        await joining.send(at, b"abcd", TOTAL)
    for each in nodes:
        each.hooks.jitter(chance, 0.004)
    sends = [(8, MINE + b"----"), (chance.choice((8, 10)), YOURS + b"++++")]
    tasks = [asyncio.create_task(each.send(at, data, TOTAL)) for each, (at, data) in zip(nodes, sends, strict=True)]
    taken = await acknowledged(tasks)
    assert sum(taken) <= 1
    again = await acknowledged(
        [asyncio.create_task(each.send(at, data, TOTAL)) for each, (at, data) in zip(nodes, sends, strict=True)]
    )
    assert all(later for earlier, later in zip(taken, again, strict=True) if earlier)
    assert sum(again) <= 1
    await fill_up(nodes[0])
    final = await world.final()
    for (at, data), stays in zip(sends, again, strict=True):
        assert (final[at : at + 8] == data) is stays


async def test_a_put_that_takes_effect_late_makes_no_acknowledged_chunk_the_newer_of_two(world: World) -> None:
    """Three hold the same range at once: one is acknowledged, one is refused, one wrote the same as the first."""
    nodes = [world.node() for _ in range(3)]
    for at, each in zip((0, 4, 8), nodes, strict=True):
        await each.send(at, b"abcd", TOTAL)
    late, other = (each.hooks.hold("put", "chunks/") for each in nodes[1:])
    tasks = [
        asyncio.create_task(each.send(12, data, TOTAL)) for each, data in zip(nodes[1:], (MINE, YOURS), strict=True)
    ]
    for gate in (late, other):
        await gate.reached.wait()
    await nodes[0].send(12, MINE, TOTAL)
    other.opened.set()
    await refused(Kind.CONTENT_CONFLICT, tasks[1])
    late.opened.set()
    await acknowledged(tasks[:1])
    await fill_up(nodes[0])
    assert (await world.final())[12:16] == MINE


async def fill_up(node: Node) -> None:
    """Send what is missing of a file, and assemble it."""
    state = await node.reader.state(FILE)
    for gap in state.durable.missing(Extent(0, TOTAL)):
        await node.send(gap.start, b"." * gap.length, TOTAL)
    await node.work()


class TestTwins:
    async def open_at_once(self, world: World, totals: tuple[int, int]) -> list[bool]:
        self.nodes = world.node(), world.node()
        gates = [node.hooks.hold("put", "/open") for node in self.nodes]
        sends = [
            asyncio.create_task(node.send(at, content(TOTAL)[at : at + 4], total))
            for node, at, total in zip(self.nodes, (0, 4), totals, strict=True)
        ]
        for gate in gates:
            await gate.reached.wait()
        for gate in gates:
            gate.opened.set()
        return await acknowledged(sends)

    async def test_two_sessions_opened_at_once_count_together(self, world: World) -> None:
        assert await self.open_at_once(world, (TOTAL, TOTAL)) == [True, True]
        seen = await world.look()
        assert len(seen.open) == 2
        data = content(TOTAL)
        assert (await self.nodes[0].send(8, data[8:12], TOTAL)).offset == 12
        assert (await self.nodes[1].send(12, data[12:], TOTAL)).offset == TOTAL
        await self.nodes[0].work()
        assert await world.final() == data
        assert await world.left() == []

    async def test_of_two_sizes_opened_at_once_one_is_taken_and_the_other_leaves_nothing(self, world: World) -> None:
        taken = await self.open_at_once(world, (TOTAL, TOTAL + 1))
        assert sorted(taken) == [False, True]
        (session,) = (await world.look()).open
        total = session.total_size
        at = 4 * taken.index(True)
        data = content(total)
        for gap in Extents([Extent(at, at + 4)]).missing(Extent(0, total)):
            await self.nodes[0].send(gap.start, data[gap.start : gap.end], total)
        await self.nodes[1].work()
        assert len(await world.final()) == total
        assert await world.left() == []
