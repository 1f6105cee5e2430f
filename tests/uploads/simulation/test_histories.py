"""Histories of version 2 of the protocol under faults keep every promise; each deliberate breakage is caught."""

import os
import subprocess
import sys

import pytest

from tests.uploads.simulation.breakages import BREAKAGES

HISTORIES = 400
JOBS = min(4, os.cpu_count() or 1)
COMMON = [name for name, broken in BREAKAGES.items() if not broken.rare]


def simulate(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "tests.uploads.simulation", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_no_history_breaks_a_promise() -> None:
    done = simulate(0, HISTORIES, "--jobs", JOBS)
    assert done.returncode == 0, done.stdout + done.stderr


def test_without_faults_every_device_gets_what_it_wants() -> None:
    done = simulate(0, 100, "--jobs", JOBS, "--no-faults")
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("name", COMMON)
def test_a_breakage_is_caught_within_two_thousand_histories(name: str) -> None:
    done = simulate(0, 2000, "--stop", "--break", name)
    assert done.returncode == 1, done.stdout + done.stderr
    assert "1 of " in done.stdout, done.stdout + done.stderr
