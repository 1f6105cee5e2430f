"""What a client can send costs no more than its length is worth: three times as long, three times the work."""

import time
from collections.abc import AsyncIterator, Callable
from itertools import product
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote

import httpx
import pytest
from prometheus_client import CollectorRegistry

from libs.common.security.certificates import FORWARDED
from libs.common.storage.filesystem import FilesystemStore
from libs.common.uploads.layout import FileId, file_key
from services.auth.app import build_app as build_auth
from services.embedded.app import build_app
from services.ingest.app import build_app as build_ingest
from tests.unit.ingest.running import OWNER, make_settings, token_for

pytestmark = pytest.mark.no_cover  # other tests reach the same lines; to trace these takes twice their time

SHORT, LONG = 10_000, 30_000  # bytes
CHEAP = 0.05  # seconds of processor time for which nobody looks closer: a quadratic search of 30 kB takes 0.3 and more
RATIO = 6  # of LONG to SHORT: 3 is linear, 9 is quadratic
BEFORE = ("", "bytes=", "bytes ", "Bearer ", "Basic ", "a/", "sha-256=:", "CN=", 'Subject="', '"')
AGAIN = (" ", "0", "a", "-", ",", ", ", "=", ":", ";", '"', '\\"', "/", ".", "0-1,", "a=b,", 'W/"a",', ';Subject="')
WORST = list(product(BEFORE, AGAIN, ("", "x")))
IN_ADDRESS = list(product(("",), AGAIN, ("x",)))
EVERYWHERE = ("Authorization", "Accept", "Content-Type", "Cookie", "traceparent", "X-Request-Id", "X-Forwarded-For")


class Input(NamedTuple):
    """A place for what a client sends: a header or a parameter of a route."""

    method: str
    path: str
    where: str
    name: str


def inputs() -> list[Input]:
    """Every parameter that the documents of the services name, and the headers that are read for every route."""
    found = [Input("POST", "/upload", "header", name) for name in (*EVERYWHERE, FORWARDED)]
    found += [Input("POST", "/token", "header", name) for name in EVERYWHERE]
    found += [Input("GET", "/metrics", "header", "Accept")]
    for build in (build_auth, build_ingest):
        paths = build(make_settings(Path("/nonexistent"))).openapi()["paths"]
        for path, methods in paths.items():
            for method, operation in methods.items():
                for each in operation.get("parameters", ()):
                    found.append(Input(method.upper(), path, each["in"], each["name"]))
    return found


@pytest.fixture
async def http(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[httpx.AsyncClient]:
    """All services in this process, with a complete file `f`, and without the thousands of series that earlier tests
    left: to write them at each request would take minutes, and hide the cost of a header."""
    monkeypatch.setattr("libs.common.web.probes.REGISTRY", CollectorRegistry())
    settings = make_settings(tmp_path, client_cert_header=FORWARDED)
    app = build_app(settings)
    async with app.router.lifespan_context(app):
        store = FilesystemStore(settings.perm_upload_dir)
        await store.put(file_key(FileId(OWNER, "f")), b"content", metadata={"session": "7-a"})
        await store.close()
        transport = httpx.ASGITransport(app, raise_app_exceptions=False)
        token = token_for(settings, scopes="files:read files:write admin")
        headers = {"Authorization": f"Bearer {token}", FORWARDED: f'Subject="CN={OWNER}"'}
        async with httpx.AsyncClient(transport=transport, base_url="http://x", headers=headers) as client:
            yield client


def request(http: httpx.AsyncClient, place: Input, value: str) -> httpx.Request:
    path, query, headers = place.path, {"filename": "f", "total_size": "7"}, {}
    if place.where == "path":
        path = path.replace(f"{{{place.name}}}", quote(value, safe=""))
    elif place.where == "query":
        query[place.name] = value
    else:
        headers[place.name] = value
    path = path.replace("{filename}", "f").replace("{device_id}", "car")
    params = query if place.where == "query" or path == "/upload" else None
    return http.build_request(place.method, path, params=params, headers=headers, content=b"")


async def work(http: httpx.AsyncClient, make: Callable[[], httpx.Request], enough: float) -> float:
    """Seconds of processor time of this thread, the least of three; fewer where one took less than enough."""
    seconds: list[float] = []
    while len(seconds) < 3 and not (seconds and min(seconds) < enough):
        sent = make()
        began = time.thread_time()
        answer = await http.send(sent)
        seconds.append(time.thread_time() - began)
        assert answer.status_code != 500, answer.text
    return min(seconds)


@pytest.mark.parametrize("place", inputs(), ids=lambda place: "-".join(place))
async def test_no_input_costs_more_than_its_length(http: httpx.AsyncClient, place: Input) -> None:
    share = 1 if place.where == "header" else 3  # of an address: its bytes are percent-encoded
    for before, again, after in WORST if place.where == "header" else IN_ADDRESS:
        costs = []
        for size in (LONG, SHORT):
            value = before + again * (size // share // len(again)) + after
            costs.append(await work(http, lambda value=value: request(http, place, value), CHEAP))  # type: ignore[misc]
            if costs[0] < CHEAP:
                break
        else:
            assert costs[0] < RATIO * costs[1], (place, before, again, after)
