"""What an assembler remembers of parts, and what becomes of it when it is wrong."""

from libs.common.bus.events import ChunkReceived
from libs.common.uploads.layout import file_key
from libs.common.uploads.recent import Recent
from tests.uploads.uploads import DATA, TOTAL
from tests.uploads.world import FILE, PART, Node, World, content


async def test_parts_are_listed_once_however_many_events_come(world: World, node: Node) -> None:
    data, assembler = content(20 * PART), world.node()
    for start in range(0, len(data), PART):
        await node.send(start, data[start : start + PART], len(data))
    for event in world.told(ChunkReceived):
        await assembler.assembler.handle(event)
    assert assembler.hooks.count("list_parts") == 1
    assert await world.final() == data


async def test_parts_that_another_process_assembled_are_found_once_all_bytes_are_said_to_be_there(
    world: World, node: Node
) -> None:
    await node.send_all(DATA)
    here, there = world.node(), world.node()
    for assembler, part in ((here, 0), (there, 1)):
        while not await assembler.maker.add(FILE, [part]):
            pass
    while not await here.maker.finish(FILE):
        pass
    assert await world.final() == DATA
    assert here.hooks.count("put_part") + there.hooks.count("put_part") == 3


async def test_an_upload_that_is_known_but_purged_is_begun_again(world: World, node: Node) -> None:
    await node.send(0, DATA[:8], TOTAL)
    assembler = world.node()
    await assembler.work()
    (upload,) = world.open_uploads()
    await world.perm.abort_multipart(file_key(FILE), upload)
    await node.send(8, DATA[8:], TOTAL)
    for event in world.told(ChunkReceived):
        await assembler.assembler.handle(event)
    assert await world.final() == DATA


async def test_parts_whose_events_come_in_any_order_make_the_file_though_no_event_says_that_all_are_there(
    world: World, node: Node
) -> None:
    """Two replicas of ingest. Each knows of some chunks."""
    other, assembler = world.node(), world.node()
    await node.send(0, DATA[:8], TOTAL)
    await other.send(16, DATA[16:], TOTAL)
    await node.send(8, DATA[8:16], TOTAL)
    told = world.told(ChunkReceived)
    assert not any(event.data.is_last for event in told)
    for event in told:
        await assembler.assembler.handle(event)
    assert await world.final() == DATA


def test_a_memory_stays_small() -> None:
    known = Recent[str, int](limit=2)
    for number, key in enumerate("abc"):
        known.keep(key, number)
    assert [known.get(key) for key in "abc"] == [None, 1, 2]
