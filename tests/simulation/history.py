"""One seed, one history: a system with faults, devices that use it, a quiet end, and what must be true then."""

import asyncio
import gc
import random
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

import structlog

from libs.common.bus.events import Event, FileCompleted
from libs.common.uploads import layout, runs
from libs.common.uploads.layout import (
    FileId,
    file_key,
    parse_chunk_key,
    parse_record_key,
    parse_run_key,
    record_key,
    rejected_prefix,
)
from libs.common.uploads.record import parse
from libs.common.uploads.sweeping import Ages
from services.assembler import handling
from tests.simulation.broker import Broker
from tests.simulation.bucket import Bucket
from tests.simulation.device import SIZES, Device, Habits
from tests.simulation.fleet import Fleet
from tests.simulation.ledger import Ledger
from tests.simulation.loop import RUNNING, Loop, Process
from tests.simulation.odds import HESITATIONS, Odds
from tests.simulation.scenes import NONE, Scene, draw_scene

PART = 8  # bytes
EPOCH = 1_000_000_000.0  # the store's time when a history begins
LONGEST = 100_000.0  # seconds that the noisy part of a history may take
FILES = (FileId("car", "a.log"), FileId("car", "a.log-2"), FileId("car-2", "über.log"))


@dataclass
class Outcome:
    seed: int
    violations: list[str]
    calls: int
    seconds: float  # of simulated time
    met: Counter[str]  # how often what happened
    trace: list[str] = field(default_factory=list)


class World:
    """What all processes share."""

    def __init__(self, seed: int, *, faults: bool, tracing: bool) -> None:
        self.chance = random.Random(seed)
        self.loop = Loop()  # type: ignore[abstract]  # the core asks for none of what it lacks
        RUNNING.set(None)  # type: ignore[arg-type]
        self.outside = Process(self.loop, "")
        RUNNING.set(self.outside)
        self.scene = draw_scene(self.chance) if faults else NONE
        self.odds = Odds.draw(self.chance, self.scene, faults=faults)
        self.violations: list[str] = []
        self.tracing = tracing
        self.trace: list[str] = []
        self.suspects: set[str] = set()
        self.devices: list[Device] = []
        self._skew = self.chance.choice((0.0, 0.0, 0.25))  # seconds by which a node's clock may be before or behind
        self._whole_seconds = self.chance.random() < 0.5  # as HTTP tells dates
        self.temp = Bucket(lambda: self.node_time(self.loop.now), self.changed)
        self.perm = Bucket(lambda: self.node_time(self.loop.now), self.changed)
        self.ledger = Ledger(self.temp, self.perm, self.violated)
        self.broker = Broker(self, self.loop, self.heard)

    def say(self, *words: object) -> None:
        if self.tracing:
            line = " ".join(str(word) for word in words if word != "")
            self.trace.append(f"{self.loop.now:10.3f} {RUNNING.get().name:12s} {line}")

    def violated(self, what: str) -> None:
        self.violations.append(what)
        self.say("VIOLATION", what)

    def changed(self, key: str) -> None:
        self.ledger.changed(key)
        for device in self.devices:
            if f"/{device.file.owner}/{device.file.filename}" in key:
                device.oracle.changed(key)

    def node_time(self, now: float) -> float:
        return EPOCH + now + self._skew * (2 * self.odds.chance.random() - 1 if self._skew else 0.0)

    def date(self, now: float) -> float:
        """`now` in the loop's time, or in the store's already."""
        told = now if now >= EPOCH / 2 else self.node_time(now)
        return float(int(told)) if self._whole_seconds else told

    def heard(self, event: Event) -> None:
        if isinstance(event, FileCompleted) and event.data.total_size != self._size(event):
            self.say("(FileCompleted of a file that is gone)")

    def _size(self, event: FileCompleted) -> int:
        stored = self.perm.objects.get(file_key(event.data.file))
        return len(stored.data) if stored else -1


