"""Measures how long something takes, into a histogram, at a microsecond or two each; gauges that say nothing yet."""

from collections.abc import Iterable
from math import isnan, nan
from time import perf_counter
from types import TracebackType
from typing import Self

from prometheus_client import Gauge, Histogram, Metric

from libs.common.observability.tracing import span


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


class LateGauge(Gauge):
    """A gauge without a series until it is set: 0 would be a claim, and of a time it would be the year 1970."""

    def __init__(self, name: str, documentation: str) -> None:
        super().__init__(name, documentation)
        self.set(nan)

    def collect(self) -> Iterable[Metric]:
        for family in super().collect():
            family.samples = [sample for sample in family.samples if not isnan(sample.value)]
            yield family
