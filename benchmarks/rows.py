"""What is measured: rows of loads, each on several systems in turn, as ratios within one round."""

import os
import random
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from benchmarks.load import MIB, Load, run, together
from benchmarks.servers import Program, cpu
from benchmarks.systems import File, Hiper, System

RANGE = 64 * 1024  # bytes
READERS = 4  # connections that read ranges at once
SETTLE = 0.3  # seconds of rest before processor times are read: what answers late is counted too


@dataclass(frozen=True)
class Ratio:
    """How many times faster than a reference, over the rounds."""

    median: float
    low: float
    high: float


@dataclass
class Row:
    """One line of the results. `values`: of each system one figure a round, in `unit`, more is better. `cost`: the
    processor time of each role in milliseconds per request, of all rounds of `hiper`."""

    name: str
    group: str
    unit: str
    values: dict[str, list[float]] = field(default_factory=dict)
    cost: dict[str, float] = field(default_factory=dict)
    notes: dict[str, Any] = field(default_factory=dict)

    def add(self, system: str, value: float) -> None:
        self.values.setdefault(system, []).append(value)

    def ratio(self, reference: str, of: str = "hiper") -> Ratio | None:
        pairs = list(zip(self.values.get(of, ()), self.values.get(reference, ()), strict=False))
        if not pairs:
            return None
        ratios = [ours / theirs for ours, theirs in pairs]
        return Ratio(statistics.median(ratios), min(ratios), max(ratios))

    def document(self) -> dict[str, Any]:
        references = [name for name in self.values if name != "hiper"]
        ratios = {name: self.ratio(name) for name in references}
        return {**asdict(self), "ratios": {name: asdict(r) for name, r in ratios.items() if r}}


def uploads(
    group: str, name: str, load: Load, systems: Sequence[System], rounds: int, say: Callable[[str], None]
) -> Row:
    """Until every file is complete in permanent storage; requests per second."""
    row = Row(name, group, "requests/s", notes={"bytes": load.size, "requests": load.requests})
    used: dict[str, float] = {}
    for number in range(rounds):
        for system in systems if number % 2 == 0 else reversed(systems):
            before = _processor(system)
            took = run(system, load)
            time.sleep(SETTLE)
            if isinstance(system, Hiper):
                for role, seconds in _processor(system).items():
                    used[role] = used.get(role, 0.0) + seconds - before.get(role, 0.0)
                row.notes.setdefault("acknowledged/s", []).append(round(load.requests / took.acknowledged, 1))
            row.add(system.name, load.requests / took.complete)
            system.clean()
    row.cost = {role: 1000 * seconds / (load.requests * rounds) for role, seconds in used.items()}
    say(line(row))
    return row


def _processor(system: System) -> Mapping[str, float]:
    return cpu([*system.programs, Program("load generator", os.getpid())])


def downloads(
    group: str, size: int, ranges: int, systems: Sequence[System], rounds: int, say: Callable[[str], None]
) -> list[Row]:
    """A whole file, and ranges of it at random places. The first system uploads for those that cannot."""
    load = Load(8 * MIB, 1, size // (8 * MIB))
    files: dict[str, File] = {}
    [[file]] = load.of_devices()
    for system in systems:
        try:
            peer = system.peer(file.device)
            peer.upload(file)
            peer.finish(file)
        except NotImplementedError:
            pass  # it reads what the first system wrote
        files[system.name] = file
    whole, pieces = Row(f"{size // MIB} MiB", group, "MiB/s"), Row(f"{ranges} ranges of 64 KiB", group, "ranges/s")
    for number in range(rounds):
        for system in systems if number % 2 == 0 else reversed(systems):
            whole.add(system.name, size / MIB / _timed(lambda s=system: s.peer(file.device).download(file)))  # type: ignore[misc]
            pieces.add(system.name, ranges / _read_ranges(system, file, ranges))
    for row in (whole, pieces):
        say(line(row))
    for system in systems:
        system.clean()
    return [whole, pieces]


def _read_ranges(system: System, file: File, count: int) -> float:
    chance = random.Random(count)  # noqa: S311  # the same places for every system
    starts = [chance.randrange(file.size - RANGE) for _ in range(count)]
    peers = [system.peer(file.device) for _ in range(READERS)]

    def read(n: int) -> None:
        for start in starts[n::READERS]:
            peers[n].download(file, start, start + RANGE)

    return _timed(lambda: together([lambda n=n: read(n) for n in range(READERS)]))  # type: ignore[misc]


def lags(group: str, sizes: Sequence[int], hiper: Hiper, rounds: int, say: Callable[[str], None]) -> list[Row]:
    """Seconds from the last acknowledgement until the file is complete."""
    rows = []
    for size in sizes:
        row = Row(f"{size // MIB} MiB", group, "s")
        for _ in range(rounds):
            took = run(hiper, Load(8 * MIB, 1, size // (8 * MIB)))
            row.add("hiper", took.complete - took.acknowledged)
            hiper.clean()
        say(line(row))
        rows.append(row)
    return rows


def line(row: Row) -> str:
    """A row for people."""
    figures = ", ".join(f"{name} {statistics.median(values):.4g}" for name, values in row.values.items())
    ratios = ", ".join(
        f"{ratio.median:.2f}x {name} ({ratio.low:.2f}-{ratio.high:.2f})"
        for name in row.values
        if name != "hiper" and (ratio := row.ratio(name))
    )
    return f"{row.group}, {row.name}: {figures} {row.unit}  {ratios}"


def _timed(call: Callable[[], object]) -> float:
    began = time.monotonic()
    call()
    return time.monotonic() - began
