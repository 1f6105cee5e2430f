"""What the log says of each file that came to an end, of each sweep, and of a process that cannot start."""

import asyncio
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.conftest import QUICK
from tests.e2e.device import new_device
from tests.e2e.processes import ROOT, SECRETS, embedded

WRONG = "sha-256=:" + "A" * 43 + "=:"
Line = dict[str, Any]


def lines(text: str) -> Iterator[Line]:
    """Every line of the log, each of which is an object."""
    yield from map(json.loads, text.splitlines())


def one(text: str, event: str) -> Line:
    (line,) = [line for line in lines(text) if line["event"] == event]
    return line


async def test_each_file_that_came_to_an_end_and_each_sweep_have_a_line(tmp_path: Path) -> None:
    env = {**QUICK, "STALE_THRESHOLD": "2", "LOG_LEVEL": "INFO", "LOG_FORMAT": "json"}
    with embedded(tmp_path, **env) as deployment:
        async with new_device(deployment, "car-17") as car:
            await car.send("done.bin", 5, 0, b"hello")
            await car.wait_for("done.bin", "complete")
            for start, payload in ((0, b"he"), (2, b"llo")):  # in one request it is refused, and no file is rejected
                await car.try_once("wrong.bin", 5, start, payload, headers={"Repr-Digest": WRONG})
            await car.send("given-up.bin", 1000, 0, b"hello")
            await car.wait_for("given-up.bin", "partial")
            await car.request("DELETE", "/files/done.bin")
            deadline = time.monotonic() + 30
            while not {"file deleted", "file rejected"} <= {line["event"] for line in lines(deployment.logs())}:
                assert time.monotonic() < deadline, deployment.logs()
                await asyncio.sleep(0.2)
        said = deployment.logs()
    expected = {
        "file completed": ("done.bin", 5),
        "file rejected": ("wrong.bin", 5),
        "file parked": ("given-up.bin", 5),
        "file deleted": ("done.bin", 5),
    }
    for event, (name, size) in expected.items():
        line = one(said, event)
        assert (line["level"], line["owner"], line["file"], line["size"]) == ("info", "car-17", name, size)
        assert int(line["session"], 16)
        assert ("duration" in line) == (event in ("file parked", "file rejected")), "seconds of the assembler"
    assert 0 <= one(said, "file parked")["duration"] < 60
    assert one(said, "file parked")["total_size"] == 1000
    assert one(said, "file rejected")["declared"] == "0" * 64
    sweeps = [line for line in lines(said) if line["event"] == "swept"]
    assert sweeps
    assert all(line["duration"] >= 0 and line["level"] == "info" for line in sweeps)
    assert any(line.get("stale") for line in sweeps)


def ended(directory: Path, **env: str) -> subprocess.CompletedProcess[str]:
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), **SECRETS, "PORT": "0", **env}
    command = [sys.executable, "-m", "services.auth"]
    return subprocess.run(command, env=environment, cwd=directory, capture_output=True, text=True, timeout=60)


@pytest.mark.parametrize(
    "env",
    [{"SECRET_KEY": "short"}, {"LIMITS_CLASSES": "{"}, {"AUTH_DIR": f"{__file__}/auth"}],
    ids=str,
)
def test_a_start_that_fails_is_said_in_json_where_the_log_is_json(tmp_path: Path, env: dict[str, str]) -> None:
    """The last line is what Kubernetes keeps of a container that ended (FallbackToLogsOnError)."""
    done = ended(tmp_path, LOG_FORMAT="json", **env)
    assert done.returncode == 2
    *_, last = lines(done.stderr)
    assert last["event"].startswith("configuration error: ")
    assert next(iter(env)) in last["event"].upper()
    assert last["level"] == "critical"
    assert last["timestamp"].endswith("Z")


def test_a_defect_at_the_start_is_said_in_json_too(tmp_path: Path) -> None:
    script = (
        "from libs.common.observability.telemetry import configure_logging\n"
        "from libs.common.web.serving import load_settings\n"
        "configure_logging(load_settings())\n"
        "raise RuntimeError('a defect')"
    )
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "LOG_FORMAT": "json"}
    command = [sys.executable, "-c", script]
    done = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True, check=False)
    (line,) = lines(done.stderr)
    assert (done.returncode, line["level"]) == (1, "critical")
    assert "RuntimeError: a defect" in line["exception"]
