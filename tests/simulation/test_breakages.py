"""The simulation can fail: each deliberate breakage of the code is caught."""

import pytest

from tests.simulation.breakages import BREAKAGES
from tests.simulation.test_histories import simulate

COMMON = [name for name, broken in BREAKAGES.items() if not broken.rare]


@pytest.mark.parametrize("name", COMMON)
def test_it_is_caught_within_two_thousand_histories(name: str) -> None:
    done = simulate(0, 2000, "--stop", "--break", name)
    assert done.returncode == 1, done.stdout + done.stderr
    assert "1 of " in done.stdout, done.stdout + done.stderr
