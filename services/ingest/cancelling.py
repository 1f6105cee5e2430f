"""Cancelling an upload or deleting a file: what ingest does of it is to say so durably."""

from libs.common.bus import EventBus
from libs.common.clock import Clock
from libs.common.events import SessionCancelled, SessionData, subject
from libs.common.gather import complete_file, partial_runs, rejected_runs
from libs.common.layout import FileId, closing_fact, fact_key, new_session
from libs.common.look import Look, look
from libs.common.problems import Kind, Problem
from libs.common.store import LEASE, Buckets, FenceExpired, StoreUnavailable
from libs.common.uploads.pins import Pin

_TRIES = 4


class Canceller:
    """Marks everything of a name for deletion; the assembler does it."""

    def __init__(self, buckets: Buckets, bus: EventBus, clock: Clock, replica: str) -> None:
        self._buckets = buckets
        self._bus = bus
        self._clock = clock
        self._replica = replica

    async def cancel(self, file: FileId, pin: Pin) -> None:
        """Once this returns, no chunk of the upload is acknowledged any more and the name counts as free: a new
        upload may start as soon as the assembler is done. Raises NOT_FOUND and PRECONDITION_FAILED problems.

        Takes a lease: so long may an ingest replica act on a look from before the marker, even from before the file
        became complete."""
        await self.mark(file, pin)
        await self.wait()

    async def wait(self) -> None:
        """After this, what was marked before counts everywhere."""
        await self._clock.sleep(LEASE)

    async def mark(self, file: FileId, pin: Pin) -> None:
        """What `cancel` does before it waits."""
        for _ in range(_TRIES):
            seen = await look(self._buckets.temp, file, self._clock)
            if "cancel" in seen.closing:
                return self._tell(seen, next(iter(seen.sessions)))
            pin.admit(await self._current(seen))
            # A session that ended bears no marker: with its own a slow closer of it would remove this one.
            sessions = [session.id for session in seen.unended] or [new_session(0, self._replica)]
            try:
                for session in sessions:
                    key = fact_key(file, session, closing_fact("cancel"))
                    # Fenced: a cancel that comes late must not hit the next upload of this name.
                    await self._buckets.temp.put(key, b"", fence=seen.fence)
            except FenceExpired:
                continue
            return self._tell(seen, sessions[0])
        raise StoreUnavailable("the store is too slow to cancel within a lease")

    async def _current(self, seen: Look) -> list[str]:
        """The sessions that a DELETE of this name is about."""
        sessions = [session.id for session in seen.open]
        done = await complete_file(self._buckets.perm, seen.file)
        if done:  # beside an upload that came too late, perhaps
            sessions.append(done.metadata.get("session", ""))
        if sessions:
            return sessions
        runs = await partial_runs(self._buckets.perm, seen.file)
        if not runs:
            if done := await complete_file(self._buckets.perm, seen.file):  # what was partial a moment ago
                return [done.metadata.get("session", "")]
            runs = await rejected_runs(self._buckets.perm, seen.file)
        if not runs:
            raise Problem(Kind.NOT_FOUND, f"No file or upload named {seen.file.filename!r} of {seen.file.owner!r}.")
        return sorted({run.session for run in runs})

    def _tell(self, seen: Look, session: str) -> None:
        data = SessionData(owner=seen.file.owner, filename=seen.file.filename, session=session)
        self._bus.publish(SessionCancelled(source="/hiper/ingest", subject=subject(seen.file), data=data))
