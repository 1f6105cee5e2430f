"""What an owner has, as listings show it and a purge goes through it."""

from libs.common.uploads.holdings import SECTIONS, Section, holdings, holds_anything
from libs.common.uploads.layout import FileId, file_key
from tests.uploads.uploads import DATA, TOTAL, WRONG
from tests.uploads.world import FILE, Node, World

OWNER = FILE.owner


async def shown(node: Node, section: Section, after: str = "") -> list[str]:
    return [holding.filename async for holding in holdings(node.buckets, OWNER, section, after)]


async def delete_late(world: World, name: str) -> None:
    """A file whose DELETE is announced, and comes to the store later."""
    file, node = FileId(OWNER, name), world.node()
    node.hooks.fail("delete_many", "files/")
    await node.send(0, DATA[:8], 8, file=file)
    await node.cancel(file)
    assert await world.final(file) == DATA[:8]


async def test_each_name_is_in_one_section(world: World, node: Node) -> None:
    await node.send(0, DATA[:4], TOTAL, file=FileId(OWNER, "pending"))
    await node.send(0, DATA[:4], TOTAL, file=FileId(OWNER, "partial"))
    await node.park(FileId(OWNER, "partial"))
    await node.send_all(DATA, file=FileId(OWNER, "rejected"), declared=WRONG)
    await node.work(FileId(OWNER, "rejected"))
    await node.send(0, DATA[:8], 8, file=FileId(OWNER, "complete"))
    assert {section: await shown(node, section) for section in SECTIONS} == {name: [name] for name in SECTIONS}


async def test_a_file_whose_delete_is_under_way_is_not_there_on_any_page(world: World, node: Node) -> None:
    """Files and records are not listed in the same order: `a-b` comes before `a/=record`."""
    await node.send(0, DATA[:8], 8, file=FileId(OWNER, "a"))
    await delete_late(world, "a-b")
    assert await shown(node, "complete") == ["a"]
    assert await shown(node, "complete", after="a") == []


async def test_complete_files_are_listed_without_reading_the_records_of_other_names(world: World, node: Node) -> None:
    for number in range(20):
        await node.send(0, DATA[:4], TOTAL, file=FileId(OWNER, f"open-{number}"))
        await world.perm.put(file_key(FileId(OWNER, f"file-{number:02d}")), DATA)
    lister = world.node()
    assert await shown(lister, "complete") == [f"file-{number:02d}" for number in range(20)]
    assert lister.hooks.count("get") == 0
    assert lister.hooks.count() == 2


async def test_a_deleted_file_is_nothing_that_a_device_of_the_same_id_would_find(world: World, node: Node) -> None:
    await delete_late(world, "log.bin")
    assert not await holds_anything(world.buckets, OWNER)
