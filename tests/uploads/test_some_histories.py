"""Some simulated histories in this process, so that what only faults reach is measured too."""

from collections.abc import Iterator

import pytest
import structlog

from tests.uploads.simulation.history import run


@pytest.fixture
def _logging_as_before() -> Iterator[None]:
    """A history makes the log quiet."""
    before = structlog.get_config()
    yield
    structlog.configure(**before)


@pytest.mark.usefixtures("_logging_as_before")
@pytest.mark.parametrize("first", range(0, 80, 20))
def test_no_history_breaks_a_promise(first: int) -> None:
    for seed in range(first, first + 20):
        outcome = run(seed)
        assert outcome.violations == [], f"seed {seed}"
