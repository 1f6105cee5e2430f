"""Devices that contradict themselves through two replicas: no byte is lost in silence, and no digest is untrue."""

import asyncio
import hashlib

import pytest

from libs.common.problems import Kind
from libs.common.storage import KeyTaken, list_all, read
from libs.common.uploads.layout import rejected_prefix
from tests.uploads.world import FILE, World, content, refused

SIZE = 24  # bytes, in three parts
RIGHT = content(SIZE)
WRONG = content(SIZE, seed=1)
RIGHT_DIGEST = hashlib.sha256(RIGHT).hexdigest()


async def send_two_middles(world: World, declared: str = "") -> None:
    """The first replica acknowledges wrong bytes for the second part, which is assembled. The second replica has not
    heard of them, and acknowledges the right ones."""
    first, second = world.node(), world.node()
    await second.send(0, RIGHT[:8], SIZE, declared=declared)
    await first.send(8, WRONG[8:16], SIZE)
    await first.work()
    assert (await second.send(8, RIGHT[8:16], SIZE)).offset == 16


async def kept(world: World) -> bytes:
    """The bytes that are kept of what was rejected, in order."""
    return b"".join([await read(world.perm, info.key) for info in await list_all(world.perm, rejected_prefix(FILE))])


@pytest.mark.parametrize("declared", [RIGHT_DIGEST, ""])
async def test_a_file_is_rejected_whose_assembled_bytes_differ_from_others_that_were_stored(
    world: World, declared: str
) -> None:
    await send_two_middles(world, declared)
    await world.node().send(16, RIGHT[16:], SIZE)
    await world.node().work()
    await refused(Kind.REJECTED, world.node().reader.state(FILE))


async def test_an_upload_that_contradicts_itself_is_parked_with_both_versions(world: World) -> None:
    """Merged, only one of two acknowledged ranges would be left, and no assembler could see it."""
    await send_two_middles(world)
    await world.node().park()
    assert await list_all(world.temp, "chunks/") == []
    await world.node().send(0, RIGHT[:8], SIZE)
    await world.node().park()
    assert await list_all(world.temp, "chunks/") == []
    await world.node().send(16, RIGHT[16:], SIZE)
    await world.node().work()
    await refused(Kind.REJECTED, world.node().reader.state(FILE))


async def test_a_name_that_the_store_refuses_early_is_rejected_once_all_bytes_are_there(world: World) -> None:
    """Some stores refuse a folder's name when the first part is full. Then other replicas still acknowledge bytes,
    which have to be kept too."""
    first, second, assembler = world.node(), world.node(), world.node()

    async def refuse() -> None:
        raise KeyTaken("a folder")

    assembler.hooks.on("create_multipart", "files/", refuse, times=99)
    await first.send(0, RIGHT[:8], SIZE)
    gate = assembler.hooks.hold("put", "=record")  # of the swap that would close the upload
    working = asyncio.create_task(assembler.work())
    held_up = asyncio.create_task(gate.reached.wait())
    await asyncio.wait([working, held_up], return_when=asyncio.FIRST_COMPLETED)
    await second.send(8, RIGHT[8:16], SIZE)
    gate.opened.set()
    await working
    await second.send(16, RIGHT[16:], SIZE)
    await assembler.work()
    await refused(Kind.REJECTED, world.node().reader.state(FILE))
    assert await kept(world) == RIGHT


async def test_bytes_beyond_an_end_that_another_replica_was_told_are_refused(world: World) -> None:
    """On a look that was taken after they were stored, within the lease of one that shows no end."""
    first, second = world.node(), world.node()
    await second.send(0, RIGHT[:8], None)
    assert (await first.send(8, RIGHT[8:16], 16)).total_size == 16
    await refused(Kind.BAD_RANGE, second.send(16, RIGHT[16:], None))


@pytest.mark.parametrize("end", [8, 16])
async def test_bytes_beyond_the_end_that_were_acknowledged_before_it_was_told_reject_the_file(
    world: World, end: int
) -> None:
    """They come after the replica that tells the end has looked for such bytes."""
    first, second = world.node(), world.node()
    await second.send(0, RIGHT[: end - 4], None)
    gate = first.hooks.hold("put", "=record")
    telling = asyncio.create_task(first.send(end - 4, RIGHT[end - 4 : end], end))
    await gate.reached.wait()
    await second.send(end, RIGHT[end:], None)
    gate.opened.set()
    await telling
    await world.node().work()
    await refused(Kind.REJECTED, world.node().reader.state(FILE))
    assert await kept(world) == RIGHT
