"""What became of files, told to Prometheus and in the log by every service that makes it so."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from time import perf_counter

import structlog
from prometheus_client import Counter

from libs.common.bus.events import Event, FileCompleted, FileRejected, PartialFileMoved
from libs.common.uploads.layout import FileId
from libs.common.uploads.watch import Watch

log = structlog.get_logger(__name__)

COMPLETED = Counter("hiper_files_completed", "Files that became one object in permanent storage.")
REJECTED = Counter("hiper_files_rejected", "Files whose bytes were not what was declared, or contradict each other.")
MOVED = Counter("hiper_files_moved_stale", "Stale uploads that were moved to permanent storage as partial files.")
_began: ContextVar[float | None] = ContextVar("began", default=None)  # of the outermost step


@contextmanager
def timed() -> Iterator[None]:
    """What is told inside says how long the outermost of these lasted by then."""
    token = _began.set(perf_counter()) if _began.get() is None else None
    try:
        yield
    finally:
        if token:
            _began.reset(token)


class OutcomeWatch(Watch):
    """Counts and logs outcomes."""

    def told(self, event: Event) -> None:
        match event:
            case FileCompleted(data=data):
                COMPLETED.inc()
                _say("file completed", data.file, data.session, data.total_size)
            case FileRejected(data=data):
                REJECTED.inc()
                more = {"declared": data.declared, "computed": data.computed, "why": data.why}
                _say("file rejected", data.file, data.session, data.total_size, **more)
            case PartialFileMoved(data=data):
                MOVED.inc()
                _say("file parked", data.file, data.session, data.received_bytes, total_size=data.total_size)

    def deleted(self, file: FileId, session: str, size: int | None) -> None:
        _say("file deleted", file, session, size)


def _say(what: str, file: FileId, session: str, size: int | None, **more: object) -> None:
    """A line for each file that came to an end. `size` in bytes; `duration` in seconds, of a step of the assembler."""
    began = _began.get()
    if began is not None:
        more["duration"] = round(perf_counter() - began, 3)
    log.info(what, owner=file.owner, file=file.filename, session=session, size=size, **more)
