"""Places in the feed, and the cursors by which readers name them."""

import base64
import binascii
import hashlib
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from libs.common.problems import Kind, Problem
from libs.common.uploads.layout import FEED, entries_from, parse_entry_key

_CHECK = 4  # bytes of a digest that tell a cursor from other text


@dataclass(frozen=True, order=True)
class Position:
    """Behind the entry with this key; or, where `key` is that of no entry, before every entry of its time or later.
    Positions are in the order of the feed."""

    key: str

    @classmethod
    def at(cls, time: float) -> "Position":
        """Before every entry of `time` (seconds since the epoch, by the store's clock) or later."""
        return cls(entries_from(int(time * 1000)))

    @property
    def time(self) -> float:
        """Seconds since the epoch, by the store's clock."""
        return _milliseconds(self.key) / 1000

    @property
    def cursor(self) -> str:
        """As readers see it: ASCII that needs no quoting in a query."""
        text = self.key.removeprefix(FEED).encode()
        return base64.urlsafe_b64encode(_check(text) + text).rstrip(b"=").decode()

    @classmethod
    def parse(cls, cursor: str) -> "Position":
        """Raises BAD_REQUEST for a cursor that this module does not make."""
        try:
            data = base64.urlsafe_b64decode(cursor.encode("ascii") + b"=" * (-len(cursor) % 4))
            check, text = data[:_CHECK], data[_CHECK:]
            position = cls(FEED + text.decode("ascii"))
            if check == _check(text) and position.cursor == cursor and _milliseconds(position.key) >= 0:
                return position
        except (binascii.Error, UnicodeError, ValueError):
            pass
        raise Problem(Kind.BAD_REQUEST, "The cursor in `after` or `Last-Event-ID` is not one that the feed gave.")


def oldest_kept(now: float, days: int) -> Position:
    """Where the feed begins at `now` (seconds since the epoch, by the store's clock): with a whole day, `days` days
    before today."""
    midnight = datetime.fromtimestamp(now, UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    return Position.at((midnight - timedelta(days=days)).timestamp())


def _milliseconds(key: str) -> int:
    """Raises ForeignKey."""
    time = key.rpartition("/")[2]
    if time.isdecimal() and len(time) == 13 and entries_from(int(time)) == key:
        return int(time)
    return parse_entry_key(key).time


def _check(text: bytes) -> bytes:
    return hashlib.sha256(b"hiper feed cursor " + text).digest()[:_CHECK]
