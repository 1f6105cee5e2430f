"""While the chunks of a complete file are deleted, no replica takes its upload for an open one."""

import asyncio
from collections.abc import Awaitable, Callable
from itertools import count
from pathlib import Path

import pytest

from libs.common.problems import Kind
from libs.common.store import LEASE
from tests.unit.core.hooked_store import Crash
from tests.unit.core.uploads import DATA, TOTAL
from tests.unit.core.world import Node, World, open_world, refused


async def two_writers(world: World) -> tuple[Node, Node]:
    """A full upload, mostly by the second."""
    nodes = world.node(), world.node()
    await nodes[0].send(0, DATA[:4], TOTAL)
    await nodes[1].send(4, DATA[4:], TOTAL)
    return nodes


async def twins(world: World) -> tuple[Node, Node]:
    """A full upload in two sessions that were opened at once, mostly by the second."""
    nodes = world.node(), world.node()
    gates = [node.hooks.hold("put", "/open") for node in nodes]
    sends = [
        asyncio.create_task(node.send(start, DATA[start:end], TOTAL))
        for node, (start, end) in zip(nodes, ((0, 4), (4, TOTAL)), strict=True)
    ]
    for gate in gates:
        await gate.reached.wait()
    gates[0].opened.set()
    await sends[0]
    gates[1].opened.set()
    await sends[1]
    return nodes


@pytest.mark.parametrize("upload", [two_writers, twins])
@pytest.mark.parametrize("looked", [True, False], ids=["knows of the other", "does not know of the other"])
async def test_whenever_a_replica_looks_it_refuses_other_bytes_and_takes_the_same(
    tmp_path: Path, upload: Callable[[World], Awaitable[tuple[Node, Node]]], looked: bool
) -> None:
    moments = 0
    for number in count(1):
        async with open_world(tmp_path / str(number)) as world:
            nodes = await upload(world)
            if looked:
                await nodes[0].send(0, DATA[:4], TOTAL)
            dying = world.node()
            dying.hooks.crash(number)
            try:
                await dying.work()
                break
            except Crash:
                moments += 1
            for node, start in zip(nodes, (8, 0), strict=True):
                world.clock.now += LEASE
                await refused(Kind.CONTENT_CONFLICT, node.send(start, b"\0\0\0\0", TOTAL))
                assert (await node.send(start, DATA[start : start + 4], TOTAL)).offset == TOTAL
            await world.node().work()
            assert await world.final() == DATA
            assert [key for key in await world.left() if not key.startswith("chunks/")] == []
    assert moments > 10