def run(seed: int, *, faults: bool = True, tracing: bool = False) -> Outcome:
    """Live through one history."""
    with _controlled(seed):
        world = World(seed, faults=faults, tracing=tracing)
        chance = world.chance
        stale = chance.choice((5.0, 10.0, 20.0, 60.0))
        stale = world.scene.stale or stale
        recovery = chance.choice((2.0, 5.0, 20.0))
        fleet = Fleet(world, Ages.of(stale, recovery), recovery, world.scene.replicas)
        for file in chance.sample(FILES, chance.choice((1, 1, 1, 2))):
            world.devices.append(Device(world, fleet, file, draw_habits(chance, world.scene), stale))
        _noise(world)
        if not world.violations:
            _quiet(world, stale, recovery)
        if not world.violations:
            judge(world)
        outcome = Outcome(seed, list(world.violations), world.odds.calls, world.loop.now, world.odds.met, world.trace)
        world.loop.end()
    return outcome


def draw_habits(chance: random.Random, scene: Scene) -> Habits:
    deeds = {
        "next": 4.0, "random": chance.choice((0.5, 4.0)), "twice": chance.choice((0.0, 2.0)), "zero": 0.5,
        "status": 0.7, "download": chance.choice((0.2, 1.0)), "cancel": chance.choice((0.0, 0.3, 1.0)),
        "contradict": chance.choice((1.0, 5.0)), "resize": 0.5, "idle": chance.choice((0.3, 1.0, 3.0)),
    }  # fmt: skip
    if chance.random() < 0.3:  # one that begins again and again: names are used anew while others act late
        deeds = {"all": 3.0, "cancel": 2.0, "next": 1.0, "idle": 0.5, "status": 0.5, "download": 0.5}
    return Habits(
        pinned=chance.random() < 0.5 or scene.pinned,
        honest=chance.random() < 0.75 and not scene.contradicts,
        resizes=chance.random() < 0.1,
        sticky=chance.choice((0.0, 0.5, 0.9)) * (not scene.contradicts),
        declares=chance.choice(("", "", "right", "right", "wrong")),
        longest=chance.choice((3, 8, 12)),
        deeds=scene.deeds or deeds,
        eager=scene.eager or chance.random() < 0.1,
        sizes=scene.sizes or SIZES,
    )


def _noise(world: World) -> None:
    lives = [world.outside.run(device.live(world.chance.randint(4, 20))) for device in world.devices]
    _run(world, lambda: all(map(asyncio.Task.done, lives)), LONGEST)
    for task in lives:
        if not task.done() and not world.violations:
            world.violated("a device does not come to an end")
        elif task.done() and task.exception():
            raise task.exception()  # type: ignore[misc]  # a fault of the simulation itself


def _quiet(world: World, stale: float, recovery: float) -> None:
    """Faults end; devices finish what they want to finish; then nothing temporary stays."""
    world.odds.quiet = True
    world.odds.page = 1000  # in pages of three a slow store takes longer to list a file than a look may take
    world.broker.flush()
    if world.chance.random() < 0.3:  # everybody comes long after everything was left alone
        world.loop.run_until(lambda: bool(world.violations), world.loop.now + 2 * stale)
    goals = [world.chance.choice(("complete", "complete", "abandon", "cancel")) for _ in world.devices]
    tasks = [world.outside.run(device.finish(goal)) for device, goal in zip(world.devices, goals, strict=True)]
    _run(world, lambda: all(map(asyncio.Task.done, tasks)), 3000.0)
    for task in tasks:
        if not task.done() and not world.violations:
            world.violated("a device cannot finish")
        elif task.done() and task.exception():
            raise task.exception()  # type: ignore[misc]
    _run(world, lambda: False, 2 * max(HESITATIONS))  # who was held up before has come to act by then
    _run(world, lambda: not (_moving(world) or world.broker.under_way), 500 + 10 * (stale + recovery + 30))


