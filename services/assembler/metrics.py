"""What the assembler tells Prometheus and the log, and the spans of a file's way."""

from collections.abc import Iterator
from contextlib import contextmanager

from prometheus_client import Histogram

from libs.common.observability.measuring import Measured
from libs.common.observability.outcomes import OutcomeWatch, timed

LAG = Histogram(
    "hiper_finalize_lag_seconds",
    "From the last chunk of a file to the file, by the store's clock, which may tell whole seconds only.",
    buckets=(0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 900, 3600),
)
STEPS = Histogram(
    "hiper_assembler_step_duration_seconds",
    "Duration of a step of the assembler: advance, assemble, finish, clean_up, park, tidy.",
    ["step"],
    buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300),
)

NAMES = ("advance", "assemble", "finish", "clean_up", "park", "tidy")
_STEPS = {name: STEPS.labels(name) for name in NAMES}


class FileWatch(OutcomeWatch):
    """Counts and logs outcomes, and measures steps."""

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        with timed(), Measured(_STEPS[name], f"file {name}"):
            yield

    def finalized(self, lag: float) -> None:
        LAG.observe(max(lag, 0.0))
