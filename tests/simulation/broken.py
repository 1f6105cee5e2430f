"""`python -m tests.simulation.broken BREAKAGE TEST`: run a test of tests/uploads with a breakage on."""

import sys
from pathlib import Path

import pytest

from tests.simulation.breakages import BREAKAGES

UPLOADS = Path(__file__).parents[1] / "uploads"


def main(name: str, test: str) -> int:
    with BREAKAGES[name].applied():
        return pytest.main(["-q", "-p", "no:cacheprovider", str(UPLOADS / test)])


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
