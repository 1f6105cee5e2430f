"""Listing an owner's files: complete ones first, then partial ones, then uploads in progress."""

import base64
import binascii
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple, Self, get_args

from libs.common.gather import complete_file
from libs.common.holdings import beyond, by_name
from libs.common.layout import (
    FileId,
    SessionFact,
    closing_fact,
    fanout,
    files_prefix,
    parse_file_key,
    parse_run_key,
    parse_session_key,
    partials_root,
    sessions_prefix,
    sessions_root,
    total_size_of,
)
from libs.common.names import check_filename
from libs.common.ours import walk_ours
from libs.common.problems import Kind, Problem
from libs.common.store import Buckets

Section = Literal["complete", "partial", "pending"]
SECTIONS: tuple[Section, ...] = get_args(Section)


@dataclass(frozen=True)
class Item:
    """One file. `size` in bytes: the total size; `modified` in seconds since the epoch, by the store's clock."""

    filename: str
    status: Section
    size: int
    modified: float


@dataclass(frozen=True)
class Page:
    """`next`: the cursor of the page after, None at the end."""

    items: list[Item]
    next: str | None


class FileLister:
    """Pages through what an owner has."""

    def __init__(self, buckets: Buckets) -> None:
        self._buckets = buckets

    async def page(self, owner: str, limit: int, after: str | None, status: Section | None) -> Page:
        """At most `limit` files after a cursor, of one status or all. Raises BAD_REQUEST for a foreign cursor."""
        section, start_after = _decode(after) if after else (SECTIONS[0], "")
        items: list[Item] = []
        for current in SECTIONS[SECTIONS.index(section) :]:
            if status in (None, current):
                async for item in self._items(owner, current, start_after):
                    if len(items) == limit:
                        return Page(items, _encode(items[-1]))
                    items.append(item)
            start_after = ""
        return Page(items, None)

    def _items(self, owner: str, section: Section, after: str) -> AsyncIterator[Item]:
        match section:
            case "complete":
                return self._complete(owner, after)
            case "partial":
                return self._partial(owner, after)
            case "pending":
                return self._pending(owner, after)

    async def _complete(self, owner: str, after: str) -> AsyncIterator[Item]:
        prefix, deleted = files_prefix(owner), await self._deleted(owner)
        start_after = f"{prefix}{after}" if after else ""
        async for file, info in walk_ours(self._buckets.perm, prefix, parse_file_key, start_after):
            if file.filename not in deleted:
                yield Item(file.filename, "complete", info.size, info.modified)

    async def _deleted(self, owner: str) -> set[str]:
        """Names that count as free, though the assembler has not deleted what is there yet."""
        facts = walk_ours(self._buckets.temp, sessions_root(fanout(owner), owner), parse_session_key)
        return {fact.file.filename async for fact, _ in facts if fact.fact == closing_fact("cancel")}

    async def _partial(self, owner: str, after: str) -> AsyncIterator[Item]:
        prefix = partials_root(owner)
        runs = walk_ours(self._buckets.perm, prefix, parse_run_key, beyond(prefix, after))
        async for name, found in by_name(runs):
            facts = walk_ours(self._buckets.temp, sessions_prefix(FileId(owner, name)), parse_session_key)
            uploads = _Uploads.of([fact async for fact, _ in facts])
            if uploads.sizes or uploads.cancelled:
                continue  # resumed: it is listed as pending
            if await complete_file(self._buckets.perm, FileId(owner, name)):
                continue  # completed a moment ago
            size = total_size_of(found[0][0].session)
            yield Item(name, "partial", size, max(info.modified for _, info in found))

    async def _pending(self, owner: str, after: str) -> AsyncIterator[Item]:
        prefix = sessions_root(fanout(owner), owner)
        facts = walk_ours(self._buckets.temp, prefix, parse_session_key, beyond(prefix, after))
        async for name, found in by_name(facts):
            sizes = _Uploads.of([fact for fact, _ in found]).sizes
            if sizes and not await complete_file(self._buckets.perm, FileId(owner, name)):
                yield Item(name, "pending", sizes[0], max(info.modified for _, info in found))


class _Uploads(NamedTuple):
    """The uploads of a name. `sizes`: of those that are open, while none is being closed, in bytes."""

    sizes: list[int]
    cancelled: bool

    @classmethod
    def of(cls, facts: Sequence[SessionFact]) -> Self:
        sizes = [total_size_of(fact.session) for fact in facts if fact.fact == "open"]
        closing = any(fact.fact.startswith("clos") for fact in facts)
        return cls([] if closing else sizes, any(fact.fact == closing_fact("cancel") for fact in facts))


def _encode(last: Item) -> str:
    return base64.urlsafe_b64encode(f"{last.status}:{last.filename}".encode()).decode()


def _decode(cursor: str) -> tuple[Section, str]:
    try:
        status, _, name = base64.urlsafe_b64decode(cursor.encode()).decode().partition(":")
        return SECTIONS[SECTIONS.index(status)], check_filename(name)
    except (binascii.Error, UnicodeError, ValueError, Problem):
        raise Problem(Kind.BAD_REQUEST, "The cursor in `after` is not one that this server gave.") from None
