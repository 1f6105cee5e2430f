"""Deleting everything that an owner has: each upload and file by the protocol's own cancel."""

import asyncio
import base64
import binascii
from collections.abc import Iterable
from dataclasses import dataclass

from libs.common.files.names import check_filename
from libs.common.files.pins import NO_PIN
from libs.common.problems import Kind, Problem
from libs.common.uploads.cancelling import Ended, end, settle
from libs.common.uploads.holdings import SECTIONS, Holding, Section, holdings
from libs.common.uploads.layout import FileId
from libs.common.uploads.tools import Tools

_AT_ONCE = 16  # names that are marked at the same time


@dataclass(frozen=True)
class Cursor:
    """Where a purge goes on. `before`: it spares what is newer, in seconds since the epoch by the store's clock."""

    before: float
    section: Section = SECTIONS[0]
    after: str = ""

    def encoded(self) -> str:
        return base64.urlsafe_b64encode(f"{self.before}:{self.section}:{self.after}".encode()).decode()

    @classmethod
    def decoded(cls, text: str) -> "Cursor":
        """Raises BAD_REQUEST for a cursor that this server did not give."""
        try:
            before, section, name = base64.urlsafe_b64decode(text.encode()).decode().split(":", 2)
            return cls(float(before), SECTIONS[SECTIONS.index(section)], check_filename(name))
        except (binascii.Error, UnicodeError, ValueError, Problem):
            raise Problem(Kind.BAD_REQUEST, "The cursor in `after` is not one that this server gave.") from None


@dataclass(frozen=True)
class Purged:
    """A page of what went, or would go. `next`: where to go on, None at the end."""

    holdings: list[Holding]
    next: Cursor | None


class Purger:
    """A purge that was broken off is begun again: what it marked stays marked, and what it did not is found anew."""

    def __init__(self, tools: Tools) -> None:
        self._tools = tools

    async def purge(self, owner: str, start: Cursor, limit: int, *, dry_run: bool) -> Purged:
        """Cancel at most `limit` uploads and files of the owner, those that were there at `start.before`; with
        `dry_run` only say which. From the answer on no chunk of them is acknowledged; the assembler deletes them
        within seconds. Raises StoreUnavailable."""
        page = await self._page(owner, start, limit)
        if not dry_run:
            await self._cancel(owner, {holding.filename for holding in page.holdings})
        return page

    async def _page(self, owner: str, start: Cursor, limit: int) -> Purged:
        found: list[Holding] = []
        after = start.after
        for section in SECTIONS[SECTIONS.index(start.section) :]:
            async for holding in holdings(self._tools.buckets, owner, section, after):
                if holding.since > start.before:
                    continue
                if len(found) == limit:
                    return Purged(found, Cursor(start.before, found[-1].section, found[-1].filename))
                found.append(holding)
            after = ""
        return Purged(found, None)

    async def _cancel(self, owner: str, names: Iterable[str]) -> None:
        turns = asyncio.Semaphore(_AT_ONCE)

        async def one(name: str) -> Ended:
            async with turns:
                return await end(self._tools, FileId(owner, name), NO_PIN)

        done = await asyncio.gather(*map(one, names), return_exceptions=True)
        for ended in done:  # the first waits a lease, the others have waited meanwhile
            if isinstance(ended, Ended):
                await settle(self._tools, ended)
        for ended in done:
            if isinstance(ended, BaseException):
                raise ended
