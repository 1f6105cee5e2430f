"""GET /uploads: all uploads in progress at a glance."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from libs.common.bus.memory import MemoryBus
from libs.common.clock import SystemClock
from libs.common.fleet.filters import Filter
from libs.common.fleet.store import save
from libs.common.fleet.tables import UPLOADS, Table
from libs.common.settings import Settings
from libs.common.storage import Buckets, ObjectStore, StoreUnavailable
from libs.common.storage.filesystem import FilesystemStore
from services.ingest import keeper
from services.ingest.keeper import Keeper
from tests.unit.fleet.rows import NOW, upload
from tests.unit.ingest.running import OWNER, make_settings, token_for
from tests.unit.ingest.talk import Device, accepted, refused, until
from tests.uploads.hooked_store import Hooks

CONTENT = b"0123456789"


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """The janitor looks all the time, as often as it may."""
    return make_settings(tmp_path, fleet_interval=0.05)


@pytest.fixture
def other(http: httpx.AsyncClient, settings: Settings) -> Device:
    return Device(http, token_for(settings, "car-8"))


@pytest.fixture
def operator(http: httpx.AsyncClient, settings: Settings) -> Device:
    return Device(http, token_for(settings, "op", "fleet:read"))


async def uploads(who: Device, **query: object) -> dict[str, Any]:
    return accepted(await who.ask("GET", "/uploads", params=query))


async def names(who: Device, **query: object) -> list[str]:
    return [f"{item['owner']}/{item['filename']}" for item in (await uploads(who, **query))["uploads"]]


async def eventually(condition: Callable[[], Awaitable[bool]]) -> None:
    """Wait until it holds: what came before the first reader is in the next table."""
    async with asyncio.timeout(20):
        while not await condition():  # noqa: ASYNC110  # what is waited for has no event to offer
            await asyncio.sleep(0.1)


async def found(who: Device, expected: list[str], **query: object) -> None:
    """The names are in the list, now or after the next looks."""

    async def there() -> bool:
        return await names(who, **query) == expected

    await eventually(there)


class TestTheList:
    async def test_an_upload_is_there_as_soon_as_its_chunk_is_acknowledged(self, device: Device) -> None:
        assert await names(device) == []
        accepted(await device.chunk("a", CONTENT, 0, 4))
        (item,) = (await uploads(device))["uploads"]
        assert (item["filename"], item["owner"], item["status"]) == ("a", OWNER, "pending")
        assert (item["total_size"], item["received_bytes"], item["next_expected_byte"]) == (10, 4, 4)
        assert (item["waiting_for"], item["stuck"]) == ("device", False)
        assert item["rate"] > 0
        assert item["parks_at"] > item["last_updated"]
        assert item["session"] == accepted(await device.status("a"))["session"]
        accepted(await device.chunk("a", CONTENT, 4, 10))
        await device.completed("a")
        await found(device, [])  # the event comes a moment after the file

    async def test_the_next_look_tells_labels_too(self, device: Device) -> None:
        accepted(await device.chunk("a", CONTENT, 0, 4, headers={"Hiper-Label": "drive=0417, kind=log"}))
        await found(device, ["car-7/a"], label="drive=0417,kind=log")
        assert await names(device, label="drive=0418") == []

    async def test_each_list_says_when_its_look_was_and_whether_later_changes_are_heard(self, device: Device) -> None:
        async def live() -> bool:
            page = await uploads(device)
            return bool(page["live"] and page["as_of"])

        await eventually(live)

    async def test_its_pages_hold_every_upload_once(self, device: Device, other: Device, operator: Device) -> None:
        for who in (other, device):
            for name in ("b", "a/1", "a/2"):
                accepted(await who.chunk(name, CONTENT, 0, 4))
        everything = [f"{owner}/{name}" for owner in ("car-7", "car-8") for name in ("a/1", "a/2", "b")]
        await found(operator, everything)
        seen, after = list[str](), dict[str, str]()
        while True:
            page = await uploads(operator, limit=2, **after)
            seen += [f"{item['owner']}/{item['filename']}" for item in page["uploads"]]
            if not page["next"]:
                break
            after = {"after": page["next"]}
        assert seen == everything


class TestWhoSeesWhat:
    async def test_a_device_sees_its_own_and_a_reader_of_the_fleet_all(
        self, device: Device, other: Device, operator: Device
    ) -> None:
        for who in (device, other):
            accepted(await who.chunk("a", CONTENT, 0, 4))
        await found(operator, ["car-7/a", "car-8/a"])
        assert await names(device) == ["car-7/a"]
        assert await names(other) == ["car-8/a"]
        assert await names(operator, owner="car-8") == ["car-8/a"]

    async def test_the_uploads_of_others_need_the_scope(self, device: Device) -> None:
        answer = await device.ask("GET", "/uploads", params={"owner": "car-8"})
        assert refused(answer, 403, "forbidden")["required_scope"] == "fleet:read"

    async def test_without_any_scope_to_read_there_is_nothing(
        self, http: httpx.AsyncClient, settings: Settings
    ) -> None:
        writer = Device(http, token_for(settings, scopes="files:write"))
        refused(await writer.ask("GET", "/uploads"), 403, "forbidden")
        refused(await http.get("/uploads"), 401, "unauthorized")


class TestFilters:
    @pytest.mark.parametrize(
        "query",
        [
            "colour=red",
            "Owner=car-7",
            "owner=..",
            "owner=",
            "owner=car-7%0A",
            "status=complete",
            "status=",
            "stuck=perhaps",
            "prefix=%00",
            "prefix=a//b",
            "prefix=..%2F",
            "class=",
            "class=Truck",
            "class=" + "a" * 33,
            "label=",
            "label=drive",
            "label==x",
            "label=drive=",
            "label=drive=1,",
            "label=drive=1,drive=2",
            "label=Drive=1",
            "label=drive=%F0%9F%98%80",
            "label=" + ",".join(f"k{n}=v" for n in range(11)),
            "limit=0",
            "limit=1001",
            "limit=ten",
            "after=WyJhIiwiYiJd*",
            "after=W10=",
            "after=WyIuLiIsIngiXQ==",
            "after=WzEsMl0=",
            "after=" + "W" * 3000,
            "after=%00",
            "status=pending&status=partial",
        ],
    )
    async def test_what_is_no_filter_is_refused(self, device: Device, query: str) -> None:
        refused(await device.ask("GET", f"/uploads?{query}"), 400, "bad-request")

    async def test_each_of_them_counts(self, device: Device, other: Device, operator: Device) -> None:
        accepted(await device.chunk("a/1", CONTENT, 0, 4))
        accepted(await other.chunk("b", CONTENT, 0, 4))
        await found(operator, ["car-7/a/1", "car-8/b"])
        assert await names(operator, prefix="a/") == ["car-7/a/1"]
        assert await names(operator, status="partial") == []
        assert await names(operator, stuck="false") == ["car-7/a/1", "car-8/b"]
        assert await names(operator, stuck="true") == []


@dataclass(frozen=True)
class Counted:
    """A table of 100 uploads, in a store whose calls are counted."""

    hooks: Hooks
    perm: ObjectStore

    def keeper(self) -> Keeper:
        return Keeper(self.perm, MemoryBus(), SystemClock(), 300)


@pytest.fixture
async def counted(tmp_path: Path) -> AsyncIterator[Counted]:
    perm, hooks = FilesystemStore(tmp_path / "counted"), Hooks()
    await perm.ensure()
    await save(perm, UPLOADS, Table(NOW, [upload(f"{n}") for n in range(100)]), replaces="")
    yield Counted(hooks, hooks.over(Buckets(perm, perm)).perm)
    await perm.close()


class TestWhatItCosts:
    async def test_any_number_of_readers_costs_one_read_each_five_seconds(
        self, counted: Counted, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(keeper, "TICK", 0.02)  # second
        running = counted.keeper()

        async def reader() -> int:
            kept = await running.uploads(None)
            with kept.reading(None):
                await kept.wait(kept.version, Filter(), 0.5)
            return len(kept.live)

        assert set(await asyncio.gather(*(reader() for _ in range(300)))) == {100}
        ticks = 0.5 / 0.02
        assert 1 < len(counted.hooks.calls) <= 2 + ticks / keeper.LOAD
        await running.close()

    async def test_nothing_runs_while_nobody_asks(self, counted: Counted, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(keeper, "TICK", 0.02)
        monkeypatch.setattr(keeper, "IDLE", 0.1)
        before = asyncio.all_tasks()
        running = counted.keeper()
        assert asyncio.all_tasks() == before
        kept = await running.uploads(None)
        await until(lambda: kept.is_over)
        calls = len(counted.hooks.calls)
        await asyncio.sleep(0.2)
        assert len(counted.hooks.calls) == calls
        assert asyncio.all_tasks() == before
        assert len((await running.uploads(None)).live) == 100
        await running.close()

    async def test_a_store_that_is_away_is_said_and_the_next_reader_tries_again(self, counted: Counted) -> None:
        counted.hooks.fail("fetch")
        running = counted.keeper()
        with pytest.raises(StoreUnavailable):
            await running.uploads(None)
        assert len((await running.uploads(None)).live) == 100
        await running.close()
