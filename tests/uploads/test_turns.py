"""Chunks that end at once take turns at the store, and all of them are acknowledged."""

import asyncio
from contextlib import suppress

from libs.common.storage import LEASE, StoreUnavailable
from libs.common.storage.turns import MOST, Turns
from libs.common.uploads.layout import FileId
from libs.common.uploads.writing import Ack
from tests.uploads.world import Node, VirtualClock, World

CROWD = 12 * MOST
A_CALL = 0.005  # seconds that a call takes for itself: the crowd's looks would take two seconds of this
CHUNK = b"abcd"


def file(number: int) -> FileId:
    return FileId(f"car-{number}", "log.bin")


async def send_from_all(node: Node, crowd: int) -> list[Ack | BaseException]:
    """One chunk from each of so many devices, at once."""
    chunks = (node.send(0, CHUNK, 20, file=file(number)) for number in range(crowd))
    return await asyncio.gather(*chunks, return_exceptions=True)


async def test_a_crowd_whose_chunks_end_at_once_is_acknowledged_to_the_last(world: World, node: Node) -> None:
    """On a store that does one thing at a time: no chunk is acknowledged on a look that is older than a lease."""
    for method in ("fetch", "put", "stat"):
        node.hooks.on(method, "", lambda: world.clock.sleep(A_CALL), times=100 * CROWD)
    answers = await send_from_all(node, CROWD)
    assert [ack for ack in answers if not isinstance(ack, Ack)] == []
    assert world.clock.slept > LEASE


async def test_no_more_than_so_many_chunks_are_at_the_store_at_once(node: Node) -> None:
    gates = [node.hooks.hold("put", "chunks/") for _ in range(MOST)]
    sending = asyncio.create_task(send_from_all(node, 2 * MOST))
    for gate in gates:
        await gate.reached.wait()
    assert node.hooks.count("fetch") == MOST
    for gate in gates:
        gate.opened.set()
    assert all(isinstance(ack, Ack) for ack in await sending)


async def test_those_who_wait_are_told_when_the_store_is_away(world: World, node: Node) -> None:
    async def away() -> None:
        world.clock.now += 5
        await asyncio.sleep(0)
        raise StoreUnavailable("away")

    node.hooks.on("fetch", "", away, times=100 * CROWD)
    answers = await send_from_all(node, CROWD)
    assert all(isinstance(answer, StoreUnavailable) for answer in answers)
    assert node.hooks.count("fetch") < 2 * MOST


async def test_chunks_of_one_file_do_not_wait_one_after_the_other_for_a_store_that_is_away(
    world: World, node: Node
) -> None:
    async def away() -> None:
        world.clock.now += 4
        await asyncio.sleep(0)
        raise StoreUnavailable("away")

    node.hooks.on("fetch", "", away, times=8)
    answers = await asyncio.gather(*(node.send(at, CHUNK, 20) for at in range(0, 16, 4)), return_exceptions=True)
    assert [type(answer) for answer in answers] == [StoreUnavailable] * 4
    assert node.hooks.count("fetch") == 1


async def test_chunks_of_one_file_do_not_share_a_failure_that_took_no_time(node: Node) -> None:
    node.hooks.fail("fetch", "")
    answers = await asyncio.gather(*(node.send(at, CHUNK, 20) for at in range(0, 16, 4)), return_exceptions=True)
    assert sorted(type(answer).__name__ for answer in answers) == ["Ack", "Ack", "Ack", "StoreUnavailable"]


async def test_a_failure_while_others_get_on_sends_nobody_away(node: Node) -> None:
    node.hooks.fail("put", "chunks/", times=MOST)
    answers = await send_from_all(node, 4 * MOST)
    assert sum(isinstance(answer, StoreUnavailable) for answer in answers) == MOST
    assert sum(isinstance(answer, Ack) for answer in answers) == 3 * MOST


async def test_who_waits_for_another_chunk_of_its_file_does_not_hold_others_up(node: Node) -> None:
    gate = node.hooks.hold("put", "chunks/")
    same = [asyncio.create_task(node.send(0, CHUNK, 20)) for _ in range(2 * MOST)]
    await gate.reached.wait()
    async with asyncio.timeout(3):
        await node.send(0, CHUNK, 20, file=file(1))
    gate.opened.set()
    assert {ack.offset for ack in await asyncio.gather(*same)} == {len(CHUNK)}


async def test_who_waits_until_a_name_is_free_does_not_hold_others_up(world: World, node: Node) -> None:
    """The names were deleted a moment ago: a replica may still acknowledge chunks of what was there."""
    names = [file(number) for number in range(2 * MOST)]
    for name in names:
        await node.send(0, CHUNK, 20, file=name)
        await node.records.delete_file(await node.records.look(name), state="closed", session="")

    class StandingClock(VirtualClock):
        waiting = 0

        async def sleep(self, seconds: float) -> None:
            self.waiting += 1
            await asyncio.Event().wait()

    clock = StandingClock()
    other = world.node(clock)
    begun_anew = [asyncio.create_task(other.send(0, CHUNK, 20, file=name)) for name in names]
    try:
        async with asyncio.timeout(3):
            while clock.waiting < len(names):  # noqa: ASYNC110
                await asyncio.sleep(0.005)
            assert (await other.send(0, CHUNK, 20, file=file(-1))).offset == len(CHUNK)
    finally:
        for task in begun_anew:
            task.cancel()
        await asyncio.gather(*begun_anew, return_exceptions=True)


async def test_turns_come_in_order_and_none_is_lost_with_a_device_that_left() -> None:
    turns, came = Turns(VirtualClock(), most=1), list[int]()

    async def take(number: int) -> None:
        async with turns.taken():
            came.append(number)
            await asyncio.sleep(0)

    async with turns.taken():
        waiting = [asyncio.create_task(take(number)) for number in range(6)]
        await asyncio.sleep(0)
        waiting[1].cancel()
        waiting[4].cancel()
    waiting[0].cancel()  # its turn has come, and it does not know yet
    for task in waiting:
        with suppress(asyncio.CancelledError):
            await task
    assert came == [2, 3, 5]
    async with asyncio.timeout(1), turns.taken():
        pass
