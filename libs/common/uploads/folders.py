"""Folders: a name that others lie below can hold no file.

A directory cannot hold `a` and `a/b`, and MinIO hides `a/b` from listings where `a` is. So before anything is stored
under `a/b`, the record of `a` says that it is a folder. An upload of `a` looks at that record anyway, and is refused.
Names without a slash cost nothing; others cost a look for each folder that they lie in.
"""

from libs.common.clock import Clock
from libs.common.files.names import folders_of
from libs.common.problems import Kind, Problem
from libs.common.storage import LEASE, Buckets, StoreUnavailable
from libs.common.uploads.layout import FileId, files_prefix, records_prefix
from libs.common.uploads.record import Record
from libs.common.uploads.records import SLACK, Look, Records

FIRST_CHECK = 60.0  # seconds after which a sweep looks at a new folder: a file that came late is met by then
CHECK_EVERY = 3600.0  # seconds between two looks whether names lie below it still
_TRIES = 8


class Folders:
    def __init__(self, buckets: Buckets, records: Records, clock: Clock) -> None:
        self._buckets = buckets
        self._records = records
        self._clock = clock

    async def claim(self, file: FileId) -> None:
        """Make every folder of a name one. Call it after the look at the name itself: the fence of that look bounds
        what is written below the folders. Raises NAME_CONFLICT where one is a file or an upload, and
        StoreUnavailable."""
        for folder in folders_of(file.filename):
            await self._claim(FileId(file.owner, folder))

    async def _claim(self, folder: FileId) -> None:
        for _ in range(_TRIES):
            seen = await self._records.look(folder)
            record = seen.record
            if record is None:
                await self._records.swap(seen, Record(state="opening", version=""))
            elif record.state == "open" or record.file:
                raise refusal(f"{folder.filename!r} is a file, so that no name can lie below it.")
            elif record.folder and not record.removing:
                return
            else:
                await self._write(seen, record)
        raise StoreUnavailable("a folder changes faster than it can be looked at")

    async def _write(self, seen: Look, record: Record) -> None:
        """Say that it is a folder, once no process removes the record."""
        wait = record.removing - seen.store_time(self._clock.monotonic())
        if wait >= 0:
            await self._clock.sleep(wait + 0.01)
            return
        now = seen.store_time(self._clock.monotonic())
        await self._records.change(seen, folder=now + FIRST_CHECK, removing=0.0)

    async def check(self, seen: Look, record: Record) -> None:
        """Delete a file that came late under the name of a folder, and remove a folder that is empty. Raises
        StoreUnavailable."""
        now = seen.store_time(self._clock.monotonic())
        if now <= max(record.folder, record.quiet, record.removing):
            return
        if await self._records.file(seen.file):
            await self._records.delete_file(seen)
        elif record.kept or await self._is_used(seen.file):
            await self._records.change(seen, folder=now + CHECK_EVERY, removing=0.0)
        else:
            await self._remove(seen, now)

    async def _remove(self, seen: Look, now: float) -> None:
        """Announce it first. A replica that looked before may write below for as long as its fence and the store allow;
        one that looks afterwards has to write the record, so that the removal fails."""
        announced = await self._records.change(seen, removing=now + LEASE + SLACK)
        if not announced:
            return
        await self._clock.sleep(LEASE + SLACK)
        again = await self._records.look(seen.file, announced)
        if again.etag == announced.etag and not await self._is_used(seen.file):
            await self._records.remove(again)

    async def _is_used(self, folder: FileId) -> bool:
        below = f"{folder.filename}/"
        records = await self._buckets.temp.list(records_prefix(folder.owner, below), limit=2)
        if len(records.objects) > 1:  # one is the folder's own
            return True
        return bool((await self._buckets.perm.list(files_prefix(folder.owner, below), limit=1)).objects)


def refusal(why: str) -> Problem:
    return Problem(Kind.NAME_CONFLICT, f"{why} Choose another name.")
