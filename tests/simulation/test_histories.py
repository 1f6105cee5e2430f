"""Histories of the protocol under faults keep every promise; each deliberate breakage of it is caught."""

import os
import subprocess
import sys
from collections.abc import Iterator

import pytest
import structlog

from tests.simulation.breakages import BREAKAGES
from tests.simulation.history import run

HISTORIES = 300
HERE = 40  # of them in this process, so that what only faults reach counts as covered
JOBS = min(4, os.cpu_count() or 1)
BY_HISTORIES = [name for name, broken in BREAKAGES.items() if not broken.test]
BY_TESTS = [name for name, broken in BREAKAGES.items() if broken.test]


def python(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def simulate(*arguments: object) -> subprocess.CompletedProcess[str]:
    return python("tests.simulation", *arguments)


def test_no_history_breaks_a_promise() -> None:
    done = simulate(HERE, HISTORIES - HERE, "--jobs", JOBS)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture
def _logging_as_before() -> Iterator[None]:
    """A history makes the log quiet."""
    before = structlog.get_config()
    yield
    structlog.configure(**before)


@pytest.mark.usefixtures("_logging_as_before")
def test_no_history_in_this_process_breaks_a_promise() -> None:
    for seed in range(HERE):
        assert run(seed).violations == [], f"seed {seed}"


def test_without_faults_every_device_gets_what_it_wants() -> None:
    done = simulate(0, 100, "--jobs", JOBS, "--no-faults")
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("name", BY_HISTORIES)
def test_a_breakage_is_caught_within_two_thousand_histories(name: str) -> None:
    """It begins near a history that catches it: after a change of the code that may be another one."""
    done = simulate(max(0, BREAKAGES[name].seed - 10), 2000, "--stop", "--break", name)
    assert done.returncode == 1, done.stdout + done.stderr
    assert "1 of " in done.stdout, done.stdout + done.stderr


@pytest.mark.parametrize("name", BY_TESTS)
def test_a_breakage_that_histories_hardly_meet_is_caught_by_a_test(name: str) -> None:
    done = python("tests.simulation.broken", name, BREAKAGES[name].test)
    assert done.returncode == 1, done.stdout + done.stderr
    assert "1 failed" in done.stdout, done.stdout + done.stderr
