"""Deleting what a name does not need any more: garbage, and the closed record itself."""

from collections.abc import AsyncIterator

from libs.common.clock import Clock
from libs.common.layout import FileId
from libs.common.store import Buckets, ObjectInfo, list_all, walk
from libs.common.uploads.layout import (
    chunks_prefix,
    file_key,
    parse_chunk_key,
    parse_run_key,
    partials_root,
    rejected_prefix,
    rejected_root,
    runs_prefix,
)
from libs.common.uploads.record import Record
from libs.common.uploads.records import Look, Records

KEPT_CLOSED = 60.0  # seconds that a record without a file stays: a file that comes late is met by it
UNNAMED = 3600.0  # seconds after which a run that no record names is garbage


class Tidier:
    def __init__(self, buckets: Buckets, clock: Clock) -> None:
        self._buckets = buckets
        self._clock = clock
        self._records = Records(buckets, clock)

    async def tidy(self, file: FileId) -> None:
        """Finish an opening, abort multipart uploads that are of no use, delete garbage, and remove a closed record of
        which nothing is left to be said. It lists first and looks then: a chunk is written after the record names its
        session, and a session never comes back. Raises StoreUnavailable."""
        temp, perm = self._buckets.temp, self._buckets.perm
        chunks = await list_all(temp, chunks_prefix(file, "").removesuffix("/"))
        runs = await list_all(perm, runs_prefix(file, "").removesuffix("/"))
        rejected = await list_all(perm, f"{rejected_prefix(file)}=")
        seen = await self._records.look(file)
        live = seen.record.session if seen.record else ""
        await temp.delete_many([i.key for i in chunks if parse_chunk_key(i.key).session != live])
        await perm.delete_many(self._unnamed(seen, live, runs, rejected))
        if seen.record:
            await self._tidy_record(seen, seen.record)

    async def with_leftovers(self) -> AsyncIterator[FileId]:
        """The names under which runs or rejected bytes may lie that no record names: those that are old enough, once
        each. Raises StoreUnavailable."""
        for root in (partials_root(), rejected_root()):
            file, seen, told = None, None, False
            async for info in walk(self._buckets.perm, root):
                try:
                    key = parse_run_key(info.key)
                except ValueError:
                    continue  # it is not ours
                if key.file != file or seen is None:
                    file, seen, told = key.file, await self._records.look(key.file), False
                named = seen.record and (info.key in seen.record.runs or key.session in seen.record.kept)
                if not (named or told) and seen.store_time(self._clock.monotonic()) - info.modified > UNNAMED:
                    told = True
                    yield key.file

    def _unnamed(self, seen: Look, live: str, runs: list[ObjectInfo], rejected: list[ObjectInfo]) -> list[str]:
        """Keys of runs and rejected bytes that the record does not name. Those of the session in progress, and rejected
        ones, are named a moment after they were written."""
        now = seen.store_time(self._clock.monotonic())
        named, kept = (seen.record.runs, seen.record.kept) if seen.record else ((), ())
        gone = [i.key for i in runs if parse_run_key(i.key).session != live]
        gone += [i.key for i in runs if i.key not in {*gone, *named} and now - i.modified > UNNAMED]
        ended = seen.record is not None and seen.record.state == "closed"
        for info in rejected:
            session = parse_run_key(info.key).session
            if session not in kept and ((ended and session != live) or now - info.modified > UNNAMED):
                gone.append(info.key)
        return gone

    async def _tidy_record(self, seen: Look, record: Record) -> None:
        if record.aborts:
            for upload in record.aborts:
                await self._buckets.perm.abort_multipart(file_key(seen.file), upload)
            done = await self._records.change(seen, aborts=())
            if not (done and done.record):
                return
            seen, record = done, done.record
        if record.state == "opening":
            await self._records.settle(seen)
        elif record.state == "closed" and not record.kept:
            await self._remove(seen, record)

    async def _remove(self, seen: Look, record: Record) -> None:
        now = seen.store_time(self._clock.monotonic())
        if now <= max(record.quiet, record.removing):
            return
        if record.file:
            await self._records.remove(seen)
        elif seen.modified and now - seen.modified > KEPT_CLOSED:
            if await self._records.file(seen.file):  # put at once, and never acknowledged
                await self._records.delete_file(seen)
            else:
                await self._records.remove(seen)
