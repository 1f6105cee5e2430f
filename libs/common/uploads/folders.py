"""Folders: a name that others lie below can hold no file.

A directory cannot hold `a` and `a/b`, and MinIO hides `a/b` from listings where `a` is. So before anything is stored
under `a/b`, the record of `a` says that it is a folder. An upload of `a` looks at that record anyway, and is refused.
Names without a slash cost nothing; others cost a look for each folder that they lie in.
"""

from libs.common.files.names import folders_of
from libs.common.problems import Kind, Problem
from libs.common.storage import LEASE, Buckets, StoreUnavailable
from libs.common.uploads.layout import FileId, files_prefix, records_prefix
from libs.common.uploads.record import OPENING
from libs.common.uploads.records import SLACK, Look
from libs.common.uploads.tools import Tools

TAKEN = "The name is a folder of another file, or a file is a folder of the name."

FIRST_CHECK = 60.0  # seconds after which a sweep looks at a new folder: a file that came late is met by then
CHECK_EVERY = 3600.0  # seconds between two looks whether names lie below it still
_TRIES = 8


async def claim_folders(tools: Tools, file: FileId) -> None:
    """Make every folder of a name one. Call it after the look at the name itself: the fence of that look bounds what is
    written below the folders. Raises NAME_CONFLICT where one is a file or an upload, and StoreUnavailable."""
    for folder in folders_of(file.filename):
        await _claim(tools, FileId(file.owner, folder))


async def _claim(tools: Tools, folder: FileId) -> None:
    for _ in range(_TRIES):
        seen = await tools.records.look(folder)
        record = seen.record
        if record.state == "none":
            await tools.records.swap(seen, OPENING)
        elif record.state == "open" or record.file:
            raise refusal(f"{folder.filename!r} is a file, so that no name can lie below it.")
        elif record.folder and not record.removing:
            return
        elif not await seen.waited(record.removing):
            await tools.records.change(seen, folder=seen.now + FIRST_CHECK, removing=0.0)
    raise StoreUnavailable("a folder changes faster than it can be looked at")


async def check_folder(tools: Tools, seen: Look) -> None:
    """Delete a file that came late under the name of a folder, and remove a folder that is empty. Raises
    StoreUnavailable."""
    record, records = seen.record, tools.records
    if seen.now <= max(record.folder, record.quiet, record.removing):
        return
    if await records.object(seen.file):
        await records.delete_file(seen)
    elif record.kept or await _is_used(tools.buckets, seen.file):
        await records.change(seen, folder=seen.now + CHECK_EVERY, removing=0.0)
    elif announced := await records.change(seen, removing=seen.now + LEASE + SLACK):
        # A replica that looked before may write below for as long as its fence and the store allow; one that looks
        # afterwards has to write the record, so that the removal fails.
        await tools.clock.sleep(LEASE + SLACK)
        again = await records.look(seen.file, announced)
        if again.etag == announced.etag and not await _is_used(tools.buckets, seen.file):
            await records.remove(again)


async def _is_used(buckets: Buckets, folder: FileId) -> bool:
    below = f"{folder.filename}/"
    records = await buckets.temp.list(records_prefix(folder.owner, below), limit=2)
    if len(records.objects) > 1:  # one is the folder's own
        return True
    return bool((await buckets.perm.list(files_prefix(folder.owner, below), limit=1)).objects)


def refusal(why: str) -> Problem:
    return Problem(Kind.NAME_CONFLICT, f"{why} Choose another name.")
