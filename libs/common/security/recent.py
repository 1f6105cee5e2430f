"""What was worked out a moment ago and still holds."""

import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Generic, TypeVar

V = TypeVar("V")


class Recent(Generic[V]):
    """Values of the last `seconds`, at most `limit` of them: the oldest are forgotten first."""

    def __init__(self, seconds: float, limit: int, now: Callable[[], float] = time.monotonic) -> None:
        self._seconds = seconds
        self._limit = limit
        self._now = now
        self._values: OrderedDict[str, tuple[float, V]] = OrderedDict()

    def get(self, key: str) -> V | None:
        since, value = self._values.get(key, (float("-inf"), None))
        return value if self._now() - since < self._seconds else None

    def put(self, key: str, value: V) -> None:
        self._values.pop(key, None)
        self._values[key] = (self._now(), value)
        if len(self._values) > self._limit:
            self._values.popitem(last=False)
