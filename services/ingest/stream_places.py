"""How many streams and waits may be open."""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from libs.common.problems import Kind, Problem, later
from services.ingest.metrics import STREAMS


@dataclass
class StreamPlaces:
    """The places of streams and waits in this process: `most` in all, `most_of_one` for one token's subject; 0 means no
    limit."""

    most: int
    most_of_one: int
    _of: Counter[str] = field(default_factory=Counter)
    _all: int = 0

    @contextmanager
    def taken(self, who: str, manner: str) -> Iterator[None]:
        """Raises TOO_MANY_REQUESTS."""
        if self.most_of_one and self._of[who] >= self.most_of_one:
            raise _too_many(f"This device has {self.most_of_one} streams and waits open, which is its share.")
        if self.most and self._all >= self.most:
            raise _too_many(f"This server has {self.most} streams and waits open, which is all that it takes.")
        self._of[who] += 1
        self._all += 1
        try:
            with STREAMS.labels(manner).track_inprogress():
                yield
        finally:
            self._all -= 1
            self._of[who] -= 1
            if not self._of[who]:
                del self._of[who]


def _too_many(detail: str) -> Problem:
    return Problem(
        Kind.TOO_MANY_REQUESTS, f"{detail} Close one, or try again later.", headers=later(5), limit="streams"
    )
