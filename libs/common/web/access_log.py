"""The access log: one line for each request that is answered, or for a part of them."""

import random
from time import perf_counter

import structlog
from prometheus_client import Counter

log: structlog.stdlib.BoundLogger = structlog.stdlib.get_logger(__name__)

PROBES = {"/livez", "/readyz", "/metrics"}
FAILED = 400  # statuses from here on are always logged
SPENT = Counter("hiper_access_log_seconds", "Seconds for which lines of the access log held the process up.")


class AccessLog:
    """`ratio`: how many of the requests that succeed have a line, 0 to 1."""

    def __init__(self, ratio: float) -> None:
        self._ratio = ratio
        self._random = random.Random()  # noqa: S311  # a sample, not a secret

    def write(self, method: str, route: str, status: int, seconds: float) -> None:
        """`seconds`: how long the request took."""
        if status < FAILED and self._random.random() >= self._ratio:
            return
        began = perf_counter()
        write = log.debug if route in PROBES else log.info
        write("request", method=method, route=route, status=status, duration_ms=round(seconds * 1000, 1))
        SPENT.inc(perf_counter() - began)