def _run(world: World, done: Any, longest: float) -> None:
    violations = world.violations
    world.loop.run_until(lambda: bool(violations) or done(), world.loop.now + longest)


def _moving(world: World) -> bool:
    temp, perm = world.temp.objects, world.perm.objects
    if any(not stays(world, key) for key in temp):
        return True
    by_key = {key: parse(key, stored.data) for key, stored in temp.items() if key.startswith("uploads/")}
    records = by_key.values()
    if any(not record.file and file_key(parse_record_key(key)) in perm for key, record in by_key.items()):
        return True  # a leftover is being deleted
    named = {key for record in records for key in record.runs}
    kept = {session for record in records for session in record.kept}
    return any(
        (key.startswith("partials/") and key not in named)
        or (key.startswith("rejected/") and parse_run_key(key).session not in kept)
        for key in perm
    )


def judge(world: World) -> None:
    """What must be true in the end."""
    for error in world.loop.errors:
        world.violated(f"unhandled: {error}")
    left = sorted(key for key in world.temp.objects if not stays(world, key))
    if left:
        world.violated(f"left in the temporary bucket: {left[:6]}")
    if untold := world.ledger.untold():
        world.violated(f"the feed does not tell: {sorted(untold)}")
    for device in world.devices:
        _judge_file(world, device)
    for upload in world.perm.uploads.values():
        if upload.by not in world.suspects:
            world.violated(f"an open multipart upload is left: {upload}")


def stays(world: World, key: str) -> bool:
    """Whether an object of the temporary bucket may be there at the end. It may if it is the record of a parked or
    rejected upload, or a chunk that came late to such an upload."""
    if key.startswith("chunks/"):
        chunk = parse_chunk_key(key)
        of = world.temp.objects.get(record_key(chunk.file))
        return of is not None and parse(key, of.data).session == chunk.session and stays(world, of.info.key)
    record = parse(key, world.temp.objects[key].data)
    return not (record.aborts or record.owes) and (
        record.parked_at is not None or (record.state == "closed" and bool(record.kept))
    )


def _judge_file(world: World, device: Device) -> None:
    file, oracle, objects = device.file, device.oracle, world.perm.objects
    oracle.look("the end")
    done = objects.get(file_key(file))
    whole = oracle.total is not None and len(oracle.acked) == oracle.total
    if (whole or device.goal == "complete") and not (done or oracle.rejected or oracle.may_reject):
        world.violated(f"{file.filename}: every byte is there, but the file is not complete")
    if done:
        oracle.judge_file(done)
    expected = [file_key(file)]
    record = world.temp.objects.get(record_key(file))
    expected += parse(file.filename, record.data).runs if record else ()
    if oracle.may_reject or oracle.rejected or oracle.kept_aside:
        expected.append(rejected_prefix(file))
    mine = [key for key in objects if f"/{file.owner}/{file.filename}" in key and belongs(key, file)]
    strange = [key for key in mine if not key.startswith(tuple(expected))]
    if strange:
        world.violated(f"left in the permanent bucket: {strange}")


def belongs(key: str, file: FileId) -> bool:
    return key.split("/")[1:3] == [file.owner, file.filename]


@contextmanager
def _controlled(seed: int) -> Iterator[None]:
    """Everything random in the code under test comes from the seed; parts are small; logs are quiet."""
    chance = random.Random(f"names {seed}")
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(50))
    names = SimpleNamespace(token_hex=lambda size: chance.randbytes(size).hex())
    gc.disable()
    try:
        with (
            patch.object(layout, "secrets", names),
            patch.object(layout, "MIN_PART_SIZE", PART),
            patch.object(layout, "UNKNOWN_PART_SIZE", PART),
            patch.object(runs, "UNNAMED", 150.0),
            patch.object(handling, "random", chance),
            patch.object(sys, "unraisablehook", _leave_unsaid),
        ):
            yield
    finally:
        gc.enable()


def _leave_unsaid(unraisable: object) -> None:
    """What generators of processes that died say when they are thrown away in the middle."""
