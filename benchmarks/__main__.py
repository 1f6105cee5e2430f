"""`python -m benchmarks`: measure, compare, and write down what came out. `--quick` for development."""

import argparse
import json
import resource
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks import calls, growth, report, rows, servers, systems, tools, watchers
from benchmarks.load import KIB, MIB, Load
from benchmarks.tools import LeftOut
from tests.backends import docker_available, rabbitmq_server

SMALL = Load(10 * KIB, 16, 1, files=20)
LOADS = {
    "64 KiB chunks, 16 devices": Load(64 * KIB, 16, 128),
    "64 KiB chunks, 1 device": Load(64 * KIB, 1, 128),
    "1 MiB chunks, 16 devices": Load(MIB, 16, 16),
    "1 MiB chunks, 1 device": Load(MIB, 1, 32),
    "8 MiB chunks, 16 devices": Load(8 * MIB, 16, 4),
    "8 MiB chunks, 1 device": Load(8 * MIB, 1, 16),
    "10 KiB files, 16 devices": SMALL,
}
STORE, FILES = "upload, MinIO and RabbitMQ", "upload, file system"
SO_FAR = tools.BUILD / "results.json"
REPLICAS = "two replicas of ingest and assembler"
ALTERNATING = "two replicas of ingest, each chunk to the other"
PROMISED = 0.9  # of the speed of one replica


