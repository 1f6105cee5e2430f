"""Nothing appears behind a cursor: writers and a reader in simulated histories, on a store that is slow, loses answers
and requests, and has nodes whose clocks differ."""

from random import Random

import pytest

from libs.common.bus.events import FileDeleted, Outcome
from libs.common.feed.positions import Position
from libs.common.feed.reading import FeedReader
from libs.common.feed.writing import FeedWriter
from libs.common.storage import StoreUnavailable
from libs.common.uploads.layout import FileId
from libs.common.uploads.outcomes import deleted
from tests.simulation.history import World
from tests.simulation.loop import Process, ProcessClock
from tests.simulation.store import LATEST, SimStore

EACH = 25  # outcomes of a writer
WRITERS = 4
LONG = 10_000.0  # seconds


class History:
    """Some writers, which die and come back, and one reader that follows them and goes on from its cursors."""

    def __init__(self, seed: int) -> None:
        self.world = World(seed, faults=True, tracing=False)
        self.world.odds.aims, self.world.odds.aimed = frozenset({"put feed"}), 0.3
        self.world.odds.late, self.world.odds.unanswered, self.world.odds.slow = 0.1, 0.1, 0.5
        self.chance = Random(seed)
        self.stored: list[str] = []  # ids of outcomes whose put returned
        self.seen: list[tuple[str, str]] = []  # key and id of each entry that the reader got
        self.over = 0  # writers that have no more to put

    def start(self) -> None:
        for number in range(WRITERS):
            self._writer(
                number, [deleted(FileId(f"car-{number}", "a"), f"{n:016x}", "/hiper/ingest") for n in range(EACH)]
            )
        self._process("reader").run(self._read())

    def _process(self, name: str) -> Process:
        return Process(self.world.loop, name)

    def _writer(self, number: int, left: list[FileDeleted]) -> None:
        process = self._process(f"writer-{number}")
        process.on_death.append(lambda: self._writer(number, left))
        process.run(self._write(process, left))

    async def _write(self, process: Process, left: list[FileDeleted]) -> None:
        clock = ProcessClock(process, self.chance.uniform(0, 1000))
        feed = FeedWriter(SimStore(self.world, process, self.world.perm), clock)
        while left:
            await clock.sleep(self.chance.choice((0.0, 0.1, 1.0, 20.0)) * self.chance.random())
            try:
                await feed.put(left[0])
            except StoreUnavailable:
                continue
            self.stored.append(f"{left[0].data.owner} {left.pop(0).id}")
        self.over += 1

    async def _read(self) -> None:
        process = Process(self.world.loop, "reader")
        process.kill = lambda: None  # type: ignore[method-assign]  # its memory is what the test is about
        reader = FeedReader(SimStore(self.world, process, self.world.perm))
        cursor = Position.at(0).cursor
        while True:
            await self.world.loop.sleep(self.chance.choice((0.01, 0.5, 3.0)))
            try:
                page = await reader.page(Position.parse(cursor), self.chance.choice((1, 3, 1000)))
                told: list[Outcome | None] = await reader.outcomes(page.entries)
            except StoreUnavailable:
                continue
            cursor = page.next.cursor
            for entry, outcome in zip(page.entries, told, strict=True):
                assert outcome
                self.seen.append((entry.position.key, f"{outcome.data.owner} {outcome.id}"))

    def run(self) -> None:
        self.start()
        loop, odds = self.world.loop, self.world.odds
        assert loop.run_until(lambda: self.over == WRITERS, LONG), "every writer comes to an end"
        odds.quiet, end = True, loop.now + LATEST + 30  # what is on its way arrives
        loop.run_until(lambda: False, end)
        loop.end()
        assert loop.errors == []


@pytest.mark.parametrize("seed", range(40))
def test_a_reader_that_goes_on_from_its_cursors_gets_every_entry_once_and_in_order(seed: int) -> None:
    history = History(seed)
    history.run()
    keys = [key for key, _ in history.seen]
    assert keys == sorted(key for key in history.world.perm.objects if key.startswith("feed/"))
    assert len(history.stored) == WRITERS * EACH
    assert {name for _, name in history.seen} >= set(history.stored)
