"""Comparing files with the feed: a file in one request has no record that owes its outcome."""

from libs.common.storage import ObjectInfo
from libs.common.uploads.layout import FEED, FileId, entries_from, parse_entry_key, session_tag
from libs.common.uploads.ours import walk_ours
from libs.common.uploads.outcomes import About, completed, session_of
from libs.common.uploads.record import Unreadable
from libs.common.uploads.records import TOLD_LATE
from libs.common.uploads.tools import Tools

SETTLED = 600.0  # seconds; a file that is younger may be told at this moment
FRESH = 600.0  # seconds for which what was read of the feed serves


class Comparison:
    """Tells of young files that the feed does not tell of. A replica may have died after it had put the file, and the
    device never came back."""

    def __init__(self, tools: Tools) -> None:
        self._tools = tools
        self._told = set[str]()  # tags of the sessions whose files the feed tells
        self._now = 0.0  # the store's time when they were read
        self._read_at = float("-inf")  # and this process's clock

    async def visit(self, file: FileId, info: ObjectInfo) -> None:
        """Look at a file of a listing. Raises StoreUnavailable."""
        tools = self._tools
        if tools.clock.monotonic() - self._read_at > FRESH:
            await self._read()
        if not SETTLED < self._now - info.modified < TOLD_LATE:
            return
        done = await tools.records.file(file)
        if not done or session_tag(file, session_of(done)) in self._told:
            return
        try:
            seen = await tools.records.look(file)
        except Unreadable:
            return  # the sweep tells the operator
        again = await tools.records.file(file)  # it counts where no record is, and it is there still
        if not seen.etag and again and again.etag == done.etag and not seen.expired:
            await tools.tell(seen, completed(file, About.of(done), "/hiper/janitor"))

    async def _read(self) -> None:
        self._read_at = self._tools.clock.monotonic()
        self._now = (await self._tools.buckets.perm.list(FEED, limit=1)).fence.issued
        begin = entries_from(int((self._now - TOLD_LATE) * 1000))
        entries = walk_ours(self._tools.buckets.perm, FEED, parse_entry_key, begin)
        self._told = {key.session async for key, _ in entries if key.outcome == "complete"}
