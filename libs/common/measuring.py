"""Measures how long something takes, into a histogram, at a microsecond or two each."""

from time import perf_counter
from types import TracebackType
from typing import Self

from prometheus_client import Histogram

from libs.common.tracing import span


class Measured:
    """A block of code: its seconds, and a span of it where spans are recorded."""

    __slots__ = ("_began", "_histogram", "_span")

    def __init__(self, histogram: Histogram, name: str) -> None:
        self._histogram = histogram
        self._span = span(name)

    def __enter__(self) -> Self:
        self._span.__enter__()
        self._began = perf_counter()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._histogram.observe(perf_counter() - self._began)
        self._span.__exit__(kind, error, trace)
