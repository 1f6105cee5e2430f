"""Starting and ending what is measured. Every process is a child of this one, and ends with it."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from benchmarks import tools
from libs.common.storage._s3_sign import Signer
from tests.e2e.processes import SECRETS, Process, running
from tests.ports import free_port

HOST = "127.0.0.1"
REGION = "us-east-1"
ACCESS = SECRET = "minioadmin"  # noqa: S105  # of a store that lives for minutes
START = 30.0  # seconds


@dataclass
class Program:
    """A running process, by the role that the results call it."""

    role: str
    pid: int
    port: int = 0


@dataclass
class Deployment:
    """HiPER-Automotive, running. `store` is None on the file system, whose permanent files are below `files`."""

    programs: list[Program]
    port: int
    auth_port: int
    store: "Store | None" = None
    files: Path = Path()
    bucket: str = ""
    apis: list[int] = field(default_factory=list)


@dataclass
class Store:
    """A MinIO."""

    program: Program
    port: int

    @property
    def signer(self) -> Signer:
        return Signer(f"{HOST}:{self.port}", ACCESS, SECRET, REGION)

    def target(
        self, method: str, path: str, query: Mapping[str, str] | None = None, headers: Mapping[str, str] | None = None
    ) -> str:
        """Path and query of a presigned request."""
        url = self.signer.url(method, path, query or {}, headers or {}, issued=int(time.time()), seconds=3600)
        return url.raw_path_qs

    def env(self, name: str) -> dict[str, str]:
        """Settings of a deployment with buckets of its own."""
        buckets = {f"{kind.upper()}_BUCKET": f"{name}-{kind}" for kind in ("temp", "perm", "auth")}
        store = {"MINIO_ENDPOINT": f"{HOST}:{self.port}", "MINIO_ACCESS_KEY": ACCESS, "MINIO_SECRET_KEY": SECRET}
        return {"OBJECT_STORE": "minio", **store, **buckets}


@contextmanager
def minio(directory: Path) -> Iterator[Store]:
    port = free_port()
    env = {"MINIO_ROOT_USER": ACCESS, "MINIO_ROOT_PASSWORD": SECRET, "MINIO_BROWSER": "off", "MINIO_REGION": REGION}
    env["MINIO_API_DELETE_CLEANUP_INTERVAL"] = "30s"  # of 5 minutes: until then what was deleted fills the disk
    command = [str(tools.minio()), "server", "--quiet", "--address", f"{HOST}:{port}", str(directory / "minio")]
    with _process("minio", command, env, directory, port) as program:
        time.sleep(1)  # it listens before its disks are ready
        yield Store(program, port)


@contextmanager
def tusd(directory: Path, store: Store | None, bucket: str = "") -> Iterator[Program]:
    """On a MinIO, or without one on its file store; all else as it comes."""
    port = free_port()
    arguments = ["-host", HOST, "-port", str(port), "-show-greeting=false", "-verbose=false"]
    env = {"AWS_ACCESS_KEY_ID": ACCESS, "AWS_SECRET_ACCESS_KEY": SECRET, "AWS_REGION": REGION}
    if store:
        arguments += ["-s3-bucket", bucket, "-s3-endpoint", f"http://{HOST}:{store.port}"]
    else:
        arguments += ["-upload-dir", str(directory / "tusd-files")]
    with _process("tusd", [str(tools.tusd()), *arguments], env, directory, port) as program:
        yield program


@contextmanager
def null_server(directory: Path) -> Iterator[Program]:
    """A server that reads and answers, and does nothing: what the load generator can do at most."""
    port = free_port()
    command = [sys.executable, "-m", "benchmarks.null_server", str(port)]
    with _process("null server", command, {"PYTHONPATH": str(tools.ROOT)}, directory, port) as program:
        yield program


@contextmanager
def four_services(
    directory: Path,
    store: Store,
    rabbitmq: str,
    name: str = "hiper",
    ingests: int = 1,
    assemblers: int = 1,
    **settings: str,
) -> Iterator[Deployment]:
    """Every service a process of its own, on MinIO and RabbitMQ. `name`: of its buckets and logs."""
    env = {
        **SECRETS,
        **store.env(name),
        "EVENT_BUS": "rabbitmq",
        "RABBITMQ_URL": rabbitmq,
        "LOG_LEVEL": "WARNING",
        **settings,
    }
    replicas = {"ingest": ingests, "assembler": assemblers}
    roles = ["auth", "janitor", *(f"{role}-{n}" for role, count in replicas.items() for n in range(count))]
    processes = {
        role: Process(f"services.{role.partition('-')[0]}", env, directory / f"{name}-{role}.log") for role in roles
    }
    with running(processes):
        apis = [process.port for role, process in processes.items() if role.startswith("ingest")]
        programs = [Program(role.partition("-")[0], _pid(process), process.port) for role, process in processes.items()]
        auth = processes["auth"].port
        yield Deployment(programs, apis[0], auth, store, bucket=f"{name}-perm", apis=apis)


@contextmanager
def embedded(directory: Path) -> Iterator[Deployment]:
    """Every service in one process, on a directory."""
    process = Process("services.embedded.serve", {**SECRETS, "LOG_LEVEL": "WARNING"}, directory / "serve.log")
    with running({"serve": process}):
        program = Program("serve", _pid(process), process.port)
        yield Deployment([program], process.port, process.port, files=directory / "data" / "perm", apis=[process.port])


def container(role: str, running_container: Any) -> Program:
    """What runs in a container, by its first process on this machine."""
    running_container.reload()
    return Program(role, int(running_container.attrs["State"]["Pid"]))


def cpu(programs: list[Program]) -> dict[str, float]:
    """Seconds of processor time that each role used since it started, its children with it."""
    used: dict[str, float] = {}
    for program in programs:
        for process in _family(program):
            times = process.cpu_times()
            used[program.role] = used.get(program.role, 0.0) + times.user + times.system
    return used


def resident(programs: list[Program]) -> dict[str, int]:
    """Bytes of memory of each role now, the largest of its replicas."""
    sizes: dict[str, int] = {}
    for program in programs:
        size = sum(process.memory_info().rss for process in _family(program))
        sizes[program.role] = max(size, sizes.get(program.role, 0))
    return sizes


def _family(program: Program) -> list[psutil.Process]:
    """A process and its children; of this one, which everything is a child of, itself alone."""
    process = psutil.Process(program.pid)
    return [process] if program.pid == os.getpid() else [process, *process.children(recursive=True)]


def _pid(process: Process) -> int:
    if process.popen is None:
        raise RuntimeError(f"{process.module} is not running")
    return process.popen.pid


@contextmanager
def _process(role: str, command: list[str], env: dict[str, str], directory: Path, port: int) -> Iterator[Program]:
    log = directory / f"{role}-{port}.log"
    with log.open("wb") as output:
        environment = {"PATH": os.environ["PATH"], "HOME": str(directory), **env}
        process = subprocess.Popen(command, env=environment, cwd=directory, stdout=output, stderr=output)  # noqa: S603
    try:
        _wait(role, port, process, log)
        yield Program(role, process.pid, port)
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait(role: str, port: int, process: "subprocess.Popen[bytes]", log: Path) -> None:
    deadline = time.monotonic() + START
    while True:
        try:
            socket.create_connection((HOST, port), 1).close()
        except OSError:
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"{role} does not start: {log.read_text()[-2000:]}") from None
            time.sleep(0.05)
        else:
            return
