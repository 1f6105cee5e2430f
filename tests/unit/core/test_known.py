"""What an assembler remembers of parts, and what becomes of it when it is wrong."""

import pytest

from libs.common.events import ChunkReceived
from libs.common.layout import FileId, file_key
from libs.common.store import PartInfo, UploadNotFound
from services.assembler.known import KnownParts
from tests.unit.core.uploads import DATA, TOTAL
from tests.unit.core.world import FILE, PART, Node, World, content


async def test_parts_are_listed_once_however_many_events_come(world: World, node: Node) -> None:
    data, assembler = content(20 * PART), world.node()
    for start in range(0, len(data), PART):
        await node.send(start, data[start : start + PART], len(data))
    for event in world.told(ChunkReceived):
        await assembler.assembler.handle(event)
    assert assembler.hooks.count("list_parts") == 0  # it opened the upload itself
    assert await world.final() == data


async def test_what_others_assembled_is_looked_for_once_all_is_said_to_be_there(world: World, node: Node) -> None:
    session = (await node.send_all(DATA)).session
    here, there = world.node(), world.node()
    await here.advancer.advance(FILE, [0])
    await there.advancer.advance(FILE, [1])
    await here.advancer.advance(FILE, [2], session)
    assert await world.final() == DATA
    assert here.hooks.count("put_part") == 2


async def test_an_upload_that_is_known_but_purged_is_begun_again(world: World, node: Node) -> None:
    session = (await node.send_all(DATA)).session
    await node.advancer.advance(FILE, [0])
    (upload,) = world.open_uploads()
    await world.perm.abort_multipart(file_key(FILE), upload)
    for _ in range(2):  # the first forgets it, the second drops its record
        with pytest.raises(UploadNotFound):
            await node.advancer.advance(FILE, [1])
    await node.advancer.advance(FILE, [1])
    await node.advancer.advance(FILE, [2], session)
    assert await world.final() == DATA


async def test_it_stays_small_and_forgets_what_is_complete(world: World, node: Node) -> None:
    known = KnownParts(limit=6)
    looks = []
    for name in ("a", "b", "c"):
        file = FileId(FILE.owner, name)
        await node.send(0, DATA[:8], TOTAL, file=file)
        await node.advancer.advance(file, [0])
        looks.append(await world.look(file))
        found = node.advancer._known.of(looks[-1])
        assert found
        known.keep(found._replace(parts={part: PartInfo(part + 1, PART, "etag") for part in range(2)}))
    assert [known.of(look) is not None for look in looks] == [False, True, True]
    await node.send_all(DATA, file=looks[0].file)
    await node.advancer.advance(looks[0].file)
    assert node.advancer._known.of(looks[0]) is None
