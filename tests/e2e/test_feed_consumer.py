"""A consumer of the feed that is killed at random and started again has each outcome."""

import asyncio
import json
import random
import subprocess
import sys
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from tests.e2e.device import Device, new_device
from tests.e2e.processes import ROOT, Deployment

AT_ONCE = 16  # files that a device sends at once
Outcomes = dict[tuple[str, str], set[str]]  # of an outcome and a file the ids of its events


class Consumer:
    """The process, and what it kept."""

    def __init__(self, api: str, token: str, directory: Path) -> None:
        self._command = [sys.executable, "-m", "tests.e2e.feed_consumer", api, token, str(directory)]
        self._events = directory / "events.jsonl"
        self._popen: subprocess.Popen[bytes] | None = None
        self.kills = 0

    def start(self) -> None:
        self._popen = subprocess.Popen(self._command, cwd=ROOT)

    def kill(self) -> None:
        """SIGKILL, in the middle of whatever it does."""
        assert self._popen is not None
        assert self._popen.poll() is None, "the consumer ended by itself"
        self._popen.kill()
        self._popen.wait()
        self.kills += 1

    def outcomes(self) -> Outcomes:
        """What it has, without repeats: those have the same id."""
        found: Outcomes = defaultdict(set)
        for line in self._events.read_text().splitlines() if self._events.exists() else ():
            if line.endswith("}") and line.startswith("{"):  # else a kill cut it off, and it comes again
                event = json.loads(line)
                found[event["type"], event["data"]["filename"]].add(event["id"])
        return found


@asynccontextmanager
async def killed_at_random(consumer: Consumer, pause: tuple[float, float]) -> AsyncIterator[None]:
    """A consumer that runs, is killed and starts again at random times."""
    chance = random.Random(17)

    async def go_on() -> None:
        while True:
            await asyncio.sleep(chance.uniform(*pause))
            consumer.kill()
            consumer.start()

    consumer.start()
    task = asyncio.create_task(go_on())
    try:
        yield
    finally:
        task.cancel()
        [ended] = await asyncio.gather(task, return_exceptions=True)
        consumer.kill()
    assert isinstance(ended, asyncio.CancelledError), ended


@pytest.mark.parametrize(
    ("files", "kills", "within"),
    [
        pytest.param(40, 4, 90, id="forty", marks=pytest.mark.timeout(180)),
        pytest.param(9_000, 40, 1800, id="ten-thousand", marks=[pytest.mark.chaos, pytest.mark.timeout(3600)]),
    ],
)
async def test_a_consumer_that_is_killed_at_random_has_each_outcome(
    four_services: Deployment, tmp_path: Path, files: int, kills: int, within: float
) -> None:
    async with new_device(four_services, "car-17") as car:
        consumer = Consumer(four_services.apis[1], car.token, tmp_path)
        deleted = [number for number in range(files) if number % 9 == 0]
        wanted = {("hiper.FileCompleted.v1", _name(number)) for number in range(files)}
        wanted |= {("hiper.FileDeleted.v1", _name(number)) for number in deleted}
        async with killed_at_random(consumer, (0.5, 2.5)):
            await _each(range(files), lambda number: _upload(car, number))
            await _each(deleted, lambda number: _delete(car, number))
            async with asyncio.timeout(within):
                while consumer.kills < kills or not wanted <= consumer.outcomes().keys():  # noqa: ASYNC110
                    await asyncio.sleep(1)
    found = consumer.outcomes()
    assert found.keys() == wanted
    assert {outcome: ids for outcome, ids in found.items() if len(ids) > 1} == {}


def _name(number: int) -> str:
    return f"log-{number}"


async def _each(numbers: Iterable[int], act: Callable[[int], Awaitable[None]]) -> None:
    """Some at once."""
    waiting = iter(numbers)

    async def work() -> None:
        for number in waiting:
            await act(number)

    await asyncio.gather(*(work() for _ in range(AT_ONCE)))


async def _upload(car: Device, number: int) -> None:
    await car.send(_name(number), 10, 0, b"%010d" % number)


async def _delete(car: Device, number: int) -> None:
    status, answer = await car.request("DELETE", f"/files/{_name(number)}")
    assert status in (200, 204), (status, answer)
