"""What an owner has: auth asks before it registers a device, and a purge deletes it."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Literal, TypeVar, get_args

from libs.common.layout import (
    RunKey,
    SessionFact,
    fanout,
    files_prefix,
    parse_file_key,
    parse_run_key,
    parse_session_key,
    partials_root,
    rejected_root,
    sessions_root,
)
from libs.common.look import group
from libs.common.ours import walk_ours
from libs.common.store import Buckets, ObjectInfo

# In the order in which an upload can go on: what leaves one of them while they are read is met in a later one.
Section = Literal["pending", "partial", "rejected", "complete"]
SECTIONS: tuple[Section, ...] = get_args(Section)
K = TypeVar("K", SessionFact, RunKey)
Found = tuple[K, ObjectInfo]


@dataclass(frozen=True)
class Holding:
    """Bytes under a name. `size` in bytes: what is stored, but of a pending upload the total size; `modified`: of the
    first of them, in seconds since the epoch, by the store's clock."""

    filename: str
    section: Section
    size: int
    modified: float
    cancelled: bool = False  # it counts as gone, and is being deleted


def holdings(buckets: Buckets, owner: str, section: Section, after: str = "") -> AsyncIterator[Holding]:
    """What an owner has in one section, beyond the filename `after`, in the order of the keys. An upload that is being
    closed is there until it is closed. Raises StoreUnavailable."""
    match section:
        case "pending":
            return _pending(buckets, owner, after)
        case "partial":
            return _runs(buckets, partials_root(owner), section, after)
        case "rejected":
            return _runs(buckets, rejected_root(owner), section, after)
        case "complete":
            return _complete(buckets, owner, after)


async def holds_anything(buckets: Buckets, owner: str) -> bool:
    """Whether a device of this id would find something. Raises StoreUnavailable."""
    for section in SECTIONS:
        async for _ in holdings(buckets, owner, section):
            return True
    return False


async def _pending(buckets: Buckets, owner: str, after: str) -> AsyncIterator[Holding]:
    prefix = sessions_root(fanout(owner), owner)
    async for name, found in by_name(walk_ours(buckets.temp, prefix, parse_session_key, beyond(prefix, after))):
        infos = [info for _, info in found]
        sessions = [session for session in group(infos).values() if session.is_open or session.closing]
        if sessions:  # else only a fact is there that came late
            size = max(session.total_size for session in sessions)
            cancelled = any("cancel" in session.closing for session in sessions)
            yield Holding(name, "pending", size, min(info.modified for info in infos), cancelled)


async def _runs(buckets: Buckets, prefix: str, section: Section, after: str) -> AsyncIterator[Holding]:
    async for name, found in by_name(walk_ours(buckets.perm, prefix, parse_run_key, beyond(prefix, after))):
        size = sum(key.extent.length for key, _ in found)
        yield Holding(name, section, size, min(info.modified for _, info in found))


async def _complete(buckets: Buckets, owner: str, after: str) -> AsyncIterator[Holding]:
    prefix = files_prefix(owner)
    async for file, info in walk_ours(buckets.perm, prefix, parse_file_key, f"{prefix}{after}" if after else ""):
        yield Holding(file.filename, "complete", info.size, info.modified)


async def by_name(
    objects: AsyncIterator[tuple[K, ObjectInfo]],
) -> AsyncIterator[tuple[str, list[tuple[K, ObjectInfo]]]]:
    """Runs of objects with the same filename."""
    name, run = "", list[Found[K]]()
    async for key, info in objects:
        if run and key.file.filename != name:
            yield name, run
            run = []
        name = key.file.filename
        run.append((key, info))
    if run:
        yield name, run


def beyond(prefix: str, name: str) -> str:
    """A key after every object of a filename."""
    return f"{prefix}{name}/\U0010ffff" if name else ""
