"""What watchers cost an ingest replica, and the uploads that go through it: streams of status, readers of the fleet."""

import asyncio
import json
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from benchmarks.crowd import Crowd
from benchmarks.growth import AT_ONCE, opened, seed
from benchmarks.load import KIB, MIB, Load, run
from benchmarks.rows import Row, line
from benchmarks.servers import HOST, Deployment, cpu, resident
from benchmarks.systems import Hiper, register
from benchmarks.wire import Connection, expect
from libs.common.uploads.layout import FileId

OF_ONE = 100  # streams of one device: MAX_STREAMS_PER_DEVICE
SETTLE = 12.0  # seconds: longer than the 10 from one look to the next
TABLE = 300.0  # seconds until the janitor's look at the whole bucket must be there
PROMISED = 1 / 1.05  # of the speed without watchers
Say = Callable[[str], None]


@dataclass(frozen=True)
class Sizes:
    """How many."""

    streams: int = 5000
    idle: int = 1000  # streams while the speed of uploads is compared
    readers: int = 200
    uploads: int = 10_000
    load: Load = field(default_factory=lambda: Load(64 * KIB, 4, 150))
    compared: Load = field(default_factory=lambda: Load(64 * KIB, 16, 128))


QUICK = Sizes(200, 100, 20, 500, Load(64 * KIB, 4, 25), Load(64 * KIB, 16, 16))


class Timed(Connection):
    """Remembers how long each answer took, in seconds."""

    took: list[float]

    def ask(self, *arguments: Any, **options: Any) -> Any:
        began = time.monotonic()
        try:
            return super().ask(*arguments, **options)
        finally:
            self.took.append(time.monotonic() - began)


