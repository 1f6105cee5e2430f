"""/webhooks: operators make them, see how they go, try them, and delete them."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from libs.common.clock import SystemClock
from libs.common.feed import reading, tail
from libs.common.feed.writing import FeedWriter
from libs.common.settings import Settings
from libs.common.storage.filesystem import FilesystemStore
from libs.common.uploads.layout import FileId
from libs.common.uploads.outcomes import deleted
from libs.common.webhooks import delivering, notifier
from tests.unit.ingest.running import make_settings, token_for
from tests.unit.ingest.talk import until
from tests.unit.trail import audited
from tests.webhooks.receiver import Receiver, receiving


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "CLOSED_AFTER", 0.2)
    monkeypatch.setattr(tail, "EACH", 0.02)
    monkeypatch.setattr(delivering, "LOOK", 0.05)
    monkeypatch.setattr(notifier, "LOOK", 0.05)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return make_settings(tmp_path, webhook_networks="127.0.0.0/8", webhook_http=True)


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    async with receiving() as opened:
        yield opened


class Operator:
    def __init__(self, http: httpx.AsyncClient, settings: Settings, scopes: str = "fleet:manage") -> None:
        self._http = http
        self._headers = {"Authorization": f"Bearer {token_for(settings, 'operator', scopes)}"}

    async def ask(self, method: str, path: str = "", **body: Any) -> httpx.Response:
        content = json.dumps(body).encode() if body else None
        return await self._http.request(method, f"/webhooks{path}", content=content, headers=self._headers)

    async def make(self, **body: Any) -> dict[str, Any]:
        answer = await self.ask("POST", **body)
        assert answer.status_code == 201, answer.text
        made: dict[str, Any] = answer.json()
        return made


@pytest.fixture
def operator(http: httpx.AsyncClient, settings: Settings) -> Operator:
    return Operator(http, settings)


async def test_a_webhook_gets_what_comes_after_it_was_made(
    operator: Operator, receiver: Receiver, settings: Settings
) -> None:
    store = FilesystemStore(settings.perm_upload_dir)
    writer = FeedWriter(store, SystemClock())
    await writer.put(deleted(FileId("car-7", "before"), "a" * 16, "/hiper/ingest"))
    await asyncio.sleep(0.1)
    made = await operator.make(url=receiver.url)
    await asyncio.sleep(0.1)
    await writer.put(deleted(FileId("car-7", "after"), "b" * 16, "/hiper/ingest"))
    await store.close()
    await until(lambda: receiver.accepted == ["b" * 16 + ".deleted"])
    await asyncio.sleep(1.5)
    now = (await operator.ask("GET", f"/{made['webhook']['id']}")).json()
    assert (now["last_status"], now["failing_since"], now["state"]) == (204, None, "active")
    assert now["cursor"] != made["webhook"]["cursor"]


async def test_the_secret_is_told_once(operator: Operator, receiver: Receiver) -> None:
    made = await operator.make(url=receiver.url)
    assert made["secret"].startswith("whsec_")
    shown = [await operator.ask("GET"), await operator.ask("GET", f"/{made['webhook']['id']}")]
    assert shown[0].json()["webhooks"] == [shown[1].json()]
    assert all(made["secret"] not in answer.text for answer in shown)


async def test_a_test_call_says_what_came_of_it(operator: Operator, receiver: Receiver) -> None:
    made = (await operator.make(url=receiver.url))["webhook"]
    receiver.answer = lambda n: (418, {})
    asked = await operator.ask("POST", f"/{made['id']}/test")
    assert (asked.status_code, asked.json()["test"]["pending"]) == (202, True)
    await until(lambda: bool(receiver.got))
    await asyncio.sleep(0.3)
    test = (await operator.ask("GET", f"/{made['id']}")).json()["test"]
    assert (test["pending"], test["status"], test["error"]) == (False, 418, "answered 418")


async def test_a_deleted_webhook_is_not_found(operator: Operator, receiver: Receiver) -> None:
    made = (await operator.make(url=receiver.url))["webhook"]
    assert (await operator.ask("DELETE", f"/{made['id']}")).status_code == 204
    for method, path in (("GET", ""), ("DELETE", ""), ("POST", "/test")):
        answer = await operator.ask(method, f"/{made['id']}{path}")
        assert (answer.status_code, answer.json()["type"]) == (404, "urn:hiper:problem:webhook-not-found")


@pytest.mark.parametrize("name", ["x", "..", "%2e%2e", "a" * 5000, "0" * 16, "=notifier", "a.json"])
async def test_an_id_that_is_none_is_not_found(operator: Operator, name: str) -> None:
    assert (await operator.ask("GET", f"/{name}")).status_code in (404, 405)


@pytest.mark.parametrize(
    "body",
    [
        {"url": "http://10.0.0.1/"},
        {"url": "https://169.254.169.254/latest/meta-data"},
        {"url": "https://2130706433/"},
        {"url": "https://user:pw@example.com/"},
        {"url": 7},
        {"url": "https://example.com/" + "a" * 3000},
        {"url": "https://example.com/", "outcomes": ["finished"]},
        {"url": "https://example.com/", "outcomes": "complete"},
        {"url": "https://example.com/", "owner": "../x"},
        {"url": "https://example.com/", "after": "AAAA"},
        {"url": "https://example.com/", "secret": "mine"},
        {"outcomes": []},
    ],
)
async def test_what_cannot_be_a_webhook_is_refused(operator: Operator, body: dict[str, Any]) -> None:
    answer = await operator.ask("POST", **body)
    assert (answer.status_code, answer.json()["type"]) == (400, "urn:hiper:problem:bad-request")
    assert (await operator.ask("GET")).json() == {"webhooks": []}


async def test_a_body_that_is_too_large_is_refused(operator: Operator) -> None:
    assert (await operator.ask("POST", url="https://example.com/", owner="a" * 10_000)).status_code == 413


async def test_there_is_a_most(operator: Operator, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("services.ingest.routes_webhooks.MOST", 2)
    for _ in range(2):
        await operator.make(url="https://example.com/")
    assert (await operator.ask("POST", url="https://example.com/")).status_code == 400


@pytest.mark.parametrize("scopes", ["files:read files:write", "fleet:read", "admin"])
async def test_only_fleet_manage_may(http: httpx.AsyncClient, settings: Settings, scopes: str) -> None:
    other = Operator(http, settings, scopes)
    for method, path in (("GET", ""), ("POST", ""), ("GET", "/" + "0" * 16), ("POST", "/" + "0" * 16 + "/test")):
        assert (await other.ask(method, path)).status_code == 403


async def test_the_trail_says_who_did_what_and_no_secret(operator: Operator) -> None:
    with audited() as lines:
        made = await operator.make(url="https://hooks.example.com/services/T0/verysecretpath?key=hidden")
        name = made["webhook"]["id"]
        await operator.ask("POST", f"/{name}/test")
        await operator.ask("DELETE", f"/{name}")
    assert [(line["event"], line["webhook"], line["actor"]) for line in lines] == [
        ("webhook_created", name, "operator"),
        ("webhook_tested", name, "operator"),
        ("webhook_deleted", name, "operator"),
    ]
    assert lines[0]["target"] == "https://hooks.example.com"
    assert "verysecretpath" not in str(lines)
    assert made["secret"] not in str(lines)
