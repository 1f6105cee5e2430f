"""The uploads in progress, listed and watched through a real server."""

import asyncio
import hashlib
import os
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest

from libs.client import HiperClient, following
from libs.client import fleet as client_fleet
from libs.client.errors import AnswerError
from libs.client.files import Chunk
from libs.client.models_fleet import FleetChange, UploadEntry
from libs.client.names import RemoteFile
from libs.client.top_view import View
from libs.common.files.extents import Extent
from services.embedded.app import build_app
from tests.unit.client.conftest import ADMIN_SECRET, make_settings
from tests.unit.client.live import CuttingProxy, LiveServer

KIB = 1024
SIZE = 64 * KIB


@pytest.fixture
def server(tmp_path: Path) -> Iterator[LiveServer]:
    """Its janitor looks often."""
    settings = make_settings(tmp_path / "data").model_copy(update={"fleet_interval": 0.3})
    live = LiveServer(lambda: build_app(settings))
    live.start()
    yield live
    live.stop()


async def begin(client: HiperClient, name: str, owner: str | None = None, labels: dict[str, str] | None = None) -> None:
    """An upload whose first KiB is there."""
    await _send(client, RemoteFile.of(name, owner), 0, None, labels or {})


async def go_on(client: HiperClient, name: str, at: int) -> None:
    """One KiB more."""
    await _send(client, RemoteFile.of(name, None), at, (await client.status(name)).session, {})


async def _send(client: HiperClient, file: RemoteFile, at: int, session: str | None, labels: dict[str, str]) -> None:
    payload = os.urandom(KIB)
    digest = hashlib.sha256(payload).digest()
    chunk = Chunk(Extent(at, at + KIB), SIZE, payload, digest, "text/plain", session, None, labels)
    await client._files.send(file, chunk)


async def listed(client: HiperClient, **filters: Any) -> list[UploadEntry]:
    return [upload async for upload in client.fleet.list(**filters)]


async def eventually(client: HiperClient, names: list[str], **filters: Any) -> list[UploadEntry]:
    """The list, once it shows these names: the janitor looks now and then."""
    found = await listed(client, **filters)
    async with asyncio.timeout(20):
        while [each.filename for each in found] != names:
            await asyncio.sleep(0.2)
            found = await listed(client, **filters)
    return found


async def test_uploads_in_progress_are_listed_with_what_they_wait_for(client: HiperClient) -> None:
    await begin(client, "a", labels={"drive": "0417"})
    await begin(client, "b", owner="fleet")
    await client.upload(b"done", "c")
    first, second = await eventually(client, ["a", "b"])
    assert (first.owner, first.status, first.received_bytes, first.total_size) == ("admin", "pending", KIB, SIZE)
    assert (first.waiting_for, first.stuck, first.labels) == ("device", False, {"drive": "0417"})
    assert (second.owner, second.labels) == ("fleet", {})


async def test_filters_choose_and_pages_join(client: HiperClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client_fleet, "PAGE", 2)
    for number in range(5):
        await begin(client, f"logs/{number}", labels={"drive": str(number)})
    await begin(client, "x", owner="fleet")
    await eventually(client, [*(f"logs/{number}" for number in range(5)), "x"])
    assert [each.filename for each in await listed(client, owner="fleet")] == ["x"]
    assert [each.filename for each in await listed(client, label={"drive": "3"})] == ["logs/3"]
    assert len(await listed(client, prefix="logs/", status="pending", stuck=False)) == 5
    assert await listed(client, stuck=True) == await listed(client, status="partial") == []
    with pytest.raises(AnswerError):
        await listed(client, device_class="No Class")


async def test_a_prefix_finds_the_names_that_it_begins_in_either_form_of_unicode(client: HiperClient) -> None:
    composed, decomposed = "S\u00fcd/", "Su\u0308d/"
    await begin(client, f"{decomposed}a")
    await eventually(client, [f"{composed}a"], prefix=composed)
    assert [each.filename for each in await listed(client, prefix=decomposed)] == [f"{composed}a"]


Check = Callable[[View], bool]


class Watcher:
    """What a view shows that is told all changes."""

    def __init__(self, changes: AsyncIterator[FleetChange]) -> None:
        self.view = View()
        self.kinds = list[str]()
        self._changes = changes

    async def until(self, check: Check) -> None:
        async with asyncio.timeout(30):
            while not check(self.view):
                change = await anext(self._changes)
                self.kinds.append(change.change)
                self.view.take(change, 0.0)

    async def shows(self, **received: int) -> None:
        """Wait until these uploads and no others are shown, with so many bytes each."""
        await self.until(
            lambda view: {row.upload.filename: row.upload.received_bytes for row in view.sorted(0.0)} == received
        )


async def test_a_watcher_sees_uploads_come_go_on_and_go(client: HiperClient) -> None:
    await begin(client, "a")
    await eventually(client, ["a"])
    async with aclosing(client.fleet.watch()) as changes:
        watcher = Watcher(changes)
        await watcher.shows(a=KIB)
        await begin(client, "b")
        await watcher.shows(a=KIB, b=KIB)
        await go_on(client, "a", KIB)
        await watcher.shows(a=2 * KIB, b=KIB)
        await client.delete("b")
        await watcher.shows(a=2 * KIB)
    assert watcher.kinds.count("list") <= 2  # the pages, then the stream goes on from there


async def test_a_watcher_outlives_broken_connections_and_a_server_that_starts_again(
    client: HiperClient, server: LiveServer, proxy: CuttingProxy
) -> None:
    async with (
        HiperClient(proxy.url, "admin", ADMIN_SECRET, retry_for=60) as reader,
        aclosing(reader.fleet.watch()) as changes,
    ):
        watcher = Watcher(changes)
        await begin(client, "a")
        await watcher.shows(a=KIB)
        proxy.cuts, proxy.after = 2, 100
        await begin(client, "b")
        await watcher.shows(a=KIB, b=KIB)
        await asyncio.to_thread(server.restart)
        await go_on(client, "b", KIB)
        await client.delete("a")
        await watcher.shows(b=2 * KIB)


async def test_a_watcher_without_streams_sees_the_same(client: HiperClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(following, "MEDIA_TYPE", "text/plain")  # so the server gives no stream
    monkeypatch.setattr("libs.client.fleet._Place.rest", 0.1)
    async with aclosing(client.fleet.watch()) as changes:
        watcher = Watcher(changes)
        await begin(client, "a")
        await watcher.shows(a=KIB)
        await go_on(client, "a", KIB)
        await watcher.shows(a=2 * KIB)
        await client.delete("a")
        await watcher.shows()