@dataclass
class Scene:
    """One deployment with uploads in progress, of devices with `OF_ONE` each."""

    hiper: Hiper
    files: Sequence[FileId]
    sizes: Sizes
    tokens: dict[str, str]
    say: Say

    @property
    def port(self) -> int:
        return self.hiper.deployment.port

    @contextmanager
    def watched(self, streams: int, files: int) -> Iterator[Crowd]:
        """So many status streams of the first files; each device watches its own."""
        chosen = [self.files[n % files] for n in range(streams)]
        if files < streams:  # each file has OF_ONE watchers
            chosen = [self.files[n // OF_ONE * OF_ONE] for n in range(streams)]
        with Crowd(b'"status"') as crowd:
            crowd.open(self.port, [(f"/files/{file.filename}/status", self.tokens[file.owner]) for file in chosen])
            yield crowd

    @contextmanager
    def read(self, readers: int) -> Iterator[Crowd]:
        """So many streams of the whole fleet's uploads."""
        deployment = self.hiper.deployment
        programs = [register(deployment, f"program-{time.time_ns()}", "fleet:read") for _ in range(0, readers, OF_ONE)]
        with Crowd(b'"change"') as crowd:
            crowd.open(self.port, [("/uploads", programs[n // OF_ONE]) for n in range(readers)])
            yield crowd

    def costs(self, what: str, crowd: Crowd | None = None, before: int = 0) -> dict[str, Any]:
        """A row: at rest, and then with chunks. `before`: bytes of memory without anybody."""
        programs = self.hiper.programs
        used, calls, began = cpu(programs), self.calls(), time.monotonic()
        time.sleep(SETTLE)
        seconds = time.monotonic() - began
        cores = {role: (value - used[role]) / seconds for role, value in cpu(programs).items()}
        memory, called = resident(programs)["ingest"], (self.calls() - calls) / seconds
        took = self.latencies()
        if crowd:
            crowd.check()
        row = {
            "": what,
            "ingest, MiB": round(max(memory, resident(programs)["ingest"]) / MIB),
            "KiB a stream": (memory - before) / KIB / crowd.size if crowd else "",
            "ingest, cores": cores["ingest"],
            "MinIO, cores": cores["minio"],
            "RabbitMQ, cores": cores["rabbitmq"],
            "store calls/s": called,
            "a chunk, ms": 1000 * statistics.median(took),
            "99 % within, ms": 1000 * statistics.quantiles(took, n=100)[98],
        }
        self.say(f"watchers: {row}")
        return row

    def calls(self) -> float:
        """Store calls of ingest since it started."""
        text = expect(Connection(HOST, self.port).ask("GET", "/metrics"), 200).body.decode()
        return sum(float(row.rpartition(" ")[2]) for row in text.splitlines() if row.startswith("hiper_store_calls_t"))

    def latencies(self) -> list[float]:
        """Of each chunk of a small load, in seconds."""
        Timed.took = []
        run(Hiper(self.hiper.deployment, tokens=self.hiper.tokens, connect=Timed), self.sizes.load)
        return Timed.took


def measure(hiper: Hiper, buckets: tuple[str, str], sizes: Sizes, rounds: int, say: Say) -> tuple[list[Row], Any]:
    """Rows that compare uploads with and without idle watchers, and the tables of costs. `buckets`: their names."""
    deployment = hiper.deployment
    many = max(sizes.streams, sizes.uploads)
    files = [FileId(f"car-{n // OF_ONE}", f"f{n}") for n in range(many)]
    devices = dict.fromkeys(file.owner for file in files[: max(sizes.streams, sizes.idle)])
    scene = Scene(hiper, files, sizes, {device: register(deployment, device) for device in devices}, say)
    asyncio.run(_fill(deployment, buckets, files))
    filled = time.time()
    say(f"watchers: {many} uploads are in progress")
    scene.latencies()  # a first run, whose times do not count: the server opens its connections now
    tables = {"status streams": _streams(scene), "readers of the fleet": _readers(scene, filled)}
    return [_beside(scene, files_watched, rounds) for files_watched in (sizes.idle, sizes.idle // OF_ONE)], tables


def _streams(scene: Scene) -> list[dict[str, Any]]:
    before, count = resident(scene.hiper.programs)["ingest"], scene.sizes.streams
    rows = [scene.costs("none")]
    for files in (max(1, count // OF_ONE), count):
        began = time.monotonic()
        with scene.watched(count, files) as crowd:
            scene.say(f"watchers: {count} streams opened in {time.monotonic() - began:.1f} s")
            rows.append(scene.costs(f"{count} of {files} files", crowd, before))
        time.sleep(SETTLE / 2)
    return rows


def _readers(scene: Scene, filled: float) -> list[dict[str, Any]]:
    deployment, sizes = scene.hiper.deployment, scene.sizes
    token = register(deployment, "program-0", "fleet:read")
    deadline = time.monotonic() + TABLE
    while _as_of(deployment, token) < filled:
        if time.monotonic() > deadline:
            raise TimeoutError("the janitor does not look at the whole bucket")
        time.sleep(1)
    before = resident(scene.hiper.programs)["ingest"]
    rows = [scene.costs("none")]
    began = time.monotonic()
    with scene.read(sizes.readers) as crowd:
        while crowd.items < sizes.readers * sizes.uploads:
            crowd.check()
            time.sleep(0.1)
        seconds = time.monotonic() - began
        row = scene.costs(f"{sizes.readers} readers of {sizes.uploads} uploads", crowd, before)
        rows.append(row | {"all have the list, s": seconds})
    return rows


def _as_of(deployment: Deployment, token: str) -> float:
    """When the janitor's last look began, in seconds since the epoch; 0 before the first."""
    fields = b"Authorization: Bearer %s\r\n" % token.encode()
    answer = expect(Connection(HOST, deployment.port).ask("GET", "/uploads?limit=1", fields), 200)
    told = json.loads(answer.body)["as_of"]
    return datetime.fromisoformat(told).timestamp() if told else 0.0


def _beside(scene: Scene, files: int, rounds: int) -> Row:
    """Uploads beside idle watchers and without them, in alternating rounds."""
    idle = scene.sizes.idle
    row = Row(f"beside {idle} of {files} files", "uploads beside idle status streams", "requests/s")
    for number in range(rounds):
        for watched in (True, False) if number % 2 == 0 else (False, True):
            if watched:
                with scene.watched(idle, files) as crowd:
                    time.sleep(SETTLE)
                    row.add("hiper", _speed(scene))
                    crowd.check()
            else:
                time.sleep(SETTLE)
                row.add("no streams", _speed(scene))
    scene.say(line(row))
    return row


def _speed(scene: Scene) -> float:
    load = scene.sizes.compared
    return load.requests / run(scene.hiper, load).complete


async def _fill(deployment: Deployment, names: tuple[str, str], files: Sequence[FileId]) -> None:
    if deployment.store is None:
        raise ValueError("uploads are made in a store")
    async with opened(deployment.store, names) as buckets:
        for start in range(0, len(files), AT_ONCE):
            await asyncio.gather(*(seed(buckets, file) for file in files[start : start + AT_ONCE]))
