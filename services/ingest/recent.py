"""Complete files that were looked at lately, so that a range of one costs one store call."""

from collections import OrderedDict
from typing import NamedTuple

from libs.common.clock import Clock
from libs.common.layout import FileId
from libs.common.look import SETTLE, Look
from services.ingest.states import FileState


class _Known(NamedTuple):
    """`gone_at`: when a look showed for the first time that nothing of its upload was left, in seconds on the monotonic
    clock; None where none did."""

    look: Look
    state: FileState
    gone_at: float | None


class RecentFiles:
    """What is known of complete files; those not asked for longest are forgotten.

    A complete file ends by a cancel alone. Its DELETE is answered a lease after the marker was written, and the closer
    waits longer than that before it does anything: so within a lease of a look without the marker the file is there,
    and who asks after the answer meets no look from before it. What is read is the object of that look: its etag
    goes with the request."""

    def __init__(self, clock: Clock, limit: int = 1000) -> None:
        self._clock = clock
        self._limit = limit
        self._known: OrderedDict[FileId, _Known] = OrderedDict()

    def within_lease(self, file: FileId) -> FileState | None:
        known = self._known.get(file)
        if not known or known.look.expired(self._clock.monotonic()):
            return None
        self._known.move_to_end(file)
        return known.state

    def digest_of(self, file: FileId, session: str) -> str | None:
        """The digest that a session's file was checked against, "" for none; None where it is not known. That there is
        none is final when nothing of the upload was left for so long that no fenced write takes effect any more:
        until then another assembler may tell that it checked one."""
        known = self._known.get(file)
        if not known or not session or known.state.tag != session:
            return None
        if known.state.sha256:
            return known.state.sha256
        final = known.gone_at is not None and known.look.seen_at - known.gone_at >= SETTLE
        return "" if final else None

    def remember(self, look: Look, state: FileState) -> None:
        before = self._known.get(state.file)
        gone_at = before.gone_at if before and before.state.tag == state.tag else None
        if gone_at is None and state.tag not in look.sessions:
            gone_at = look.seen_at
        self._known[state.file] = _Known(look, state, gone_at)
        self._known.move_to_end(state.file)
        if len(self._known) > self._limit:
            self._known.popitem(last=False)

    def forget(self, file: FileId) -> None:
        self._known.pop(file, None)
