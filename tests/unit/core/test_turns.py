"""Chunks that end at once take turns at the store, and all of them are acknowledged."""

import asyncio
from contextlib import suppress

from libs.common.layout import FileId
from libs.common.store import LEASE, StoreUnavailable
from libs.common.uploads.turns import MOST, Turns
from services.ingest.writing import Ack
from tests.unit.core.world import Node, VirtualClock, World

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
    """On a store that does one thing at a time: nobody acts on a look that took longer than a second."""
    for method in ("list", "put", "stat"):
        node.hooks.on(method, "", lambda: world.clock.sleep(A_CALL), times=100 * CROWD)
    answers = await send_from_all(node, CROWD)
    assert [ack for ack in answers if not isinstance(ack, Ack)] == []
    assert world.clock.slept > LEASE


async def test_no_more_than_so_many_chunks_are_at_the_store_at_once(node: Node) -> None:
    gates = [node.hooks.hold("put", "chunks/") for _ in range(MOST)]
    sending = asyncio.create_task(send_from_all(node, 2 * MOST))
    for gate in gates:
        await gate.reached.wait()
    assert node.hooks.count("put", "/open") == MOST
    for gate in gates:
        gate.opened.set()
    assert all(isinstance(ack, Ack) for ack in await sending)


async def test_those_who_wait_are_told_when_the_store_is_away(world: World, node: Node) -> None:
    async def away() -> None:
        world.clock.now += 5
        await asyncio.sleep(0)
        raise StoreUnavailable("away")

    node.hooks.on("list", "", away, times=100 * CROWD)
    answers = await send_from_all(node, CROWD)
    assert all(isinstance(answer, StoreUnavailable) for answer in answers)
    assert node.hooks.count("list") < 2 * MOST


async def test_chunks_of_one_file_do_not_wait_one_after_the_other_for_a_store_that_is_away(
    world: World, node: Node
) -> None:
    async def away() -> None:
        world.clock.now += 4
        await asyncio.sleep(0)
        raise StoreUnavailable("away")

    node.hooks.on("list", "", away, times=8)
    answers = await asyncio.gather(*(node.send(at, CHUNK, 20) for at in range(0, 16, 4)), return_exceptions=True)
    assert [type(answer) for answer in answers] == [StoreUnavailable] * 4
    assert node.hooks.count("list") == 1


async def test_nor_do_they_where_it_is_away_only_when_they_open_it(world: World, node: Node) -> None:
    down = asyncio.Event()

    async def away() -> None:
        down.set()
        world.clock.now += 4
        await asyncio.sleep(0)
        raise StoreUnavailable("away")

    async def away_by_now() -> None:
        if down.is_set():
            await away()

    node.hooks.on("list", "partials/", away)
    node.hooks.on("list", "sessions/", away_by_now, times=99)
    began = world.clock.now
    answers = await asyncio.gather(*(node.send(at, CHUNK, 20) for at in range(0, 12, 4)), return_exceptions=True)
    assert [type(answer) for answer in answers] == [StoreUnavailable] * 3
    assert world.clock.now - began < 5


async def test_chunks_of_one_file_do_not_share_a_failure_that_took_no_time(node: Node) -> None:
    node.hooks.fail("list", "")
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


async def test_who_waits_until_others_know_of_it_does_not_hold_others_up(world: World, node: Node) -> None:
    """A replica that takes over a crowd waits a lease for each of its uploads."""
    for number in range(2 * MOST):
        await node.send(0, CHUNK, 20, file=file(number))

    class StandingClock(VirtualClock):
        async def sleep(self, seconds: float) -> None:
            self.slept += seconds
            await asyncio.Event().wait()

    clock = StandingClock()
    other = world.node(clock)
    taken_over = [asyncio.create_task(other.send(4, CHUNK, 20, file=file(number))) for number in range(2 * MOST)]
    try:
        async with asyncio.timeout(3):
            while clock.slept < 2 * MOST * LEASE:  # noqa: ASYNC110
                await asyncio.sleep(0.005)
    finally:
        for task in taken_over:
            task.cancel()
        await asyncio.gather(*taken_over, return_exceptions=True)
    assert (await other.send(0, CHUNK, 20, file=file(-1))).offset == len(CHUNK)


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
