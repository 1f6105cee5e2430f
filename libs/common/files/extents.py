"""Interval algebra over the bytes of a file. Every range is half-open: start inclusive, end exclusive, in bytes."""

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator
from itertools import pairwise
from typing import NamedTuple


class Extent(NamedTuple):
    """The bytes [start, end) of a file."""

    start: int
    end: int

    @property
    def length(self) -> int:
        return self.end - self.start

    def overlaps(self, other: "Extent") -> bool:
        return self.start < other.end and other.start < self.end

    def intersection(self, other: "Extent") -> "Extent":
        """The bytes that both hold; empty (start == end) where they share none."""
        start = max(self.start, other.start)
        return Extent(start, max(start, min(self.end, other.end)))


class Extents:
    """A set of bytes, kept as sorted runs that neither overlap nor touch."""

    def __init__(self, extents: Iterable[Extent] = ()) -> None:
        self._starts: list[int] = []
        self._ends: list[int] = []
        for extent in extents:
            self.add(extent)

    def __iter__(self) -> Iterator[Extent]:
        return map(Extent, self._starts, self._ends)

    def __len__(self) -> int:
        """How many runs there are."""
        return len(self._starts)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Extents) and list(self) == list(other)

    __hash__ = None  # type: ignore[assignment]  # mutable, so unhashable: the data model spells it this way

    def __repr__(self) -> str:
        return f"Extents({[tuple(run) for run in self]})"

    def add(self, extent: Extent) -> None:
        """Add the bytes of an extent; an empty one adds nothing."""
        start, end = extent
        if start >= end:
            return
        first = bisect_left(self._ends, start)
        last = bisect_right(self._starts, end)
        if first < last:
            start = min(start, self._starts[first])
            end = max(end, self._ends[last - 1])
        self._starts[first:last] = [start]
        self._ends[first:last] = [end]

    def covers(self, extent: Extent) -> bool:
        """Whether every byte of the extent is in the set; an empty extent always is."""
        return extent.start >= extent.end or not self.missing(extent)

    def missing(self, extent: Extent) -> list[Extent]:
        """The runs of the extent's bytes that are not in the set, in order."""
        gaps, at = [], extent.start
        for i in range(bisect_right(self._ends, extent.start), len(self._starts)):
            if self._starts[i] >= extent.end:
                break
            if self._starts[i] > at:
                gaps.append(Extent(at, self._starts[i]))
            at = self._ends[i]
        if at < extent.end:
            gaps.append(Extent(at, extent.end))
        return gaps

    def prefix_end(self) -> int:
        """The length in bytes of the gap-free prefix: the first byte, from 0 on, that is not in the set."""
        return self._ends[0] if self._starts and self._starts[0] == 0 else 0

    def total(self) -> int:
        """How many bytes the set holds."""
        return sum(self._ends) - sum(self._starts)


def split(extent: Extent, size: int) -> list[Extent]:
    """Cut an extent at every multiple of `size` bytes."""
    cuts = [extent.start, *range((extent.start // size + 1) * size, extent.end, size), extent.end]
    return [Extent(a, b) for a, b in pairwise(cuts) if a < b]
