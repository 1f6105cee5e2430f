"""A command keeps to its rate, however many transfers it runs."""

import asyncio

import pytest

from libs.client.ratelimit import LARGEST_BLOCK, RateLimit


class Watch:
    """A clock that jumps over every sleep."""

    def __init__(self) -> None:
        self.now = 0.0

    def monotonic(self) -> float:
        return self.now

    def time(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        until = self.now + seconds
        await asyncio.sleep(0)
        self.now = max(self.now, until)


async def test_bytes_move_no_faster_than_the_rate() -> None:
    watch = Watch()
    limit = RateLimit(1000, clock=watch)
    for _ in range(41):
        await limit.spend(250)
    assert watch.now == 10


async def test_transfers_side_by_side_share_the_rate() -> None:
    watch = Watch()
    limit = RateLimit(1000, clock=watch)

    async def transfer() -> None:
        for _ in range(10):
            await limit.spend(100)

    await asyncio.gather(*(transfer() for _ in range(4)))
    assert watch.now == pytest.approx(3.9)


async def test_a_pause_is_not_made_up_for_by_a_burst() -> None:
    watch = Watch()
    limit = RateLimit(1000, clock=watch)
    await limit.spend(1000)
    watch.now = 100
    await limit.spend(1000)
    await limit.spend(1000)
    assert watch.now == 101


async def test_without_a_rate_nothing_waits() -> None:
    watch = Watch()
    limit = RateLimit(clock=watch)
    await limit.spend(2**40)
    await limit.spend(2**40)
    assert (watch.now, limit.block) == (0, LARGEST_BLOCK)


@pytest.mark.parametrize(("rate", "block"), [(1, 1), (800, 100), (2**40, LARGEST_BLOCK)])
def test_a_low_rate_moves_small_blocks(rate: int, block: int) -> None:
    assert RateLimit(rate).block == block
