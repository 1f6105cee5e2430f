"""Deleting the garbage of a name, and its closed record."""

from collections.abc import AsyncIterator, Mapping

from libs.common.storage import ObjectInfo
from libs.common.uploads import runs as written
from libs.common.uploads.folders import check_folder
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
from libs.common.uploads.record import Record, Unreadable
from libs.common.uploads.records import Look
from libs.common.uploads.tools import Tools

KEPT_CLOSED = 60.0  # seconds that a record without a file stays: a file that comes late is met by it


async def tidy(tools: Tools, file: FileId) -> bool:
    """Finish an opening, abort multipart uploads that are of no use, tell outcomes that are owed, delete garbage, and
    remove a closed record that tells readers nothing. It lists first and looks then: a chunk is written after
    the record names its session, and a session never comes back. False: another process was faster. Raises
    StoreUnavailable."""
    temp, perm = tools.buckets.temp, tools.buckets.perm
    chunks = [found async for found in walk_ours(temp, chunks_prefix(file, "").removesuffix("/"), parse_chunk_key)]
    runs = [found async for found in walk_ours(perm, runs_prefix(file, "").removesuffix("/"), parse_run_key)]
    rejected = [found async for found in walk_ours(perm, f"{rejected_prefix(file)}=", parse_run_key)]
    seen = await tools.records.look(file)
    await temp.delete_many([info.key for key, info in chunks if key.session != seen.record.session])
    await perm.delete_many([info.key for key, info in (*runs, *rejected) if _is_garbage(seen, key, info)])
    if seen.record.aborts or seen.record.owes:
        for upload in seen.record.aborts:
            await perm.abort_multipart(file_key(file), upload)
        changed = await tools.pay(seen, aborts=())
        if not changed:
            return False
        seen = changed
    if seen.record.folder:
        await check_folder(tools, seen)
    elif seen.record.state == "closed":
        await _remove(tools, seen)
    return True


async def with_leftovers(tools: Tools, known: Mapping[FileId, Record]) -> AsyncIterator[FileId]:
    """The names under which runs or rejected bytes lie that no record names, once they are old enough; each name once
    in each place. `known`: records that a sweep has just read, which need not be read again. Raises
    StoreUnavailable."""
    for root in (partials_root(), rejected_root()):
        seen: Look | None = None
        told: FileId | None = None  # whose other runs need no look
        async for key, info in walk_ours(tools.buckets.perm, root, parse_run_key):
            if key.file == told or _names(known.get(key.file), key, info):
                continue
            if seen is None or seen.file != key.file:
                try:
                    seen = await tools.records.read(key.file)  # a dry run writes nothing
                except Unreadable:  # which the sweep of the records told already
                    told = key.file
                    continue
            if not _names(seen.record, key, info) and _is_old(seen, info):
                told = key.file
                yield key.file


async def _remove(tools: Tools, seen: Look) -> None:
    """Remove a closed record that tells readers nothing. Delete a file that does not count."""
    record, records = seen.record, tools.records
    if seen.now <= max(record.quiet, record.removing):
        return
    done = await records.object(seen.file)
    if done and not record.file:
        await records.delete_file(seen)  # put at once, or made while it was cancelled or rejected
    elif record.kept:
        if record.removing or record.quiet:
            await records.change(seen, removing=0.0, quiet=0.0)
    elif record.file or (seen.modified and seen.now - seen.modified > KEPT_CLOSED):
        await records.remove(seen)


def _is_old(seen: Look, info: ObjectInfo) -> bool:
    return seen.now - info.modified > written.UNNAMED


def _is_garbage(seen: Look, key: RunKey, info: ObjectInfo) -> bool:
    """Whether the record does not name a run, or rejected bytes, nor will. Runs of the upload in progress are named a
    moment after they were written; rejected bytes too, but a closed record stays as it is until another upload
    begins."""
    is_rejected = info.key.startswith(rejected_root())
    over = seen.record.state == "closed" if is_rejected else key.session != seen.record.session
    return (over or _is_old(seen, info)) and not _names(seen.record, key, info)


def _names(record: Record | None, key: RunKey, info: ObjectInfo) -> bool:
    """Whether the record names a run, or the session of rejected bytes."""
    if record is None:
        return False
    return key.session in record.kept if info.key.startswith(rejected_root()) else info.key in record.runs
