"""HiPER-Automotive as its operators run it: real processes, started, killed and stopped."""

import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tests.ports import free_port

ROOT = Path(__file__).parents[2]
START_TIMEOUT = 60  # seconds


@dataclass
class Process:
    """One process with /readyz on its port. Its output goes to a log file."""

    module: str
    env: dict[str, str]
    log: Path
    arguments: tuple[str, ...] = ()
    port: int = field(default_factory=free_port)
    popen: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self, *, wait: bool = True) -> None:
        names = {"METRICS_PORT": str(self.port), **self.env, "PORT": str(self.port)}
        environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), **names}
        with self.log.open("ab") as log:
            command = [sys.executable, "-W", "error", "-m", self.module, *self.arguments]
            self.popen = subprocess.Popen(command, env=environment, cwd=self.log.parent, stdout=log, stderr=log)
        if wait:
            self.wait_until_ready()

    def wait_until_ready(self) -> None:
        deadline = time.monotonic() + START_TIMEOUT
        while not self.is_ready():
            self.assert_alive()
            assert time.monotonic() < deadline, f"{self.module}: {self.readiness()} {self.log.read_text()[-4000:]}"
            time.sleep(0.1)
        self.assert_alive()  # else it was another process that answered on its port

    def assert_alive(self) -> None:
        assert self.popen is not None
        assert self.popen.poll() is None, f"{self.module} ended: {self.log.read_text()[-4000:]}"

    def is_ready(self) -> bool:
        return self.readiness() == "ready"

    def readiness(self) -> str:
        """`ready`, or why not in the process's own words."""
        try:
            with urllib.request.urlopen(f"{self.url}/readyz", timeout=2):
                return "ready"
        except urllib.error.HTTPError as refusal:
            with refusal:
                return f"not ready: {refusal.read().decode(errors='replace')}"
        except OSError as error:
            return f"not ready: {error}"

    def kill(self) -> None:
        """SIGKILL, in the middle of whatever it does."""
        if self.popen:
            self.popen.kill()
            self.popen.wait()

    def stop(self) -> int:
        """SIGTERM; the exit code after the drain."""
        assert self.popen is not None
        self.popen.send_signal(signal.SIGTERM)
        return self.popen.wait(timeout=60)


@dataclass
class Deployment:
    """Some processes that work together. `apis`: the base URLs of ingest; `auth`: of the auth service."""

    processes: dict[str, Process]
    apis: list[str]
    auth: str
    admin_secret: str

    def logs(self) -> str:
        return "\n".join(process.log.read_text(errors="replace") for process in self.processes.values())


SECRETS = {"SECRET_KEY": "e2e-" + "s" * 40, "ADMIN_SECRET": "e2e-admin-" + "a" * 40}


@contextmanager
def embedded(directory: Path, **env: str) -> Iterator[Deployment]:
    """Everything in one process, on the file system and the in-process bus."""
    process = Process("services.embedded.serve", {**SECRETS, "LOG_LEVEL": "WARNING", **env}, directory / "serve.log")
    with running({"serve": process}):
        yield Deployment({"serve": process}, [process.url], process.url, SECRETS["ADMIN_SECRET"])


@contextmanager
def separate(
    directory: Path, env: dict[str, str], own: Mapping[str, dict[str, str]] | None = None
) -> Iterator[Deployment]:
    """Four services in six processes: two replicas of ingest and of the assembler. `own`: settings of one service."""
    names = ("auth", "ingest-1", "ingest-2", "assembler-1", "assembler-2", "janitor")
    processes = {
        name: Process(
            f"services.{name.partition('-')[0]}",
            {**SECRETS, "LOG_LEVEL": "WARNING", **env, **(own or {}).get(name.partition("-")[0], {})},
            directory / f"{name}.log",
        )
        for name in names
    }
    with running(processes):
        apis = [processes["ingest-1"].url, processes["ingest-2"].url]
        yield Deployment(processes, apis, processes["auth"].url, SECRETS["ADMIN_SECRET"])


@contextmanager
def running(processes: dict[str, Process]) -> Iterator[None]:
    """Processes that are killed at the end, whatever happens."""
    with ExitStack() as stack:
        for process in processes.values():
            stack.callback(process.kill)
            process.start(wait=False)
        for process in processes.values():
            process.wait_until_ready()
        yield
