"""All uploads in progress as one replica shows them: the last table, and what was heard since."""

import asyncio
from bisect import bisect_left, bisect_right, insort
from collections import deque
from collections.abc import AsyncIterator, Iterable
from itertools import takewhile
from typing import Literal, NamedTuple

from libs.common.bus.events import Event
from libs.common.fleet.filters import Filter
from libs.common.fleet.hearing import ended_by, heard
from libs.common.fleet.rows import UploadRow
from libs.common.uploads.layout import FileId

# Seconds that an event may take to arrive, with the skew of the store's clocks. A table holds every change whose event
# came longer before its look.
MARGIN = 5.0
SLICE = 500  # rows that are handled before others get their turn: some milliseconds
KEPT = 50_000  # changes that a reader may be behind

ChangeKind = Literal["added", "changed", "removed"]


class Change(NamedTuple):
    """A row before and after; None where there is none. `was_stuck` and `is_stuck`: likewise."""

    number: int
    file: FileId
    before: UploadRow | None
    was_stuck: bool
    after: UploadRow | None
    is_stuck: bool


class Live:
    """Rows by name and in the order of names, and the last changes in the order in which they came. It is used by one
    event loop, and whatever goes through all rows lets others have their turn.

    Times are in seconds since the epoch by the store's clock; `stuck_after` in seconds."""

    def __init__(self, stuck_after: float) -> None:
        self.number = 0  # of the last change
        self.as_of: float | None = None  # when the look of the last table began
        self._stuck_after = stuck_after
        self._rows: dict[FileId, UploadRow] = {}
        self._order: list[FileId] = []
        self._heard: dict[FileId, float] = {}  # when an event last told of the row
        self._ended: dict[str, float] = {}  # sessions that are over, and when that was heard
        self._changes: deque[Change] = deque(maxlen=KEPT)
        self._aged_at = 0.0

    def __len__(self) -> int:
        return len(self._rows)

    def is_stuck(self, row: UploadRow | None, now: float) -> bool:
        return row is not None and row.is_stuck(now, self._stuck_after)

    # -- what comes in

    def hear(self, event: Event, now: float) -> None:
        """An event came at `now`."""
        if session := ended_by(event):
            self._ended[session] = now
        file = event.data.file
        known = self._rows.get(file)
        after = heard(event, known, now, self._ended)
        if after is not known:
            if known and after and known.session != after.session:
                self._ended[known.session] = now
            self._heard[file] = now
            self._set(file, after, now)

    async def replace(self, at: float, rows: Iterable[UploadRow], now: float) -> None:
        """Take over a table whose look began at `at`. What was heard since then is kept."""
        self._heard = {file: when for file, when in self._heard.items() if when >= at - MARGIN}
        self._ended = {session: when for session, when in self._ended.items() if when >= at - MARGIN}
        listed = set[FileId]()
        for count, row in enumerate(rows, 1):
            listed.add(row.file)
            self._take(row, now)
            if count % SLICE == 0:
                await asyncio.sleep(0)
        gone = [file for file in self._rows if file not in listed and file not in self._heard]
        for count, file in enumerate(gone, 1):
            if file not in self._heard:
                self._set(file, None, now)
            if count % SLICE == 0:
                await asyncio.sleep(0)
        self.as_of = at

    def _take(self, row: UploadRow, now: float) -> None:
        """A row of a table, unless something later was heard of it."""
        if row.session in self._ended:
            return
        known = self._rows.get(row.file)
        if known and row.file in self._heard:
            if known.session != row.session:
                return
            row = row._replace(
                received_bytes=max(row.received_bytes, known.received_bytes),
                next_expected_byte=max(row.next_expected_byte, known.next_expected_byte),
                last_updated=max(row.last_updated, known.last_updated),
                total_size=known.total_size if row.total_size is None else row.total_size,
                parked=known.parked,
                rate=known.rate,
            )
        self._set(row.file, row, now)

    def _set(self, file: FileId, after: UploadRow | None, now: float) -> None:
        before = self._rows.get(file)
        if after is None:
            if before is None:
                return
            del self._rows[file], self._order[bisect_left(self._order, file)]
        else:
            self._rows[file] = after
            if before is None:
                insort(self._order, file)
            elif after.same_but_rate(before):
                return
        self._note(file, before, self.is_stuck(before, now), after, self.is_stuck(after, now))

    def _note(
        self, file: FileId, before: UploadRow | None, was_stuck: bool, after: UploadRow | None, is_stuck: bool
    ) -> None:
        self.number += 1
        self._changes.append(Change(self.number, file, before, was_stuck, after, is_stuck))

    async def age(self, now: float) -> None:
        """Note which uploads became stuck since the last call: time alone does that."""
        then, self._aged_at = self._aged_at, now
        for count, file in enumerate(list(self._order), 1):
            row = self._rows.get(file)
            if row and self.is_stuck(row, now) and not self.is_stuck(row, then):
                self._note(file, row, False, row, True)
            if count % SLICE == 0:
                await asyncio.sleep(0)

    # -- what is shown

    async def matching(self, wanted: Filter, after: FileId | None, now: float) -> AsyncIterator[UploadRow]:
        """The rows that match, in the order of names, beyond `after`."""
        at = bisect_right(self._order, after) if after else self._first(wanted)
        count = 0
        while at < len(self._order):
            file = self._order[at]
            if wanted.owner and file.owner != wanted.owner:
                return
            row = self._rows[file]
            if wanted.matches(row, stuck=self.is_stuck(row, now)):
                yield row
            at, count = at + 1, count + 1
            if count % SLICE == 0:
                await asyncio.sleep(0)
            if at > len(self._order) or self._order[at - 1] != file:
                at = bisect_right(self._order, file)

    def _first(self, wanted: Filter) -> int:
        if not wanted.owner:
            return 0
        return bisect_left(self._order, FileId(wanted.owner, wanted.prefix))

    def changes(self, since: int, wanted: Filter) -> list[tuple[ChangeKind, UploadRow]] | None:
        """What became of the matching rows after change number `since`, one change for each upload; None where that is
        so long ago that the changes are forgotten."""
        if since > self.number or (self._changes and since < self._changes[0].number - 1):
            return None
        newest = takewhile(lambda change: change.number > since, reversed(self._changes))
        spans: dict[FileId, tuple[Change, Change]] = {}  # the first and the last change of each
        for change in newest:
            spans[change.file] = change, spans.get(change.file, (change, change))[1]
        found: list[tuple[ChangeKind, UploadRow]] = []
        for first, last in reversed(spans.values()):
            did = wanted.matches(first.before, stuck=first.was_stuck)
            if last.after and wanted.matches(last.after, stuck=last.is_stuck):
                found.append(("changed" if did else "added", last.after))
            elif did and first.before:
                found.append(("removed", last.after or first.before))
        return found
