"""How large the next chunk is, and which bytes it holds."""

import heapq
import sys
from collections.abc import Iterable

from libs.common.files.extents import Extent

LEAST = 64 * 1024  # bytes
FIRST = 2**20  # bytes: small enough that a slow link gets it through before the server's deadline
FAST = 20.0  # seconds: a chunk that took less lets the next one be twice as large
SLOW = 60.0  # seconds: a chunk that took more halves the next one


class Ceiling:
    """The most bytes in one request that the server and all proxies take, as far as their 413 said: for all files."""

    def __init__(self) -> None:
        self.most = sys.maxsize

    def refused(self, length: int, least: int) -> bool:
        """Note that a chunk of `length` bytes got 413. False: none of less than `least` bytes is tried."""
        if length <= least:
            return False
        self.most = min(self.most, max(least, length // 2))
        return True


class Pacing:
    """The chunk size on this link: doubled by fast chunks, up to `largest` bytes; halved by every failure and by
    slow ones, so that a link that breaks every few seconds still gets something through."""

    def __init__(self, largest: int, ceiling: Ceiling | None = None) -> None:
        self._chosen = largest
        self._ceiling = ceiling or Ceiling()
        self._least = min(LEAST, largest)
        self.size = min(FIRST, self._largest)

    @property
    def _largest(self) -> int:
        return min(self._chosen, self._ceiling.most)

    def succeeded(self, seconds: float) -> None:
        if seconds > SLOW:
            self.failed()
        elif seconds < FAST:
            self.size = min(self._largest, self.size * 2)

    def failed(self) -> None:
        self.size = max(self._least, self.size // 2)

    def too_large(self, length: int) -> bool:
        """A chunk of `length` bytes got 413, from the server or from a proxy: no later one is larger than half of it.
        False: it was as small as chunks get (64 KiB, or less where less was chosen)."""
        smaller = self._ceiling.refused(length, self._least)
        self.size = min(self.size, self._largest)
        return smaller


class Remaining:
    """The bytes that nobody has taken yet, lowest first. An empty extent is a chunk too (that of an empty file)."""

    def __init__(self, missing: Iterable[Extent]) -> None:
        self._heap = list(missing)
        heapq.heapify(self._heap)

    def __bool__(self) -> bool:
        return bool(self._heap)

    def take(self, size: int) -> Extent | None:
        """The next chunk, cut at multiples of `size` bytes, so that it rarely crosses a part boundary."""
        if not self._heap:
            return None
        start, end = heapq.heappop(self._heap)
        cut = min(end, (start // size + 1) * size)
        if cut < end:
            heapq.heappush(self._heap, Extent(cut, end))
        return Extent(start, cut)

    def put_back(self, extent: Extent) -> None:
        heapq.heappush(self._heap, extent)
