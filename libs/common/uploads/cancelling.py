"""Cancelling an upload, or deleting a file."""

from collections.abc import Collection
from dataclasses import dataclass

from libs.common.bus import EventBus
from libs.common.bus.events import SessionCancelled, SessionData, subject
from libs.common.clock import Clock
from libs.common.problems import Kind, Problem
from libs.common.storage import Buckets, ObjectInfo, StoreUnavailable
from libs.common.uploads.layout import FileId
from libs.common.uploads.pins import Pin
from libs.common.uploads.record import Record
from libs.common.uploads.records import Look, Records, session_of
from libs.common.uploads.watch import UNWATCHED, Watch

_TRIES = 8


@dataclass(frozen=True)
class Ended:
    """What a DELETE did. `seen`: the record that says so. `session`: the one that it ended, or that had ended when it
    came. `found`: whether there was something to end."""

    seen: Look
    session: str
    found: bool


class Canceller:
    """Ends what is there under a name when it looks first. A later session is not its business."""

    def __init__(self, buckets: Buckets, bus: EventBus, clock: Clock, watch: Watch = UNWATCHED) -> None:
        self._bus = bus
        self._watch = watch
        self._clock = clock
        self._records = Records(buckets, clock)

    async def cancel(self, file: FileId, pin: Pin) -> None:
        """Returns a lease after its swap: then no replica acknowledges a chunk of the upload any more, and no reader
        sees it. Raises NOT_FOUND and PRECONDITION_FAILED problems, and StoreUnavailable."""
        ended = await self.end(file, pin)
        await self.settle(ended)
        if not ended.found:
            raise Problem(Kind.NOT_FOUND, f"No file or upload named {file.filename!r} of {file.owner!r}.")

    async def end(self, file: FileId, pin: Pin) -> Ended:
        """End what is there. It is only sure once `settle` returned. Raises PRECONDITION_FAILED and
        StoreUnavailable."""
        aim: str | None = None  # the session that was there at first; empty: nothing was
        for _ in range(_TRIES):
            seen = await self._claimed(file)
            if not (seen and seen.record):
                continue
            record = seen.record
            there = await self._there(seen, record)
            if there is None:
                continue
            if aim is not None and there != aim and (there or aim not in record.kept):
                return Ended(seen, aim, found=bool(aim))  # another process ended it
            aim = there
            current = [there] if there else record.kept
            if current and not _admits(pin, current):
                if record.state == "opening":
                    await self._records.settle(seen)
                pin.admit(current)
            if record.state == "closed" and not current:  # perhaps it was deleted a moment ago
                return Ended(seen, record.ended, found=bool(record.ended) and _admits(pin, record.ended.split(",")))
            done = await self._records.file(file)
            if ended := await self._close(seen, done, ended=",".join(current), aborts=record.uploads):
                if current:
                    self._watch.deleted(file, there, done.size if done else record.total_size)
                return Ended(ended, there, found=bool(current))
        raise StoreUnavailable("the name changes faster than it can be deleted")

    async def _close(self, seen: Look, done: ObjectInfo | None, **changes: object) -> Look | None:
        """None where another process was faster. `done`: the file that is there. Only then it is deleted, and none is
        made for a while. One that is made meanwhile does not count, and the next upload or the assembler deletes it."""
        change = self._records.delete_file if done else self._records.change
        return await change(
            seen, state="closed", session="", file="", rejected="", kept=(), removing=0.0, runs=(), assembly="",
            parked_at=None, **changes,
        )  # fmt: skip

    async def settle(self, ended: Ended) -> None:
        """Wait until no replica acts on an older look. Then the assembler may delete what was there."""
        await self._clock.sleep(ended.seen.calm_in(self._clock.monotonic()))
        if ended.found:
            file = ended.seen.file
            data = SessionData(owner=file.owner, filename=file.filename, session=ended.session)
            self._bus.publish(SessionCancelled(source="/hiper/ingest", subject=subject(file), data=data))

    async def _claimed(self, file: FileId) -> Look | None:
        """The record of the name, made where there is none: what is being put at once must not count. None where
        another process was faster."""
        seen = await self._records.read(file)
        return seen if seen.record else await self._records.swap(seen, Record(state="opening", version=""))

    async def _there(self, seen: Look, record: Record) -> str | None:
        """The session that a DELETE is about; empty where nothing is there; None: look again."""
        if record.state == "open":
            return record.session
        if record.state == "closed":
            wait = record.removing - seen.store_time(self._clock.monotonic())
            if wait >= 0:
                await self._clock.sleep(wait + 0.01)
                return None
            return record.file
        done = await self._records.file(seen.file)
        if not done and record.session:
            await self._records.settle(seen)
            return None
        return session_of(done) if done else ""


def _admits(pin: Pin, sessions: Collection[str]) -> bool:
    try:
        pin.admit(sessions)
    except Problem:
        return False
    return True
