"""GET /feed: outcomes page by page, with cursors that never skip one."""

import asyncio
import time
from typing import Any

import httpx
import pytest

from libs.common.bus.events import Outcome
from libs.common.clock import SystemClock
from libs.common.feed import reading, tail
from libs.common.feed.positions import Position, oldest_kept
from libs.common.feed.writing import FeedWriter
from libs.common.settings import Settings
from libs.common.storage.filesystem import FilesystemStore
from libs.common.uploads.layout import FileId
from libs.common.uploads.outcomes import About, completed, deleted
from tests.unit.ingest.running import OWNER, token_for

pytestmark = pytest.mark.usefixtures("_soon")


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Entries close at once, and each request looks."""
    monkeypatch.setattr(reading, "CLOSED_AFTER", 0.0)
    monkeypatch.setattr(tail, "EACH", 0.0)


async def put(settings: Settings, *outcomes: Outcome) -> None:
    store = FilesystemStore(settings.perm_upload_dir)
    writer = FeedWriter(store, SystemClock())
    for outcome in outcomes:
        await writer.put(outcome)
        await asyncio.sleep(0.002)
    await store.close()


def gone(number: int, owner: str = OWNER) -> Outcome:
    return deleted(FileId(owner, f"{number}.bin"), f"{number:016x}", "/hiper/ingest")


def done(number: int, owner: str = OWNER) -> Outcome:
    about = About(f"{number:016x}", number, "", "text/plain", {})
    return completed(FileId(owner, f"{number}.bin"), about, "/hiper/assembler")


class Reader:
    def __init__(
        self, http: httpx.AsyncClient, settings: Settings, scopes: str = "files:read", who: str = OWNER
    ) -> None:
        self._http = http
        self._headers = {"Authorization": f"Bearer {token_for(settings, who, scopes)}"}

    async def ask(self, **query: Any) -> httpx.Response:
        return await self._http.get("/feed", params=query, headers=self._headers)

    async def page(self, **query: Any) -> dict[str, Any]:
        answer = await self.ask(**query)
        assert answer.status_code == 200, answer.text
        page: dict[str, Any] = answer.json()
        return page

    async def names(self, **query: Any) -> list[str]:
        return [event["subject"] for event in (await self.page(**query))["events"]]


async def test_pages_show_each_outcome_once_as_the_event_that_it_is(
    http: httpx.AsyncClient, settings: Settings
) -> None:
    reader, told = Reader(http, settings), [done(1), gone(1), done(2), done(3), gone(2)]
    await put(settings, *told)
    page, events = await reader.page(limit=2), list[dict[str, Any]]()
    while page["more"]:
        events += page["events"]
        page = await reader.page(limit=2, after=page["next"])
    events += page["events"]
    assert events == [event.model_dump(mode="json") for event in told]
    assert await reader.names(after=page["next"]) == []
    await put(settings, done(4))
    assert await reader.names(after=page["next"]) == [f"{OWNER}/4.bin"]


async def test_a_device_gets_its_own_outcomes_and_those_of_the_fleet_where_it_asks(
    http: httpx.AsyncClient, settings: Settings
) -> None:
    await put(settings, done(1), done(2, "car-8"), done(3, "fleet"))
    reader = Reader(http, settings)
    assert await reader.names() == [f"{OWNER}/1.bin"]
    assert await reader.names(owner="fleet") == ["fleet/3.bin"]
    assert (await reader.ask(owner="car-8")).status_code == 403


async def test_fleet_read_gets_all_or_one_owner(http: httpx.AsyncClient, settings: Settings) -> None:
    await put(settings, done(1), done(2, "car-8"), done(3, "fleet"))
    operator = Reader(http, settings, "fleet:read", "operator")
    assert await operator.names() == [f"{OWNER}/1.bin", "car-8/2.bin", "fleet/3.bin"]
    assert await operator.names(owner="car-8") == ["car-8/2.bin"]


async def test_a_token_without_a_scope_that_reads_gets_nothing(http: httpx.AsyncClient, settings: Settings) -> None:
    answer = await Reader(http, settings, "files:write").ask()
    assert (answer.status_code, answer.json()["type"]) == (403, "urn:hiper:problem:forbidden")


async def test_outcomes_can_be_chosen(http: httpx.AsyncClient, settings: Settings) -> None:
    await put(settings, done(1), gone(1), done(2))
    reader = Reader(http, settings)
    assert len(await reader.names(outcome="complete")) == 2
    assert len(await reader.names(outcome="complete,deleted")) == 3
    for wrong in ("finished", "complete,", "", "complete, deleted"):
        assert (await reader.ask(outcome=wrong)).status_code == 400


async def test_now_begins_with_what_comes_from_now_on(http: httpx.AsyncClient, settings: Settings) -> None:
    await put(settings, done(1))
    reader = Reader(http, settings)
    page = await reader.page(after="now")
    assert page["events"] == []
    await asyncio.sleep(0.2)
    await put(settings, done(2))
    assert await reader.names(after=page["next"]) == [f"{OWNER}/2.bin"]


@pytest.mark.parametrize("cursor", ["", "AAAA", "feed", "../../etc/passwd", "\x00", "é", "A" * 5000])
async def test_a_foreign_cursor_is_refused(http: httpx.AsyncClient, settings: Settings, cursor: str) -> None:
    answer = await Reader(http, settings).ask(after=cursor)
    assert (answer.status_code, answer.json()["type"]) == (400, "urn:hiper:problem:bad-request")


async def test_a_cursor_that_is_too_old_is_told_where_to_begin(http: httpx.AsyncClient, settings: Settings) -> None:
    reader, begin = Reader(http, settings), oldest_kept(time.time(), settings.feed_days)
    await put(settings, done(1))
    assert await reader.names(after=begin.cursor) == [f"{OWNER}/1.bin"]
    answer = await reader.ask(after=Position.at(begin.time - 0.001).cursor)
    problem = answer.json()
    assert (answer.status_code, problem["type"]) == (410, "urn:hiper:problem:feed-expired")
    assert await reader.names(after=problem["oldest"]) == [f"{OWNER}/1.bin"]


async def test_no_answer_is_kept_by_a_cache(http: httpx.AsyncClient, settings: Settings) -> None:
    assert (await Reader(http, settings).ask()).headers["Cache-Control"] == "no-store"
