"""The uploads that `hiper top` shows, those in trouble first."""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from libs.client.models_fleet import FleetChange, UploadEntry

FORGET = 30.0  # seconds in which the rate of a silent upload falls to 37 %, as in the server's own average
MOVES = 1.0  # bytes per second, at least, of an upload that goes on
Name = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Row:
    """An upload. `at`: when the server told of it, in seconds by the clock of this command."""

    upload: UploadEntry
    at: float

    def rate(self, now: float) -> float:
        """Bytes per second."""
        return self.upload.rate * math.exp(-max(0.0, now - self.at) / FORGET)

    def left(self, now: float) -> float | None:
        """Seconds until every byte is there, at this rate; None where that cannot be said."""
        upload, rate = self.upload, self.rate(now)
        if upload.total_size is None or rate < MOVES:
            return None
        return (upload.total_size - upload.received_bytes) / rate

    def trouble(self, now: float) -> tuple[int, float]:
        """Less is worse: stuck uploads, those that wait, those that are parked, the others; of the first three kinds
        those that rest longest, of the others the slow ones."""
        upload, rate = self.upload, self.rate(now)
        if upload.stuck:
            return 0, upload.last_updated.timestamp()
        if upload.status == "partial":
            return 2, upload.last_updated.timestamp()
        return (3, rate) if rate >= MOVES else (1, upload.last_updated.timestamp())


@dataclass(frozen=True, slots=True)
class Totals:
    """How many uploads there are, how many of them are stuck or wait, and the bytes per second of all."""

    uploads: int
    stuck: int
    waiting: int
    rate: float


class View:
    """What is known of the uploads. `as_of` and `live`: see FleetChange."""

    def __init__(self) -> None:
        self.as_of: datetime | None = None
        self.live = False
        self.is_whole = False  # whether a list came to its end
        self._rows: dict[Name, Row] = {}
        self._listed: set[Name] | None = None  # of the list that is being told

    def take(self, change: FleetChange, at: float) -> None:
        """Take a change over. `at`: when it came, in seconds by the clock of this command."""
        if change.upload:
            self._take(change.change, change.upload, at)
            return
        self.as_of, self.live = change.as_of, change.live
        if change.change == "list":
            self._listed = set()
        else:
            self._end_list()

    def _take(self, kind: str, upload: UploadEntry, at: float) -> None:
        name = upload.owner, upload.filename
        if kind == "removed":
            self._rows.pop(name, None)
            return
        self._rows[name] = Row(upload, at)
        if self._listed is not None:
            self._listed.add(name)

    def _end_list(self) -> None:
        if self._listed is not None:
            self._rows = {name: row for name, row in self._rows.items() if name in self._listed}
            self._listed = None
        self.is_whole = True

    def sorted(self, now: float) -> list[Row]:
        """Worst first."""
        return in_trouble_first(self._rows.values(), now)

    def totals(self, now: float) -> Totals:
        kinds = [row.trouble(now)[0] for row in self._rows.values()]
        rate = sum(row.rate(now) for row in self._rows.values())
        return Totals(len(kinds), kinds.count(0), kinds.count(1), rate)


def in_trouble_first(rows: Iterable[Row], now: float) -> list[Row]:
    return sorted(rows, key=lambda row: row.trouble(now))
