"""Complete files that were looked at lately, so that a range of one costs one store call."""

from collections import OrderedDict

from libs.common.clock import Clock
from libs.common.uploads.layout import FileId
from libs.common.uploads.records import Look
from libs.common.uploads.states import FileState


class RecentFiles:
    """What is known of complete files; those not asked for longest are forgotten.

    A complete file ends by a DELETE alone, which is answered a lease after its swap. So within a lease of a look the
    file is there for every reader that asks before that answer, and a reader that asks after it meets no look from
    before the swap. What is read is the object of that look: its etag goes with the request."""

    def __init__(self, clock: Clock, limit: int = 1000) -> None:
        self._clock = clock
        self._limit = limit
        self._known: OrderedDict[FileId, tuple[Look, FileState]] = OrderedDict()

    def within_lease(self, file: FileId) -> FileState | None:
        known = self._known.get(file)
        if not known or known[0].expired(self._clock.monotonic()):
            return None
        self._known.move_to_end(file)
        return known[1]

    def remember(self, seen: Look, state: FileState) -> None:
        self._known[state.file] = seen, state
        self._known.move_to_end(state.file)
        if len(self._known) > self._limit:
            self._known.popitem(last=False)

    def forget(self, file: FileId) -> None:
        self._known.pop(file, None)
