"""Cancelling an upload, or deleting a file."""

from libs.common.bus import EventBus
from libs.common.clock import Clock
from libs.common.events import SessionCancelled, SessionData, subject
from libs.common.layout import FileId
from libs.common.problems import Kind, Problem
from libs.common.store import Buckets, StoreUnavailable
from libs.common.uploads.pins import Pin
from libs.common.uploads.record import Record
from libs.common.uploads.records import Look, Records, session_of
from libs.common.watch import UNWATCHED, Watch

_TRIES = 8


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
        aim = ""  # the session that was there at first
        for _ in range(_TRIES):
            seen = await self._claimed(file)
            if not (seen and seen.record):
                continue
            record = seen.record
            there = await self._there(seen, record)
            if there is None:
                continue
            if aim and there != aim:
                return await self._gone(seen, aim)  # another process ended it
            aim = there
            if there and not _admits(pin, there):
                if record.state == "opening":
                    await self._records.settle(seen)
                pin.admit([there])
            if record.state == "closed" and not there and not record.kept:
                await self._clock.sleep(seen.calm_in(self._clock.monotonic()))
                if record.ended and _admits(pin, record.ended):
                    return None  # it was deleted a moment ago
                raise _nothing(file)
            ended = await self._records.delete_file(
                seen,
                state="closed",
                session="",
                file="",
                ended=there or ",".join(record.kept),
                rejected="",
                kept=(),
                removing=0.0,
                runs=(),
                assembly="",
                aborts=record.uploads,
                parked_at=None,
            )
            if ended:
                await self._gone(ended, there)
                if not there and not record.kept:
                    raise _nothing(file)
                self._watch.deleted(file, there, record.total_size)
                return None
        raise StoreUnavailable("the name changes faster than it can be deleted")

    async def _claimed(self, file: FileId) -> Look | None:
        """The record of the name, made where there is none: what is being put at once must not count. None where
        another process was faster."""
        seen = await self._records.look(file)
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

    async def _gone(self, seen: Look, session: str) -> None:
        await self._clock.sleep(seen.calm_in(self._clock.monotonic()))
        data = SessionData(owner=seen.file.owner, filename=seen.file.filename, session=session)
        self._bus.publish(SessionCancelled(source="/hiper/ingest", subject=subject(seen.file), data=data))


def _admits(pin: Pin, session: str) -> bool:
    try:
        pin.admit([session])
    except Problem:
        return False
    return True


def _nothing(file: FileId) -> Problem:
    return Problem(Kind.NOT_FOUND, f"No file or upload named {file.filename!r} of {file.owner!r}.")
