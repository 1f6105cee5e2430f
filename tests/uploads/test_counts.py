"""How often the store is asked: each request costs the device time and the operator money."""

import asyncio

import pytest

from libs.common.bus.events import ChunkReceived, ChunkReceivedData, FileCompleted
from libs.common.files.extents import Extent
from libs.common.storage import LEASE
from libs.common.uploads.sweeping import store_time
from libs.common.uploads.view import Views
from tests.uploads.uploads import DATA, TOTAL
from tests.uploads.world import FILE, STALE, Node, World, content


def calls(node: Node) -> list[str]:
    """What a process asked of the store, and about which kind of object."""
    return [f"{call.method} {call.key.partition('/')[0]}" for call in node.hooks.calls]


async def test_a_file_in_one_request_costs_two_reads_of_the_record_and_two_puts(world: World, node: Node) -> None:
    await node.send(0, DATA[:8], 8)
    assert calls(node) == ["fetch uploads", "put files", "fetch uploads", "put feed"]
    assert await world.left() == []


async def test_and_nothing_afterwards(world: World, node: Node) -> None:
    """No event of it wakes the assembler, and a sweep finds nothing."""
    await node.send(0, DATA[:8], 8)
    assert [type(event) for event in world.events] == [FileCompleted]
    assert not any(event.wakes_assembler for event in world.events)
    assert await node.janitor.sweep(await store_time(world.temp) + STALE, dry_run=False) == []


async def test_opening_an_upload_costs_four_requests(node: Node) -> None:
    await node.send(0, DATA[:4], TOTAL)
    opening = [call for call in calls(node) if "chunks" not in call]
    assert opening == ["fetch uploads", "put uploads", "stat files", "put uploads"]


async def test_a_chunk_of_a_known_upload_costs_one_put(node: Node) -> None:
    await node.send(0, DATA[:4], TOTAL)
    node.hooks.calls.clear()
    await node.send(4, DATA[4:8], TOTAL)
    assert calls(node) == ["put chunks"]


async def test_a_lease_later_it_costs_a_conditional_read_too(world: World, node: Node) -> None:
    await node.send(0, DATA[:4], TOTAL)
    node.hooks.calls.clear()
    await world.clock.sleep(LEASE + 0.1)
    await node.send(4, DATA[4:8], TOTAL)
    assert calls(node) == ["fetch uploads", "put chunks"]


async def test_a_file_of_many_parts_costs_three_requests_a_part_and_thirteen_more(world: World, node: Node) -> None:
    """A part: the record is read, its chunks are listed, the part is put."""
    data, assembler = content(64), world.node()
    for at in range(0, len(data), 8):
        await node.send(at, data[at : at + 8], len(data))
    for event in world.told(ChunkReceived):
        await assembler.assembler.handle(event)
    assert await world.final() == data
    assert len(assembler.hooks.calls) - 3 * 8 <= 13, calls(assembler)
    assert await world.left() == []


async def test_chunks_that_a_device_sends_at_once_share_one_conditional_read_a_lease(world: World, node: Node) -> None:
    await node.send(0, DATA[:4], TOTAL)
    await world.clock.sleep(LEASE + 0.1)
    node.hooks.calls.clear()
    await asyncio.gather(*(node.send(at, DATA[at : at + 4], TOTAL) for at in range(4, TOTAL, 4)))
    assert sorted(calls(node)) == ["fetch uploads", *["put chunks"] * 4]


async def test_a_status_costs_three_requests(world: World, node: Node) -> None:
    await node.send(0, DATA[:4], TOTAL)
    reader = world.node()
    await reader.reader.state(FILE)
    assert calls(reader) == ["fetch uploads", "list chunks", "fetch uploads"]


async def test_a_status_of_a_complete_file_costs_three_requests(world: World, node: Node) -> None:
    await node.send(0, DATA[:8], 8)
    reader = world.node()
    await reader.reader.state(FILE)
    assert calls(reader) == ["fetch uploads", "stat files", "fetch uploads"]


async def test_a_status_of_a_parked_upload_costs_three_requests(world: World, node: Node) -> None:
    await node.send(0, DATA[:4], TOTAL)
    await node.park()
    reader = world.node()
    await reader.reader.state(FILE)
    assert calls(reader) == ["fetch uploads", "list chunks", "fetch uploads"]


async def test_a_range_of_a_complete_file_costs_one_request(world: World, node: Node) -> None:
    await node.send(0, DATA[:8], 8)
    reader = world.node()
    await read_range(reader)
    reader.hooks.calls.clear()
    for _ in range(3):
        await read_range(reader)
    assert calls(reader) == ["get files"] * 3


async def test_and_two_more_in_each_lease(world: World, node: Node) -> None:
    await node.send(0, DATA[:8], 8)
    reader = world.node()
    await read_range(reader)
    await world.clock.sleep(LEASE + 0.1)
    reader.hooks.calls.clear()
    await read_range(reader)
    assert calls(reader) == ["fetch uploads", "stat files", "fetch uploads", "get files"]


async def read_range(reader: Node) -> None:
    state = await reader.reader.state(FILE)
    assert b"".join([block async for block in reader.reader.blocks(state, Extent(2, 6))]) == DATA[2:6]


async def alternate(nodes: list[Node]) -> None:
    data = content(80)
    for at in range(0, 80, 4):
        await nodes[at // 4 % 2].send(at, data[at : at + 4], len(data))
    for node in nodes:
        assert node.hooks.count("put", "chunks/") == 10
        assert node.hooks.count("fetch") <= 3


async def test_two_replicas_without_affinity_hear_of_each_others_chunks(world: World) -> None:
    """The first chunk that begins beyond what a replica knows to be stored costs it a listing. Then it listens."""
    nodes = [world.node(), world.node()]
    await alternate(nodes)
    for node in nodes:
        assert node.hooks.count("list", "chunks/") <= 2


async def test_news_that_comes_while_a_chunk_is_stored_spares_its_listing(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A chunk often reaches the other replica before the event of the chunk before it."""
    late: list[tuple[Views, ChunkReceivedData]] = []
    hear = Views.hear
    monkeypatch.setattr(Views, "hear", lambda views, chunk: late.append((views, chunk)))

    async def arrive() -> None:
        while late:
            hear(*late.pop(0))

    nodes = [world.node(), world.node()]
    for node in nodes:
        node.hooks.on("put", "chunks/", arrive, times=10)
    await alternate(nodes)
    for node in nodes:
        assert node.hooks.count("list", "chunks/") <= 2


async def test_two_replicas_that_hear_nothing_list_what_is_new(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Views, "hear", lambda self, chunk: None)
    nodes = [world.node(), world.node()]
    await alternate(nodes)
    for node in nodes:
        assert node.hooks.count("list", "chunks/") <= 11
