"""What an assembler remembers of parts, and what becomes of it when it is wrong."""

from libs.common.bus.events import ChunkReceived
from libs.common.storage import PartInfo
from libs.common.uploads.known import KnownParts
from libs.common.uploads.layout import file_key
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
        while not await assembler.maker.advance(FILE, [part], told_all=False):
            pass
    while not await here.maker.advance(FILE, [2]):
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


def test_it_stays_small() -> None:
    known = KnownParts(limit=6)
    for upload in ("a", "b", "c"):
        known.keep(upload, {part: PartInfo(part + 1, PART, "etag") for part in range(2)})
    assert [known.of(upload) is not None for upload in ("a", "b", "c")] == [False, True, True]


def test_the_parts_of_one_upload_are_known_however_many_they_are() -> None:
    known = KnownParts(limit=6)
    known.keep("a", {part: PartInfo(part + 1, PART, "etag") for part in range(20)})
    assert len(known.of("a") or {}) == 20


async def test_it_forgets_a_file_that_is_complete(world: World, node: Node) -> None:
    await node.send(0, DATA[:8], TOTAL)
    while not await node.maker.advance(FILE):
        pass
    upload = (await world.record()).assembly
    assert node.maker._known.of(upload)
    await node.send(8, DATA[8:], TOTAL)
    await node.maker.advance(FILE)
    assert await world.final() == DATA
    assert node.maker._known.of(upload) is None
