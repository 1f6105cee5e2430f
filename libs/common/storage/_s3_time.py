"""The store's clock, as far as its answers tell it."""

from collections.abc import Callable, Mapping
from email.utils import parsedate_to_datetime
from functools import lru_cache

import structlog

NOTICEABLE = 60.0  # seconds between two clocks
log = structlog.get_logger(__name__)


class StoreTime:
    """Requests are signed in the store's time, so that the clock of this machine need not be right."""

    def __init__(self, clock: Callable[[], float]) -> None:
        """`clock` is this machine's: seconds since the epoch."""
        self._clock = clock
        self._ahead = 0.0  # seconds; rounded down, so that no request comes from the store's future
        self._told = False

    def now(self) -> int:
        return int(self._clock() + self._ahead)

    def learn(self, headers: Mapping[str, str]) -> None:
        issued = answered_at(headers)
        if issued is None:
            return
        self._ahead = issued - self._clock()
        if abs(self._ahead) > NOTICEABLE and not self._told:
            self._told = True
            log.warning("the clocks of this machine and of the store differ", seconds=round(self._ahead))


def answered_at(headers: Mapping[str, str]) -> float | None:
    """The Date of an answer: whole seconds since the epoch, in the store's time, rounded down."""
    return _parsed(headers["Date"]) if "Date" in headers else None


@lru_cache(maxsize=64)
def _parsed(date: str) -> float:
    return parsedate_to_datetime(date).timestamp()
