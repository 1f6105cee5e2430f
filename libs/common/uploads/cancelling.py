"""Cancelling an upload, or deleting a file."""

from collections.abc import Collection
from dataclasses import dataclass

from libs.common.bus.events import SessionCancelled, SessionData, subject
from libs.common.files.pins import Pin
from libs.common.problems import Kind, Problem
from libs.common.storage import StoreUnavailable
from libs.common.uploads.layout import FileId
from libs.common.uploads.outcomes import deleted, session_of
from libs.common.uploads.record import OPENING
from libs.common.uploads.records import Look
from libs.common.uploads.tools import Tools

_TRIES = 8


@dataclass(frozen=True)
class Ended:
    """What a DELETE did. `seen`: the record that says so. `session`: the one that it ended, or that had ended when it
    came. `found`: whether there was something to end."""

    seen: Look
    session: str
    found: bool


async def cancel(tools: Tools, file: FileId, pin: Pin) -> None:
    """End what is there. It returns a lease after its swap. From then on no replica acknowledges a chunk of the upload,
    and no reader sees it. Raises NOT_FOUND and PRECONDITION_FAILED problems, and StoreUnavailable."""
    ended = await end(tools, file, pin)
    await settle(tools, ended)
    if not ended.found:
        raise Problem(Kind.NOT_FOUND, f"No file or upload named {file.filename!r} of {file.owner!r}.")


async def end(tools: Tools, file: FileId, pin: Pin) -> Ended:
    """End what is there when it looks first: a later session is not its business. It is only sure once `settle`
    returned. Raises PRECONDITION_FAILED and StoreUnavailable."""
    aim: str | None = None  # the session that was there at first; empty: nothing was
    for _ in range(_TRIES):
        seen = await _claimed(tools, file)
        there = await _there(tools, seen) if seen else None
        if seen is None or there is None:
            continue
        record = seen.record
        if aim is not None and there != aim and (there or aim not in record.kept):
            return Ended(seen, aim, found=bool(aim))  # another process ended it
        aim = there
        current = [there] if there else record.kept
        if current and not _admits(pin, current):
            if record.state == "opening":
                await tools.records.settle(seen)
            pin.admit(current)
        if record.state == "closed" and not current:  # perhaps it was deleted a moment ago
            return Ended(seen, record.ended, found=bool(record.ended) and _admits(pin, record.ended.split(",")))
        done = await tools.records.object(file)
        # Only a file that is there is deleted, and none is made for a while then. One that is made meanwhile does not
        # count: the next upload or the assembler deletes it.
        change = tools.records.delete_file if done else tools.records.change
        outcomes = [deleted(file, session, "/hiper/ingest") for session in current]  # told when the name is tidied
        closing = record.closing(*outcomes, rejected="", kept=(), removing=0.0, ended=",".join(current))
        if closed := await change(seen, **closing):
            if current:
                tools.watch.deleted(file, there, done.size if done else record.total_size)
            return Ended(closed, there, found=bool(current))
    raise StoreUnavailable("the name changes faster than it can be deleted")


async def settle(tools: Tools, ended: Ended) -> None:
    """Wait until no replica acts on an older look. Then the assembler may delete what was there."""
    await tools.clock.sleep(ended.seen.calm_in)
    if ended.found:
        file = ended.seen.file
        data = SessionData(owner=file.owner, filename=file.filename, session=ended.session)
        tools.bus.publish(SessionCancelled(source="/hiper/ingest", subject=subject(file), data=data))


async def _claimed(tools: Tools, file: FileId) -> Look | None:
    """The record of the name. Where there is none, one is created: then a file that a replica puts at once at this
    moment does not count. None where another process was faster."""
    seen = await tools.records.read(file)
    return seen if seen.etag else await tools.records.swap(seen, OPENING)


async def _there(tools: Tools, seen: Look) -> str | None:
    """The session that a DELETE is about; empty where nothing is there; None: look again."""
    record = seen.record
    if record.state == "open":
        return record.session
    if record.state == "closed":
        return None if record.removing and await seen.waited(record.removing) else record.file
    done = await tools.records.file(seen.file)
    if not done and record.session:
        await tools.records.settle(seen)
        return None
    return session_of(done) if done else ""


def _admits(pin: Pin, sessions: Collection[str]) -> bool:
    try:
        pin.admit(sessions)
    except Problem:
        return False
    return True
