"""Two thousand histories of the real code under faults keep every promise, and each can be told again."""

import os
import subprocess
import sys
from itertools import pairwise

import pytest

SEEDS = 2000
JOBS = min(4, os.cpu_count() or 1)


def simulate(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "tests.simulation", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.mark.parametrize(("first", "end"), [*pairwise(range(0, SEEDS + 1, SEEDS // 8))])
def test_no_history_breaks_a_promise(first: int, end: int) -> None:
    done = simulate(first, end - first, "--jobs", JOBS)
    assert done.returncode == 0, done.stdout + done.stderr


def test_without_faults_every_device_gets_what_it_wants() -> None:
    done = simulate(0, 200, "--jobs", JOBS, "--no-faults")
    assert done.returncode == 0, done.stdout + done.stderr


def test_one_seed_is_one_history() -> None:
    first, second = simulate(5), simulate(5)
    assert first.stdout == second.stdout
    assert "store calls in" in first.stdout
