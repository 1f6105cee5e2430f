"""When the client tries again, and when it gives up."""

import random
from dataclasses import dataclass, field

import pytest

from libs.client.answer_errors import answer_error
from libs.client.errors import HiperError, ServerAwayError
from libs.client.retry import FEW, FIRST_WAIT, LONGEST_WAIT, Patience


@dataclass
class FastClock:
    """Time that passes only by sleeping."""

    now: float = 1000.0
    slept: list[float] = field(default_factory=list)

    def monotonic(self) -> float:
        return self.now

    def time(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds


class AlwaysLongest(random.Random):
    """Jitter that is never short."""

    def uniform(self, a: float, b: float) -> float:
        return b


def patience(clock: FastClock, retry_for: float = 1e6, rng: random.Random | None = None) -> Patience:
    return Patience(retry_for, clock=clock, rng=rng or AlwaysLongest())


AWAY = ServerAwayError("http://server", "refused")


async def test_the_bound_of_the_wait_doubles_up_to_half_a_minute() -> None:
    clock = FastClock()
    backoff = patience(clock).backoff()
    for _ in range(9):
        await backoff.pause(AWAY)
    assert clock.slept[:3] == [FIRST_WAIT, 2 * FIRST_WAIT, 4 * FIRST_WAIT]
    assert clock.slept[-1] == LONGEST_WAIT


async def test_jitter_is_full_so_that_waits_lie_anywhere_below_the_bound() -> None:
    clock = FastClock()
    for seed in range(200):
        await patience(clock, rng=random.Random(seed)).backoff().pause(AWAY)
    assert min(clock.slept) < 0.1 * FIRST_WAIT
    assert 0.9 * FIRST_WAIT < max(clock.slept) <= FIRST_WAIT


async def test_retry_after_is_waited_for_and_jitter_comes_on_top() -> None:
    clock = FastClock()
    await patience(clock).backoff().pause(answer_error(503, "busy", {}, retry_after=7))
    assert clock.slept == [7 + FIRST_WAIT]


async def test_a_success_lets_the_wait_start_small_again() -> None:
    clock = FastClock()
    backoff = patience(clock).backoff()
    await backoff.pause(AWAY)
    await backoff.pause(AWAY)
    backoff.reset()
    await backoff.pause(AWAY)
    assert clock.slept[-1] == FIRST_WAIT


@pytest.mark.parametrize("status", [400, 401, 403, 404, 409, 410, 412, 413, 416])
async def test_an_error_that_cannot_go_away_is_final(status: int) -> None:
    clock = FastClock()
    error = answer_error(status, "no", {})
    with pytest.raises(type(error)):
        await patience(clock).backoff().pause(error)
    assert clock.slept == []


@pytest.mark.parametrize("status", [408, 429, 502, 503, 504])
async def test_an_error_of_the_moment_is_tried_again_and_again(status: int) -> None:
    clock = FastClock()
    backoff = patience(clock).backoff()
    for _ in range(50):
        await backoff.pause(answer_error(status, "wait", {}))
    assert len(clock.slept) == 50


async def test_a_broken_server_gets_a_few_attempts_only() -> None:
    clock = FastClock()
    backoff = patience(clock).backoff()
    error = answer_error(500, "oops", {})
    for _ in range(FEW - 1):
        await backoff.pause(error)
    with pytest.raises(HiperError, match="500 oops"):
        await backoff.pause(error)


async def test_patience_ends_after_a_time_without_progress() -> None:
    clock = FastClock()
    waiting = patience(clock, retry_for=60)
    backoff = waiting.backoff()
    while waiting.left() > LONGEST_WAIT:
        await backoff.pause(AWAY)
    with pytest.raises(ServerAwayError):
        await backoff.pause(AWAY)
    assert clock.now <= 1000 + 60
    assert 0 < waiting.left() < LONGEST_WAIT


async def test_progress_restores_patience() -> None:
    clock = FastClock()
    waiting = patience(clock, retry_for=60)
    for _ in range(20):
        await waiting.backoff().pause(answer_error(503, "wait", {}, retry_after=50))
        waiting.progress()
    assert clock.now > 1000 + 20 * 50


async def test_without_patience_the_first_failure_is_raised() -> None:
    with pytest.raises(ServerAwayError):
        await patience(FastClock(), retry_for=0).backoff().pause(AWAY)


async def test_the_user_is_told_what_failed_and_how_long_the_wait_is() -> None:
    told: list[tuple[str, float]] = []
    waiting = Patience(
        60, notify=lambda error, wait: told.append((str(error), wait)), clock=FastClock(), rng=AlwaysLongest()
    )
    await waiting.backoff().pause(AWAY)
    assert told == [("cannot reach http://server: refused", FIRST_WAIT)]