class Run:
    """One run: what was measured so far, and what was left out and why."""

    def __init__(self, arguments: argparse.Namespace) -> None:
        self.rounds: int = arguments.rounds or (2 if arguments.quick else 5)
        self.quick: bool = arguments.quick
        self.huge: bool = arguments.huge
        self.rows: list[rows.Row] = []
        self.tables: dict[str, Any] = {}
        self.memory: dict[str, int] = {}
        self.left_out: list[str] = []
        self.failed = False
        self.began = time.monotonic()

    def say(self, text: str) -> None:
        print(f"{time.monotonic() - self.began:6.0f} s  {text}", flush=True)

    def save(self) -> None:
        """What was measured so far: `python -m benchmarks.report FILE` makes a page of it."""
        SO_FAR.write_text(json.dumps(report.document(self), indent=1) + "\n")

    @contextmanager
    def optional(self, what: str) -> Iterator[None]:
        """What cannot be measured here, or fails, is named in the results, and the rest is measured all the same."""
        try:
            yield
        except LeftOut as reason:
            self.left_out.append(f"{what}: {reason}")
            self.say(f"LEFT OUT {self.left_out[-1]}")
        except Exception as error:
            traceback.print_exc()
            self.left_out.append(f"{what} failed: {type(error).__name__}: {error}")
            self.failed = True

    def uploads(self, group: str, compared: list[systems.System]) -> None:
        for name, load in LOADS.items():
            self.rows.append(rows.uploads(group, name, load, compared, self.rounds, self.say))
            self.remember(compared[0])
            self.save()

    def remember(self, system: systems.System) -> None:
        for role, size in servers.resident(system.programs).items():
            self.memory[role] = max(size, self.memory.get(role, 0))

    def ceiling(self, directory: Path) -> None:
        """The load generator against a server that does nothing."""
        with servers.null_server(directory) as program:
            for name, load in LOADS.items():
                row = rows.uploads("load generator", name, load, [systems.Nothing(program)], 1, self.say)
                self.rows.append(row)

    def on_the_store(self, directory: Path) -> None:
        if not docker_available():
            raise LeftOut("no Docker engine answers: RabbitMQ runs in a container")
        with ExitStack() as stack:
            store = stack.enter_context(servers.minio(directory))
            rabbitmq = stack.enter_context(rabbitmq_server())
            deployment = stack.enter_context(servers.four_services(directory, store, rabbitmq.url))
            hiper = systems.Hiper(deployment)
            hiper.programs.append(servers.container("rabbitmq", rabbitmq.container.get_wrapped_container()))
            systems.make_bucket(store, "tusd")
            tusd = systems.Tusd(stack.enter_context(servers.tusd(directory, store, "tusd")), store, "tusd")
            self.uploads(STORE, [hiper, systems.Direct(store), tusd])
            compared: list[systems.System] = [hiper, systems.Presigned(deployment), tusd]
            size, ranges = (64 * MIB, 100) if self.quick else (1024 * MIB, 1000)
            with self.optional("download"):
                self.rows += rows.downloads("download", size, ranges, compared, self.rounds, self.say)
            sizes = [64 * MIB, *([] if self.quick else [1024 * MIB]), *([8192 * MIB] if self.huge else [])]
            with self.optional("finalize lag"):
                self.rows += rows.lags("finalize lag", sizes, hiper, min(self.rounds, 3), self.say)
            points, sessions = ([10, 1000], [1000]) if self.quick else ([10, 1000, 50_000], [1000, 10_000])
            with self.optional("store calls"):
                self.tables["store calls"] = calls.measure(store, self.say)
            with self.optional("growth"):
                self.tables |= growth.measure(store, points, sessions + ([100_000] if self.huge else []), self.say)
            self.remember(hiper)
            with self.optional(REPLICAS):
                self.scale_out(directory, store, hiper)
            with self.optional(ALTERNATING):
                self.without_affinity(directory, store)

    def scale_out(self, directory: Path, store: servers.Store, one: systems.Hiper) -> None:
        """On a broker of its own: the assemblers of one broker share a queue, and so their buckets."""
        with (
            rabbitmq_server() as rabbitmq,
            servers.four_services(directory, store, rabbitmq.url, "pairs", ingests=2, assemblers=2) as deployment,
        ):
            two = systems.Hiper(deployment, name="two replicas")
            for name in ("64 KiB chunks, 16 devices", "1 MiB chunks, 16 devices"):
                rounds = min(3, self.rounds)
                self.rows.append(rows.uploads(REPLICAS, name, LOADS[name], [one, two], rounds, self.say))

    def without_affinity(self, directory: Path, store: servers.Store) -> None:
        """Chunks that alternate between two replicas against all of them to one, of the same deployment."""
        with (
            rabbitmq_server() as rabbitmq,
            servers.four_services(directory, store, rabbitmq.url, "spread", ingests=2) as both,
        ):
            one = replace(both, apis=both.apis[:1])
            compared = [systems.Hiper(both, alternating=True), systems.Hiper(one, name="one replica")]
            # Devices have the same names in both, and are registered once.
            compared[1].tokens = compared[0].tokens
            for name in ("64 KiB chunks, 16 devices", "64 KiB chunks, 1 device", "1 MiB chunks, 16 devices"):
                self.rows.append(rows.uploads(ALTERNATING, name, LOADS[name], compared, self.rounds, self.say))
                ratio = self.rows[-1].ratio("one replica")
                if ratio and ratio.median < PROMISED:
                    self.failed = True
                    self.say(f"NOT AS PROMISED: {PROMISED} of the speed of one replica")

    def beside_watchers(self, directory: Path) -> None:
        """Streams of status and readers of the fleet, on a deployment with uploads in progress."""
        if not docker_available():
            raise LeftOut("no Docker engine answers: RabbitMQ runs in a container")
        with (
            servers.minio(directory) as store,
            rabbitmq_server() as rabbitmq,
            servers.four_services(directory, store, rabbitmq.url, "seen", FLEET_INTERVAL="5") as deployment,
        ):
            hiper = systems.Hiper(deployment)
            hiper.programs.append(servers.container("rabbitmq", rabbitmq.container.get_wrapped_container()))
            sizes = watchers.QUICK if self.quick else watchers.Sizes()
            buckets = "seen-temp", "seen-perm"
            compared, tables = watchers.measure(hiper, buckets, sizes, self.rounds, self.say)
            self.rows += compared
            self.tables |= tables
            for row in compared:
                ratio = row.ratio("no streams")
                if ratio and ratio.median < watchers.PROMISED:
                    self.failed = True
                    self.say(f"NOT AS PROMISED: {watchers.PROMISED:.2f} of the speed without streams")

    def on_files(self, directory: Path) -> None:
        with ExitStack() as stack:
            hiper = systems.Hiper(stack.enter_context(servers.embedded(directory)))
            (directory / "tusd-files").mkdir()
            files = directory / "tusd-files"
            tusd = systems.Tusd(stack.enter_context(servers.tusd(directory, None)), None, files=files)
            self.uploads(FILES, [hiper, systems.Disk(directory / "durable"), tusd])


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="two rounds and small files: minutes, and little meaning")
    parser.add_argument("--huge", action="store_true", help="an 8 GiB file and 100,000 sessions too")
    parser.add_argument("--rounds", type=int, default=0, help="instead of 5")
    parser.add_argument("--only", choices=["ceiling", "store", "watchers", "files"], help="one part, and no report")
    parser.add_argument("--directory", type=Path, default=tools.BUILD, help="where the data goes while it runs")
    arguments = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that what was started ends too
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))  # a descriptor for each stream, here and in a replica
    run = Run(arguments)
    arguments.directory.mkdir(parents=True, exist_ok=True)
    parts = {"ceiling": run.ceiling, "store": run.on_the_store, "watchers": run.beside_watchers, "files": run.on_files}
    for name, part in parts.items():
        if arguments.only in (None, name):
            with run.optional(name), tempfile.TemporaryDirectory(dir=arguments.directory) as directory:
                part(Path(directory))
        run.save()
    if arguments.only or arguments.quick:
        run.say(f"written to {SO_FAR}; benchmarks/RESULTS.md is written by a whole run alone")
    else:
        report.write(report.document(run))
    sys.exit(run.failed)


if __name__ == "__main__":
    main()
