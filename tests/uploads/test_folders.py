"""A name is a file or a folder, never both: stores on directories hold only one of them, and MinIO hides the other."""

import asyncio

import pytest

from libs.common.files.names import folders_of
from libs.common.problems import Kind, Problem
from libs.common.storage import list_all
from libs.common.uploads.folders import CHECK_EVERY, FIRST_CHECK
from libs.common.uploads.layout import FileId, file_key
from libs.common.uploads.sweeping import store_time
from tests.uploads.uploads import DATA, TOTAL
from tests.uploads.world import Node, World, refused

A, BELOW, DEEP = FileId("device-1", "a"), FileId("device-1", "a/b"), FileId("device-1", "a/b/c")
LATE = FileId("device-1", "a/late")
WHOLE = DATA[:8]


async def sweep(world: World, after: float) -> None:
    """What the janitor and the assembler do in the next hour."""
    for _ in range(3):
        await world.clock.sleep(after)
        await world.node().janitor.sweep(await store_time(world.temp), dry_run=False)


@pytest.mark.parametrize("pair", [(A, BELOW), (BELOW, A), (A, DEEP), (DEEP, A), (BELOW, DEEP), (DEEP, BELOW)])
@pytest.mark.parametrize("first", ["at once", "open", "complete"])
@pytest.mark.parametrize("second", ["at once", "a chunk"])
async def test_the_second_of_two_names_that_exclude_each_other_is_refused(
    world: World, node: Node, pair: tuple[FileId, FileId], first: str, second: str
) -> None:
    there, refused_one = pair
    if first == "at once":
        await node.send(0, WHOLE, 8, file=there)
    else:
        await node.send(0, DATA[:4], TOTAL, file=there)
    if first == "complete":
        await node.send(4, DATA[4:], TOTAL, file=there)
        await node.work(there)
    other = world.node()
    data, total = (WHOLE, 8) if second == "at once" else (DATA[:4], TOTAL)
    await refused(Kind.NAME_CONFLICT, other.send(0, data, total, file=refused_one))
    assert [info.key for info in await list_all(world.perm, "files/") if info.key != file_key(there)] == []
    await node.reader.state(there)


async def test_many_names_lie_in_one_folder(world: World, node: Node) -> None:
    for name in ("a/1", "a/2", "a/b/1", "a/b/2", "a-", "b/a"):
        await world.node().send(0, WHOLE, 8, file=FileId("device-1", name))
    assert len(await list_all(world.perm, "files/")) == 6


async def test_a_file_in_a_folder_costs_one_look_more_for_each_folder(world: World, node: Node) -> None:
    await node.send(0, WHOLE, 8, file=DEEP)
    node.hooks.calls.clear()
    await node.send(0, WHOLE, 8, file=FileId("device-1", "a/b/d"))
    asked = [call.key.rpartition("/=")[0] or call.key for call in node.hooks.calls if "feed" not in call.key]
    assert [key.partition("device-1/")[2] for key in asked] == ["a/b/d", "a", "a/b", "a/b/d", "a/b/d"]


async def test_an_empty_folder_goes_and_its_name_is_free(world: World, node: Node) -> None:
    await node.send(0, WHOLE, 8, file=DEEP)
    await sweep(world, FIRST_CHECK + 1)
    await refused(Kind.NAME_CONFLICT, node.send(0, WHOLE, 8, file=A))
    await node.cancel(DEEP)
    await node.assembler.tidy(DEEP)
    await sweep(world, CHECK_EVERY + 1)
    assert await world.keys() == []
    assert (await node.send(0, WHOLE, 8, file=A)).complete


async def test_a_folder_stays_while_an_upload_below_it_is_open(world: World, node: Node) -> None:
    await node.send(0, DATA[:4], TOTAL, file=BELOW)
    await sweep(world, CHECK_EVERY + 1)
    await refused(Kind.NAME_CONFLICT, node.send(0, WHOLE, 8, file=A))


async def test_a_file_that_came_late_under_the_name_of_a_folder_is_deleted(world: World, node: Node) -> None:
    await node.send(0, DATA[:4], TOTAL, file=BELOW)
    await world.perm.put(file_key(A), b"put at once, and never acknowledged")
    await sweep(world, FIRST_CHECK + 1)
    assert await list_all(world.perm, "files/") == []
    assert (await world.record(A)).folder


async def emptied(world: World, node: Node) -> None:
    """A folder that is empty, and due for a look."""
    await node.send(0, WHOLE, 8, file=BELOW)
    await node.cancel(BELOW)
    await sweep(world, FIRST_CHECK + 1)
    await world.clock.sleep(CHECK_EVERY)


async def test_a_folder_is_not_removed_under_a_file_on_its_way_there(world: World, node: Node) -> None:
    """The replica looked at the folder before the assembler announced that it goes."""
    await emptied(world, node)
    late, remover = world.node(), world.node()
    late.hooks.on("put", "files/", lambda: remover.work(A))
    await late.send(0, WHOLE, 8, file=LATE)
    assert (await world.record(A)).folder
    await refused(Kind.NAME_CONFLICT, world.node().send(0, WHOLE, 8, file=A))


async def test_a_folder_stays_when_a_file_got_there_before_its_removal(world: World, node: Node) -> None:
    """The replica looked before the announcement, and its write takes effect after it."""
    await emptied(world, node)
    late, remover = world.node(), world.node()
    gate = late.hooks.hold("put", "files/")
    sending = asyncio.create_task(late.send(0, WHOLE, 8, file=LATE))
    await gate.reached.wait()

    async def arrive() -> None:
        gate.opened.set()
        await sending

    remover.hooks.on("put", "device-1/a/=record", arrive, when="after")
    await remover.work(A)
    assert sending.result().complete
    assert (await world.record(A)).folder


@pytest.mark.parametrize("number", range(1, 10))
async def test_a_folder_that_is_claimed_while_it_is_being_removed_stays(world: World, node: Node, number: int) -> None:
    """The replica comes before a list or a put of the assembler that removes the folder."""
    await emptied(world, node)
    late, remover = world.node(), world.node()
    counted = iter(range(1, 1000))

    async def come() -> None:
        if next(counted) == number:
            await late.send(0, WHOLE, 8, file=LATE)

    for method in ("list", "put"):
        remover.hooks.on(method, "device-1/a/", come, times=1000)
    await remover.work(A)
    if next(counted) > number:
        assert (await world.record(A)).folder
        await refused(Kind.NAME_CONFLICT, world.node().send(0, WHOLE, 8, file=A))


@pytest.mark.parametrize("by_hand", [A, DEEP])
@pytest.mark.parametrize("sent", ["at once", "in chunks"])
async def test_a_name_that_the_store_refuses_does_not_stay_open(
    world: World, node: Node, by_hand: FileId, sent: str
) -> None:
    """Where another program put the file, no record tells of it."""
    await world.perm.put(file_key(by_hand), b"by hand")
    name = BELOW if by_hand == A else A
    if sent == "at once" or folders_of(name.filename):
        await refused(Kind.NAME_CONFLICT, node.send(0, WHOLE, 8, file=name))
        return
    await node.send_all(DATA, file=name)
    await node.work(name)
    with pytest.raises(Problem, match="folder of another file") as caught:
        await node.reader.state(name)
    assert caught.value.kind is Kind.REJECTED
    assert (await world.record(name)).state == "closed"
