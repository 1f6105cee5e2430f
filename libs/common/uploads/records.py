"""Looking at the record of a name, and changing it: every race has one winner, at once."""

from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

from libs.common.clock import Clock
from libs.common.storage import (
    LEASE,
    Buckets,
    ConditionFailed,
    Fence,
    FenceExpired,
    ObjectInfo,
    ObjectNotFound,
    StoreFull,
    StoreRefused,
    StoreUnavailable,
)
from libs.common.uploads.layout import FileId, file_key, new_version, record_key
from libs.common.uploads.outcomes import About, completed, is_whole, session_of
from libs.common.uploads.record import NOTHING, Record, parse

# Seconds that a store may take from accepting a request to its effect, with the skew of its nodes' clocks, and a second
# because HTTP dates are whole seconds. The only assumption about time that the store does not check itself.
SLACK = 4.0
TOLD_LATE = 172_800.0  # seconds; of a file that is older the feed tells: the janitor compares them each day
_TRIES = 4  # how often a delete may be too late for its fence, or an opening be ended by another process
DATE = 1.5  # seconds by which two dates of the store may differ: HTTP cuts them to whole ones, and its nodes differ


@dataclass(frozen=True)
class Look:
    """The record of a name at one moment, and how long one may act on it.

    `seen_at`: this process's clock, from before the look. `issued`: the store's time at `issued_at` of this process's
    clock, never too late. `written_at`: this process's clock when the store confirmed that this process had written the
    record; None where another one wrote it, at `modified` of the store's time. `etag`: empty where there is no record.
    """

    file: FileId
    record: Record
    etag: str
    clock: Clock
    seen_at: float
    issued: float
    issued_at: float
    modified: float = 0.0
    written_at: float | None = None

    @property
    def fence(self) -> Fence:
        """For a write that rests on this look."""
        return Fence(self.issued)

    @property
    def expired(self) -> bool:
        return self.clock.monotonic() - self.seen_at >= LEASE

    @property
    def now(self) -> float:
        """The store's time now: never too late."""
        return self.issued + max(0.0, self.clock.monotonic() - self.issued_at)

    @property
    def calm_in(self) -> float:
        """Seconds until a lease has passed since the record was written: then no process acts on an older look."""
        if self.written_at is not None:
            return max(0.0, self.written_at + LEASE - self.clock.monotonic())
        return max(0.0, self.modified + DATE + LEASE - self.now)

    async def waited(self, until: float) -> bool:
        """Whether `until`, of the store's time, was to come: it has passed then, and it is time to look again."""
        wait = until - self.now
        if wait < 0:
            return False
        await self.clock.sleep(wait + 0.01)
        return True


