"""How often the store is asked: each request costs the device time and the operator money."""

from libs.common.events import ChunkReceived
from libs.common.store import LEASE
from tests.uploads.uploads import DATA, TOTAL
from tests.uploads.world import FILE, Node, World, content


def calls(node: Node) -> list[str]:
    """What a process asked of the store, and about which kind of object."""
    return [f"{call.method} {call.key.partition('/')[0]}" for call in node.hooks.calls]


async def test_a_file_in_one_request_costs_two_reads_of_the_record_and_one_put(world: World, node: Node) -> None:
    await node.send(0, DATA[:8], 8)
    assert calls(node) == ["fetch uploads", "put files", "fetch uploads"]
    assert await world.left() == []


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


async def test_a_file_of_many_parts_costs_three_requests_a_part_and_twelve_more(world: World, node: Node) -> None:
    """A part: the record is read, its chunks are listed, the part is put."""
    data, assembler = content(64), world.node()
    for at in range(0, len(data), 8):
        await node.send(at, data[at : at + 8], len(data))
    for event in world.told(ChunkReceived):
        await assembler.assembler.handle(event)
    assert await world.final() == data
    assert len(assembler.hooks.calls) - 3 * 8 <= 12, calls(assembler)
    assert await world.left() == []


async def test_a_status_costs_three_requests(world: World, node: Node) -> None:
    await node.send(0, DATA[:4], TOTAL)
    reader = world.node()
    await reader.reader.state(FILE)
    assert calls(reader) == ["fetch uploads", "list chunks", "fetch uploads"]


async def test_a_range_of_a_complete_file_costs_one_request_within_a_lease(world: World, node: Node) -> None:
    await node.send(0, DATA[:8], 8)
    reader = world.node()
    state = await reader.reader.state(FILE)
    assert len(reader.hooks.calls) == 3
    reader.hooks.calls.clear()
    assert await reader.reader.state(FILE) == state
    assert calls(reader) == []


async def test_two_replicas_without_affinity_put_each_chunk_once(world: World) -> None:
    nodes = [world.node(), world.node()]
    data = content(80)
    for at in range(0, 80, 4):
        await nodes[at // 4 % 2].send(at, data[at : at + 4], len(data))
    for node in nodes:
        assert node.hooks.count("put", "chunks/") == 10
        assert node.hooks.count("list", "chunks/") <= 11  # one for each chunk that begins beyond what it knows
