"""What the assembler tells Prometheus and the log, and the spans of a file's way."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from time import perf_counter

import structlog
from prometheus_client import Counter, Histogram

from libs.common.events import Event, FileCompleted, FileRejected, PartialFileMoved
from libs.common.layout import FileId, total_size_of
from libs.common.measuring import Measured
from libs.common.watch import Watch

log = structlog.get_logger(__name__)

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
_began: ContextVar[float | None] = ContextVar("began", default=None)  # of the outermost step
_STEPS = {name: STEPS.labels(name) for name in NAMES}


class FileWatch(Watch):
    """Counts and logs outcomes, and measures steps."""

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        outermost = _began.get() is None
        token = _began.set(perf_counter()) if outermost else None
        try:
            with Measured(_STEPS[name], f"file {name}"):
                yield
        finally:
            if token:
                _began.reset(token)

    def told(self, event: Event) -> None:
        match event:
            case FileCompleted(data=data):
                COMPLETED.inc()
                _say("file completed", data.file, data.session, data.total_size)
            case FileRejected(data=data):
                REJECTED.inc()
                size = total_size_of(data.session)
                _say("file rejected", data.file, data.session, size, declared=data.declared, computed=data.computed)
            case PartialFileMoved(data=data):
                MOVED.inc()
                total = total_size_of(data.session)
                _say("file parked", data.file, data.session, data.received_bytes, total_size=total)

    def deleted(self, file: FileId, session: str, size: int | None) -> None:
        _say("file deleted", file, session, size)

    def finalized(self, lag: float) -> None:
        LAG.observe(max(lag, 0.0))


def _say(what: str, file: FileId, session: str, size: int | None, **more: object) -> None:
    """One line for each file that came to an end. `size` in bytes, `duration` in seconds that the assembler took."""
    began = _began.get()
    duration = None if began is None else round(perf_counter() - began, 3)
    log.info(what, owner=file.owner, file=file.filename, session=session, size=size, duration=duration, **more)