class Records:
    """The records of one deployment, as one process sees them."""

    def __init__(self, buckets: Buckets, clock: Clock) -> None:
        self._temp = buckets.temp
        self._perm = buckets.perm
        self._clock = clock

    async def look(self, file: FileId, known: Look | None = None) -> Look:
        """Read the record, and end an opening that is met: no process may rest on one. `known`: what is read again only
        if it changed. Raises StoreUnavailable."""
        for _ in range(_TRIES):
            seen: Look | None = await self.read(file, known)
            if seen and seen.record.state == "opening":
                seen = await self.settle(seen)
            if seen:
                return seen
        raise StoreUnavailable("the name changes faster than it can be looked at")

    async def read(self, file: FileId, known: Look | None = None) -> Look:
        """As `look`, but an opening stays one."""
        key, seen_at = record_key(file), self._clock.monotonic()
        found = await self._temp.fetch(key, known=known.etag if known else "")
        issued, at = found.fence.issued, self._clock.monotonic()
        if found.unchanged and known:
            return replace(known, seen_at=seen_at, issued=issued, issued_at=at)
        if not found.info:
            return Look(file, NOTHING, "", self._clock, seen_at, issued, at)
        record = parse(key, found.data)
        return Look(file, record, found.info.etag, self._clock, seen_at, issued, at, found.info.modified)

    async def swap(self, seen: Look, new: Record) -> Look | None:
        """Replace the record that was seen, or create it where none was; None where somebody else was faster, or it is
        too late. Raises StoreUnavailable where the store has no room or refuses."""
        written, sent, issued = new.changed(version=new_version()), self._clock.monotonic(), seen.now
        data = written.model_dump_json().encode()
        try:
            etag = await self._temp.put(
                record_key(seen.file), data, absent=not seen.etag, match=seen.etag, fence=seen.fence,
                content_type="application/json",
            )  # fmt: skip
        except FenceExpired:
            return None
        except (StoreFull, StoreRefused):
            raise
        except (ConditionFailed, StoreUnavailable):
            # Refused by what it did itself, where the HTTP client sent it twice; or done, and the answer was lost.
            again = await self.read(seen.file)
            return again if again.record.version == written.version else None
        at = self._clock.monotonic()
        return Look(seen.file, written, etag, self._clock, sent, issued, sent, written_at=at)

    async def change(self, seen: Look, **changes: Any) -> Look | None:
        """Swap in a record that differs in some fields."""
        return await self.swap(seen, seen.record.changed(**changes))

    async def file(self, file: FileId) -> ObjectInfo | None:
        """The file, whether or not it counts. Its metadata tells its session."""
        there = await self.object(file)
        return there if there and is_whole(there) else None

    async def object(self, file: FileId) -> ObjectInfo | None:
        """As `file`, or what is there of one that a process that died could not put whole."""
        try:
            return await self._perm.stat(file_key(file))
        except ObjectNotFound:
            return None

    async def settle(self, seen: Look) -> Look | None:
        """End an opening: a file that is there is complete; else the upload is open, or nothing is there. Whoever meets
        an opening may do it, readers too. None where somebody else was faster."""
        done = await self.file(seen.file)
        if done:
            outcome = completed(seen.file, About.of(done), "/hiper/ingest")  # of a replica that died before it told
            owes = () if seen.now - done.modified > TOLD_LATE else (outcome,)
            return await self.change(seen, state="closed", file=session_of(done), session="", owes=owes)
        return await self.change(seen, state="open" if seen.record.session else "closed")

    async def delete_file(self, seen: Look, **changes: Any) -> Look | None:
        """Announce in the record that the file is being deleted, then delete it; None where somebody else was faster.
        Until `quiet` no file is made under the name: a copy of the request may still be on its way, answered or not."""
        announced = await self._announce_delete(seen, **changes)
        for _ in range(_TRIES):
            if not announced:
                break
            try:
                await self._perm.delete_many([file_key(seen.file)], fence=announced.fence)
            except FenceExpired:  # announce it again, on a new look, unless the name moved on
                again = await self.read(seen.file, announced)
                renewed = await self._announce_delete(again) if again.etag == announced.etag else None
                if not renewed:
                    break
                announced = renewed
                continue
            except StoreUnavailable:
                pass  # the next upload's assembler, or the sweep that removes the record, looks at the file
            break
        return announced

    async def _announce_delete(self, seen: Look, **changes: Any) -> Look | None:
        return await self.change(seen, quiet=seen.now + LEASE + SLACK, **changes)

    async def remove(self, seen: Look) -> None:
        """Delete a closed record that has nothing more to say, by a request that is sent once."""
        now = seen.now
        announced = await self.change(seen, removing=now + LEASE + SLACK)
        if announced:
            await self.delete_announced(announced, now)

    async def delete_announced(self, announced: Look, now: float) -> None:
        """Delete a record that says `removing`, announced at `now` of the store's time."""
        with suppress(FenceExpired, StoreUnavailable):  # a sweep does it again
            await self._temp.delete(record_key(announced.file), match=announced.etag, fence=Fence(now))
