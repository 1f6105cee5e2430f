"""The programs that are measured and compared: built with Go where it is, once."""

import os
import re
import shutil
import subprocess
from pathlib import Path

ROOT = Path(__file__).parents[1]
BUILD = ROOT / "build" / "benchmarks"
TUSD_VERSION = "v2.9.2"
GO_TIMEOUT = 1800  # seconds; compiling MinIO for the first time takes minutes


class LeftOut(Exception):
    """Something cannot be measured on this machine: its text says what and why."""


def minio_version() -> str:
    dockerfile = (ROOT / "deploy" / "images" / "minio" / "Dockerfile").read_text()
    found = re.search(r"MINIO_VERSION=(\S+)", dockerfile)
    if not found:
        raise LeftOut("the Dockerfile of MinIO names no version")
    return found[1]


def minio() -> Path:
    """The MinIO server as a plain program: a container's port would add a proxy to every byte."""
    program = BUILD / f"minio-{minio_version()}"
    if not program.exists():
        folder = BUILD / "minio"
        _go(["install", "-ldflags=-s -w", f"github.com/minio/minio@{minio_version()}"], {"GOBIN": str(folder)})
        (folder / "minio").rename(program)
    return program


def tusd() -> Path:
    """tusd, from its module: https://github.com/tus/tusd."""
    program = BUILD / f"tusd-{TUSD_VERSION}"
    if not program.exists():
        module = BUILD / "tusd-module"
        module.mkdir(parents=True, exist_ok=True)
        (module / "go.mod").write_text("module benchmark\n")
        package = "github.com/tus/tusd/v2/cmd/tusd"
        _go(["get", f"{package}@{TUSD_VERSION}"], {}, module)
        _go(["build", "-o", str(program), package], {}, module)
    return program


def _go(arguments: list[str], env: dict[str, str], directory: Path = BUILD) -> None:
    go = shutil.which("go")
    if not go:
        raise LeftOut("there is no Go on this machine to build MinIO and tusd with")
    BUILD.mkdir(parents=True, exist_ok=True)
    environment = {**os.environ, "CGO_ENABLED": "0", **env}
    done = subprocess.run(  # noqa: S603  # our own arguments
        [go, *arguments], cwd=directory, env=environment, capture_output=True, text=True, timeout=GO_TIMEOUT
    )
    if done.returncode:
        raise LeftOut(f"go {' '.join(arguments)}: {done.stderr[-500:]}")
