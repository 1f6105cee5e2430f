"""What the assembler tells Prometheus, and the spans of a file's way."""

from contextlib import AbstractContextManager

from prometheus_client import Counter, Histogram

from libs.common.events import Event, FileCompleted, FileRejected, PartialFileMoved
from libs.common.measuring import Measured
from libs.common.watch import Watch

COMPLETED = Counter("hiper_files_completed", "Files that became one object in permanent storage.")
REJECTED = Counter("hiper_files_rejected", "Files whose bytes did not match their declared digest.")
MOVED = Counter("hiper_files_moved_stale", "Stale uploads that were moved to permanent storage as partial files.")
LAG = Histogram(
    "hiper_finalize_lag_seconds",
    "From the last chunk of a file to the file, by the store's clock, which may tell whole seconds only.",
    buckets=(0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 900, 3600),
)
STEPS = Histogram(
    "hiper_assembler_step_duration_seconds",
    "Duration of a step of the assembler: advance, assemble, finish, clean_up, close, park.",
    ["step"],
    buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300),
)

NAMES = ("advance", "assemble", "finish", "clean_up", "close", "park")
_STEPS = {name: STEPS.labels(name) for name in NAMES}


class FileWatch(Watch):
    """Counts outcomes and measures steps."""

    def step(self, name: str) -> AbstractContextManager[object]:
        return Measured(_STEPS[name], f"file {name}")

    def told(self, event: Event) -> None:
        match event:
            case FileCompleted():
                COMPLETED.inc()
            case FileRejected():
                REJECTED.inc()
            case PartialFileMoved():
                MOVED.inc()

    def finalized(self, lag: float) -> None:
        LAG.observe(max(lag, 0.0))
