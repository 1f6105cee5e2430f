"""Listing an owner's files: complete ones first, then parked ones, then uploads in progress, then rejected ones."""

import asyncio
import base64
import binascii
from dataclasses import dataclass, replace

from libs.common.files.labels import from_metadata
from libs.common.files.names import check_filename
from libs.common.problems import Kind, Problem
from libs.common.storage import Buckets, ObjectNotFound
from libs.common.uploads.holdings import Holding, Section, holdings
from libs.common.uploads.layout import FileId, file_key
from libs.common.uploads.owned import AT_ONCE

SECTIONS: tuple[Section, ...] = ("complete", "partial", "pending", "rejected")


@dataclass(frozen=True)
class Wanted:
    """Which files of an owner a listing shows. `prefix`: with what their names begin. `delimiter`: names that go on
    with it behind the prefix are shown as one folder, up to it and with it; empty: none are. `labels`: ask for those of
    complete files too, a request to the store for each."""

    owner: str
    prefix: str = ""
    delimiter: str = ""
    status: Section | None = None
    labels: bool = False

    def folder_of(self, filename: str) -> str:
        """The folder that stands for a file; empty where the file stands for itself."""
        at = filename.find(self.delimiter, len(self.prefix)) if self.delimiter else -1
        return filename[: at + len(self.delimiter)] if at >= 0 else ""


@dataclass(frozen=True)
class Page:
    """`folders`: each once. `next`: the cursor of the page after, None at the end."""

    items: list[Holding]
    folders: list[str]
    next: str | None


class FileLister:
    """Pages through what an owner has."""

    def __init__(self, buckets: Buckets) -> None:
        self._buckets = buckets

    async def page(self, wanted: Wanted, limit: int, after: str | None) -> Page:
        """At most `limit` files and folders after a cursor. Reads as many pages of the store as the names behind
        these folders fill. Raises BAD_REQUEST for a foreign cursor."""
        page = await self._page(wanted, limit, after)
        return replace(page, items=await self._labelled(wanted.owner, page.items)) if wanted.labels else page

    async def _labelled(self, owner: str, items: list[Holding]) -> list[Holding]:
        """The files with their labels; without those that were deleted meanwhile."""
        turns = asyncio.Semaphore(AT_ONCE)

        async def one(item: Holding) -> Holding | None:
            if item.labels is not None:
                return item
            async with turns:
                try:
                    done = await self._buckets.perm.stat(file_key(FileId(owner, item.filename)))
                except ObjectNotFound:
                    return None
            return replace(item, labels=from_metadata(done.metadata))

        return [item for item in await asyncio.gather(*map(one, items)) if item]

    async def _page(self, wanted: Wanted, limit: int, after: str | None) -> Page:
        section, start_after = _decode(after) if after else (SECTIONS[0], "")
        items, folders, last = list[Holding](), dict[str, None](), ""
        for current in SECTIONS[SECTIONS.index(section) :]:
            if wanted.status in (None, current):
                async for item in holdings(self._buckets, wanted.owner, current, start_after, wanted.prefix):
                    folder = wanted.folder_of(item.filename)
                    if not (folder and folder in folders):
                        if len(items) + len(folders) == limit:
                            return Page(items, list(folders), last)
                        if folder:
                            folders[folder] = None
                        else:
                            items.append(item)
                    last = _encode(item)
            start_after = ""
        return Page(items, list(folders), None)


def _encode(last: Holding) -> str:
    return base64.urlsafe_b64encode(f"{last.section}:{last.filename}".encode()).decode()


def _decode(cursor: str) -> tuple[Section, str]:
    try:
        status, _, name = base64.urlsafe_b64decode(cursor.encode()).decode().partition(":")
        return SECTIONS[SECTIONS.index(status)], check_filename(name)
    except (binascii.Error, UnicodeError, ValueError, Problem):
        raise Problem(Kind.BAD_REQUEST, "The cursor in `after` is not one that this server gave.") from None
