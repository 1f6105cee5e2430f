"""What the metrics of this process say, and by how much a test moved them."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from prometheus_client import REGISTRY


def value(name: str, **labels: str) -> float:
    """A sample as Prometheus would store it; 0 where there is none yet."""
    return REGISTRY.get_sample_value(name, labels) or 0.0


@dataclass
class Growth:
    """Filled when the block of `growth` has ended."""

    by: float = 0.0


@contextmanager
def growth(name: str, **labels: str) -> Iterator[Growth]:
    """By how much a sample grew in the block."""
    before, found = value(name, **labels), Growth()
    yield found
    found.by = value(name, **labels) - before
