"""Deleting the garbage of a name, and its closed record."""

from collections.abc import AsyncIterator, Mapping

from libs.common.bus import EventBus
from libs.common.clock import Clock
from libs.common.storage import Buckets, ObjectInfo
from libs.common.uploads import runs as written
from libs.common.uploads.folders import Folders
from libs.common.uploads.layout import (
    FileId,
    RunKey,
    chunks_prefix,
    file_key,
    parse_chunk_key,
    parse_run_key,
    partials_root,
    rejected_prefix,
    rejected_root,
    runs_prefix,
)
from libs.common.uploads.ours import walk_ours
from libs.common.uploads.outcomes import About, completed
from libs.common.uploads.record import Record, Unreadable
from libs.common.uploads.records import Look, Records

KEPT_CLOSED = 60.0  # seconds that a record without a file stays: a file that comes late is met by it
Found = list[tuple[RunKey, ObjectInfo]]


class Tidier:
    def __init__(self, buckets: Buckets, bus: EventBus, clock: Clock) -> None:
        self._buckets = buckets
        self._bus = bus
        self._clock = clock
        self._records = Records(buckets, clock)
        self._folders = Folders(buckets, self._records, clock)

    async def tidy(self, file: FileId) -> None:
        """Finish an opening, abort multipart uploads that are of no use, delete garbage, and remove a closed record of
        which nothing is left to be said. It lists first and looks then: a chunk is written after the record names its
        session, and a session never comes back. Raises StoreUnavailable."""
        temp, perm = self._buckets.temp, self._buckets.perm
        chunks = [found async for found in walk_ours(temp, chunks_prefix(file, "").removesuffix("/"), parse_chunk_key)]
        runs = [found async for found in walk_ours(perm, runs_prefix(file, "").removesuffix("/"), parse_run_key)]
        rejected = [found async for found in walk_ours(perm, f"{rejected_prefix(file)}=", parse_run_key)]
        seen = await self._records.look(file)
        live = seen.record.session if seen.record else ""
        await temp.delete_many([info.key for key, info in chunks if key.session != live])
        await perm.delete_many(self._unnamed(seen, live, runs, rejected))
        if seen.record:
            await self._tidy_record(seen, seen.record)

    async def with_leftovers(self, known: Mapping[FileId, Record]) -> AsyncIterator[FileId]:
        """The names under which runs or rejected bytes lie that no record names, once they are old enough; each name
        once in each place. `known`: records that a sweep has just read, which need not be read again. Raises
        StoreUnavailable."""
        for root in (partials_root(), rejected_root()):
            seen: Look | None = None
            told: FileId | None = None  # whose other runs need no look
            async for key, info in walk_ours(self._buckets.perm, root, parse_run_key):
                if key.file == told or _names(known.get(key.file), key, info):
                    continue
                if seen is None or seen.file != key.file:
                    try:
                        seen = await self._records.read(key.file)  # a dry run writes nothing
                    except Unreadable:  # which the sweep of the records told already
                        told = key.file
                        continue
                if not _names(seen.record, key, info) and self._is_old(seen, info):
                    told = key.file
                    yield key.file

    def _is_old(self, seen: Look, info: ObjectInfo) -> bool:
        return seen.store_time(self._clock.monotonic()) - info.modified > written.UNNAMED

    def _unnamed(self, seen: Look, live: str, runs: Found, rejected: Found) -> list[str]:
        """Keys of runs and rejected bytes that the record does not name. Those of the session in progress are named a
        moment after they were written, and a closed record stays as it is until another upload begins."""
        closed = seen.record is not None and seen.record.state == "closed"
        over = [info.key for key, info in runs if key.session != live or self._is_old(seen, info)]
        over += [info.key for key, info in rejected if closed or self._is_old(seen, info)]
        named = {info.key for key, info in (*runs, *rejected) if _names(seen.record, key, info)}
        return [key for key in over if key not in named]

    async def _tidy_record(self, seen: Look, record: Record) -> None:
        if record.aborts:
            for upload in record.aborts:
                await self._buckets.perm.abort_multipart(file_key(seen.file), upload)
            done = await self._records.change(seen, aborts=())
            if not (done and done.record):
                return
            seen, record = done, done.record
        if record.folder:
            await self._folders.check(seen, record)
        elif record.state == "closed" and (record.removing or not record.kept):
            await self._remove(seen, record)

    async def _remove(self, seen: Look, record: Record) -> None:
        now = seen.store_time(self._clock.monotonic())
        if now <= max(record.quiet, record.removing):
            return
        done = await self._records.file(seen.file)
        if record.file and record.removing and done:
            # Its assembler may have died before it told.
            self._bus.publish(completed(seen.file, About.of(done), "/hiper/janitor"))
        if record.kept:
            await self._records.change(seen, removing=0.0)
        elif done and not record.file:
            await self._records.delete_file(seen)  # put at once, or made while it was cancelled: it does not count
        elif record.file or (seen.modified and now - seen.modified > KEPT_CLOSED):
            await self._records.remove(seen)


def _names(record: Record | None, key: RunKey, info: ObjectInfo) -> bool:
    """Whether the record names a run, or the session of rejected bytes."""
    if record is None:
        return False
    return key.session in record.kept if info.key.startswith(rejected_root()) else info.key in record.runs
