"""The access log costs something: the operator sees how much, and may keep a part of it."""

import pytest
from prometheus_client import REGISTRY
from structlog.testing import capture_logs

from tests.unit.test_web import build, talking_to

REQUESTS = 300


async def statuses_logged(ratio: float, *paths: str) -> list[int]:
    """The statuses of the lines for so many requests of each path."""
    with capture_logs() as logs:
        async with talking_to(build(access_log_ratio=ratio)) as client:
            for path in paths * REQUESTS:
                await client.get(path)
    return [line["status"] for line in logs if line["event"] == "request"]


@pytest.mark.parametrize(("ratio", "least", "most"), [(0, 0, 0), (0.5, 90, 210), (1, 300, 300)])
async def test_so_many_of_the_requests_that_succeed_are_logged(ratio: float, least: int, most: int) -> None:
    assert least <= len(await statuses_logged(ratio, "/things/a")) <= most


async def test_a_request_that_fails_is_always_logged() -> None:
    assert await statuses_logged(0, "/nowhere", "/fails/problem", "/things/a") == [404, 503] * REQUESTS


async def test_the_time_that_lines_take_is_counted() -> None:
    def spent() -> float:
        return REGISTRY.get_sample_value("hiper_access_log_seconds_total") or 0.0

    before = spent()
    await statuses_logged(0, "/things/a")
    assert spent() == before
    await statuses_logged(1, "/things/a")
    assert spent() > before
