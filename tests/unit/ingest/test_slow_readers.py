"""A slow reader holds no answer of the store, and downloads take turns at it."""

import asyncio
from contextlib import aclosing, suppress
from dataclasses import dataclass, field

import pytest

from libs.common.files.extents import Extent
from libs.common.problems import Kind, Problem
from libs.common.storage import ObjectNotFound, StoreUnavailable
from services.ingest import downloads
from services.ingest.download_turns import Turns
from services.ingest.downloads import MOST_AHEAD, Blocks, Downloads
from tests.unit.metrics import value

MIB = 2**20
BLOCK = 64 * 1024
SIZE = 4 * MIB
CONTENT = bytes(range(251)) * (SIZE // 251 + 1)
LONG = 20 * downloads.CLIENT_PATIENCE
CAR = "car-7"


@dataclass
class Object:
    """An object of a store: which extents of it were asked for, how many answers are open, and were at most."""

    asked: list[Extent] = field(default_factory=list)
    open: int = 0
    most: int = 0
    fails_at: int = 2**60
    block: int = BLOCK

    async def read(self, extent: Extent) -> Blocks:
        self.asked.append(extent)
        self.open += 1
        self.most = max(self.most, self.open)
        try:
            for at in range(extent.start, extent.end, self.block):
                if at >= self.fails_at:
                    raise ObjectNotFound("it was deleted")
                await asyncio.sleep(0)
                yield CONTENT[at : min(at + self.block, extent.end)] if at < SIZE else bytes(self.block)
        finally:
            self.open -= 1


@pytest.fixture
def stored() -> Object:
    return Object()


async def whole(blocks: Blocks, pause: float = 0) -> bytes:
    got = bytearray()
    async for block in blocks:
        got += block
        await asyncio.sleep(pause)
    return bytes(got)


async def stalled(blocks: Blocks, size: int = 1) -> None:
    """Take some bytes, and then no more."""
    async for block in blocks:
        size -= len(block)
        if size <= 0:
            return


async def until_closed(stored: Object) -> None:
    async with asyncio.timeout(LONG):
        while stored.open:  # noqa: ASYNC110
            await asyncio.sleep(0.01)


async def test_a_client_that_keeps_up_gets_a_file_in_two_answers(stored: Object) -> None:
    assert await whole(Downloads().blocks(stored.read, Extent(3, SIZE), CAR)) == CONTENT[3:SIZE]
    assert stored.asked == [Extent(3, 3 + MOST_AHEAD), Extent(3 + MOST_AHEAD, SIZE)]
    assert stored.open == 0


async def test_a_small_file_takes_one_answer(stored: Object) -> None:
    assert await whole(Downloads().blocks(stored.read, Extent(0, MOST_AHEAD), CAR)) == CONTENT[:MOST_AHEAD]
    assert len(stored.asked) == 1


async def test_a_client_that_takes_nothing_holds_no_answer(stored: Object) -> None:
    async with aclosing(Downloads().blocks(stored.read, Extent(0, SIZE), CAR)) as blocks:
        await stalled(blocks)
        assert stored.open == 0


async def test_nor_does_one_that_stalls_in_the_middle_and_goes_on_where_it_was(stored: Object) -> None:
    async with aclosing(Downloads().blocks(stored.read, Extent(0, SIZE), CAR)) as blocks:
        await stalled(blocks, 2 * MOST_AHEAD)
        assert stored.open == 1
        await until_closed(stored)
        assert value("hiper_downloads_open", where="store") == 0
        assert await whole(blocks) == CONTENT[2 * MOST_AHEAD : SIZE]
    assert stored.asked[2].start == 2 * MOST_AHEAD


async def test_a_client_that_is_slow_and_steady_gets_all_of_it_in_pieces(
    stored: Object, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(downloads, "CLIENT_PATIENCE", 0.01)
    assert await whole(Downloads().blocks(stored.read, Extent(0, SIZE), CAR), 0.02) == CONTENT[:SIZE]
    assert stored.asked == [Extent(at, at + MOST_AHEAD) for at in range(0, SIZE, MOST_AHEAD)]


async def test_large_blocks_are_given_whole_only_to_a_client_that_kept_up_for_long(
    stored: Object, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(downloads, "TRUSTED_AFTER", MIB)
    stored.block = MIB
    sizes = [len(block) async for block in Downloads().blocks(stored.read, Extent(0, SIZE), CAR)]
    assert sizes == [BLOCK] * ((MOST_AHEAD + MIB) // BLOCK) + [MIB, MIB, MIB - MOST_AHEAD]


async def test_a_client_that_stalls_while_another_waits_gives_its_turn_back_sooner(
    stored: Object, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(downloads, "CLIENT_PATIENCE", 3600)
    monkeypatch.setattr(downloads, "TURN_LENGTH", 3600)
    shared = Downloads(Turns(1))
    async with aclosing(shared.blocks(stored.read, Extent(0, SIZE), CAR)) as blocks:
        await stalled(blocks, 2 * MOST_AHEAD)
        assert stored.open == 1
        async with asyncio.timeout(LONG):
            assert await whole(shared.blocks(stored.read, Extent(0, 1), "car-8")) == CONTENT[:1]


async def test_many_slow_clients_share_the_memory(stored: Object, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(downloads, "MOST_AHEAD_OF_ALL", 4 * MOST_AHEAD)
    shared = Downloads()
    crowd = [shared.blocks(stored.read, Extent(0, SIZE), CAR) for _ in range(40)]
    for blocks in crowd:
        await stalled(blocks)
    sizes = [extent.length for extent in stored.asked]
    assert max(sizes) == sizes[0] == MOST_AHEAD
    assert min(sizes) == sizes[-1] == 4 * MOST_AHEAD // 40
    for blocks in crowd:
        await blocks.aclose()
    assert await whole(shared.blocks(stored.read, Extent(0, MOST_AHEAD), CAR)) == CONTENT[:MOST_AHEAD]
    assert stored.asked[-1].length == MOST_AHEAD


async def test_more_downloads_than_turns_all_get_through(stored: Object) -> None:
    shared = Downloads(Turns(4))
    crowd = [whole(shared.blocks(stored.read, Extent(0, MIB), CAR)) for _ in range(40)]
    assert set(await asyncio.gather(*crowd)) == {CONTENT[:MIB]}
    assert stored.most == 4


async def test_those_that_wait_get_a_turn_while_others_read_without_end(
    stored: Object, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(downloads, "TURN_LENGTH", 0.1)
    shared, endless = Downloads(Turns(2)), Object()
    crowd = [asyncio.create_task(stalled(shared.blocks(endless.read, Extent(0, 2**50), CAR), 2**50)) for _ in range(2)]
    while endless.open < 2 or len(endless.asked) < 4:  # noqa: ASYNC110  # both are past their first bytes
        await asyncio.sleep(0)
    async with asyncio.timeout(LONG):
        assert await whole(shared.blocks(stored.read, Extent(0, MIB), CAR)) == CONTENT[:MIB]
    for task in crowd:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
    assert endless.most == 2


async def test_a_device_with_many_downloads_lets_another_wait_for_one_turn_only() -> None:
    turns, came, crowd = Turns(1), list[str](), list[asyncio.Task[None]]()
    await turns.take(CAR)

    async def take(device: str) -> None:
        await turns.take(device)
        came.append(device)

    for device in [*[CAR] * 5, "car-8", "car-8", "car-9"]:
        crowd.append(asyncio.create_task(take(device)))
        await asyncio.sleep(0)
    for _ in crowd:
        turns.give_back()
        await asyncio.sleep(0)
    assert came == [CAR, "car-8", "car-9", CAR, "car-8", CAR, CAR, CAR]


async def test_a_turn_that_comes_to_a_download_that_ends_goes_to_the_next() -> None:
    turns = Turns(1)
    await turns.take(CAR)
    ended, gone, after = (asyncio.create_task(turns.take(CAR)) for _ in range(3))
    await asyncio.sleep(0)
    ended.cancel()
    await asyncio.sleep(0)
    turns.give_back()  # to the second
    gone.cancel()
    async with asyncio.timeout(LONG):
        await after


async def test_a_turn_that_does_not_come_is_said_before_the_first_byte(
    stored: Object, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(downloads, "FIRST_TURN_WAIT", 0.05)
    turns = Turns(1)
    await turns.take(CAR)
    with pytest.raises(Problem) as raised:
        await whole(Downloads(turns).blocks(stored.read, Extent(0, 1), CAR))
    assert raised.value.kind is Kind.BUSY
    assert int(raised.value.headers["Retry-After"]) >= 1
    turns.give_back()
    assert await whole(Downloads(turns).blocks(stored.read, Extent(0, 1), CAR)) == CONTENT[:1]


@pytest.mark.parametrize("size", [1, 2 * MOST_AHEAD], ids=["from memory", "as it comes"])
async def test_a_client_that_goes_away_gives_its_turn_back(stored: Object, size: int) -> None:
    turns = Turns(1)

    async def read() -> None:
        async with aclosing(Downloads(turns).blocks(stored.read, Extent(0, SIZE), CAR)) as blocks:
            await stalled(blocks, size)
            await asyncio.sleep(LONG)

    task = asyncio.create_task(read())
    await asyncio.sleep(downloads.CLIENT_PATIENCE / 2)
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task
    assert stored.open == 0
    await turns.take(CAR, 0.1)


@pytest.mark.parametrize("at", [0, BLOCK, 2 * MOST_AHEAD])
async def test_what_the_store_says_comes_through_and_gives_the_turn_back(stored: Object, at: int) -> None:
    stored.fails_at = at
    turns = Turns(1)
    with pytest.raises(ObjectNotFound):
        await whole(Downloads(turns).blocks(stored.read, Extent(0, SIZE), CAR))
    await turns.take(CAR, 0.1)


async def test_an_answer_without_bytes_is_not_asked_for_again_and_again() -> None:
    async def nothing(_extent: Extent) -> Blocks:
        for block in list[bytes]():
            yield block

    with pytest.raises(StoreUnavailable):
        await whole(Downloads().blocks(nothing, Extent(0, 1), CAR))
