"""What strangers see of a service: which port answers what, and what browsers and caches may do with it."""

import base64
import hashlib
import re
from typing import Any

import httpx
import pytest

from tests.unit.test_web import build, talking_to

API, METRICS = 8000, 9001
DOCUMENTED = {"/docs", "/openapi.json", "/static-offline-docs/swagger-ui.css"}


async def statuses(at: int, *paths: str, **values: Any) -> dict[str, int]:
    """How a service that listens on both ports answers at one of them."""
    transport = httpx.ASGITransport(_At(at, **values))
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
        return {path: (await client.get(path)).status_code for path in paths}


class _At:
    """The application, at a port of the machine; what the client calls the server does not count."""

    def __init__(self, at: int, **values: Any) -> None:
        self._app, self._port = build(**values), at

    async def __call__(self, scope, receive, send) -> None:  # type: ignore[no-untyped-def]
        await self._app({**scope, "server": ("10.0.0.7", self._port)}, receive, send)


async def test_metrics_leave_the_port_of_the_api_for_their_own_and_probes_are_at_both() -> None:
    asked = ("/livez", "/readyz", "/metrics", "/%6detrics", "/things/a", "/docs")
    values = {"port": API, "metrics_port": METRICS}
    there = {"/livez": 200, "/readyz": 200}
    assert await statuses(API, *asked, **values) == {
        **there, "/metrics": 404, "/%6detrics": 404, "/things/a": 200, "/docs": 200,
    }  # fmt: skip
    assert await statuses(METRICS, *asked, **values) == {
        **there, "/metrics": 200, "/%6detrics": 200, "/things/a": 404, "/docs": 404,
    }  # fmt: skip


@pytest.mark.parametrize("metrics_port", [None, 0, API])
async def test_without_a_port_of_their_own_metrics_are_where_the_api_is(metrics_port: int | None) -> None:
    found = await statuses(API, "/metrics", "/things/a", port=API, metrics_port=metrics_port)
    assert found == {"/metrics": 200, "/things/a": 200}


async def test_metrics_that_are_elsewhere_are_not_in_the_document() -> None:
    for port, named in ((None, True), (METRICS, False)):
        async with talking_to(build(metrics_port=port)) as client:
            assert ("/metrics" in (await client.get("/openapi.json")).json()["paths"]) is named


async def test_the_documentation_can_be_switched_off() -> None:
    assert set((await statuses(API, *DOCUMENTED)).values()) == {200}
    assert set((await statuses(API, *DOCUMENTED, docs_enabled=False)).values()) == {404}


async def test_the_page_runs_its_own_scripts_alone_and_no_other_page_may_frame_it() -> None:
    async with talking_to(build()) as client:
        page = await client.get("/docs")
    policy = dict(part.split(" ", 1) for part in page.headers["content-security-policy"].split("; "))
    assert (policy["default-src"], policy["frame-ancestors"]) == ("'none'", "'none'")
    assert "unsafe" not in str(policy)
    (inline,) = re.findall(r"<script>(.*?)</script>", page.text, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(inline.encode()).digest()).decode()
    assert policy["script-src"].split() == ["'self'", f"'sha256-{digest}'"]
    assert re.findall(r'(?:src|href)="(?!/)', page.text) == []  # nothing from elsewhere
    assert page.headers["x-frame-options"] == "DENY"


@pytest.mark.parametrize("path", ["/things/a", "/nowhere", "/fails/problem", "/fails/bug", "/openapi.json"])
async def test_no_cache_keeps_an_answer_in_json(path: str) -> None:
    async with talking_to(build()) as client:
        assert (await client.get(path)).headers["cache-control"] == "no-store"
