"""Counting requests, bytes and failures in sliding windows, on a storage that may be away."""

import asyncio
import math
import time
from collections.abc import Awaitable, Callable
from typing import NamedTuple, TypeVar

import structlog
from limits import RateLimitItemPerSecond
from limits.aio.storage import Storage
from limits.aio.strategies import SlidingWindowCounterRateLimiter
from limits.errors import ConfigurationError as UnknownStorage
from limits.storage import storage_from_string

from libs.common.settings import ConfigurationError

T = TypeVar("T")
log: structlog.stdlib.BoundLogger = structlog.stdlib.get_logger(__name__)

PATIENCE = 0.5  # seconds that a request waits for the storage
PAUSE = 5.0  # seconds for which a storage that failed is not asked again
_SHARDS = 64  # at each hit the library walks through all keys of a storage in memory


class Window(NamedTuple):
    """At most `item.amount` of a unit (as in draft-ietf-httpapi-ratelimit-headers) in `item.multiples` seconds."""

    name: str
    unit: str
    item: RateLimitItemPerSecond

    @property
    def quota(self) -> int:
        return int(self.item.amount)

    @property
    def seconds(self) -> int:
        return int(self.item.get_expiry())


def window(name: str, unit: str, per_second: float, at_once: float) -> Window:
    """A window of whole seconds that keeps to the rate and lets `at_once` through."""
    seconds = max(1, math.ceil(at_once / per_second))
    return Window(name, unit, RateLimitItemPerSecond(max(1, int(per_second * seconds)), seconds, "hiper"))


class Left(NamedTuple):
    """What is left of a window, and the seconds until it is more."""

    remaining: int
    reset: float


class Rates:
    """The windows of all devices. While their storage is away nothing is limited: uploads do not depend on it."""

    def __init__(self, storage_uri: str) -> None:
        """Raises ConfigurationError for a storage that the `limits` library cannot open. Nothing is connected."""
        count = _SHARDS if storage_uri.startswith("memory:") else 1
        self._limiters = [SlidingWindowCounterRateLimiter(_storage(storage_uri)) for _ in range(count)]
        self._away_until = -math.inf  # seconds, monotonic

    async def take(self, window: Window, who: str, cost: int = 1) -> bool:
        """Count a cost, at most the window's quota. False: there is no room, and nothing is counted."""
        return await self._ask(lambda: self._limiter(who).hit(window.item, window.name, who, cost=cost), True)

    async def left(self, window: Window, who: str) -> Left:
        full = (time.time(), window.quota)
        reset, remaining = await self._ask(
            lambda: self._limiter(who).get_window_stats(window.item, window.name, who), full
        )
        return Left(int(remaining), max(0.0, reset - time.time()))

    def _limiter(self, who: str) -> SlidingWindowCounterRateLimiter:
        return self._limiters[hash(who) % len(self._limiters)]

    async def _ask(self, call: Callable[[], Awaitable[T]], otherwise: T) -> T:
        if time.monotonic() < self._away_until:
            return otherwise
        try:
            async with asyncio.timeout(PATIENCE):
                return await call()
        except Exception as error:  # whatever the client of a storage raises
            self._away_until = time.monotonic() + PAUSE
            log.warning("limits_storage_away", error=repr(error), effect=f"nothing is limited for {PAUSE:.0f} s")
            return otherwise


def _storage(uri: str) -> Storage:
    try:
        storage = storage_from_string(f"async+{uri}")
        assert isinstance(storage, Storage)  # noqa: S101  # what async+ means
        SlidingWindowCounterRateLimiter(storage)
    except (UnknownStorage, NotImplementedError, ValueError) as error:
        scheme = uri.partition(":")[0]
        reason = str(error).replace(uri, scheme)  # a URI may hold a password
        raise ConfigurationError(
            f"LIMITS_STORAGE_URI: {scheme!r} cannot be used ({reason}). Write memory://, or e.g. "
            "redis://redis:6379/0 with the library's extra installed: pip install 'limits[async-redis]'"
        ) from None
    return storage
