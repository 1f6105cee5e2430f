"""The feed as the client reads it: from a cursor on, nothing missed."""

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import aclosing
from pathlib import Path

import pytest

from libs.client import HiperClient
from libs.client import feed as client_feed
from libs.client.errors import FeedExpiredError
from libs.client.feed import Outcomes
from libs.common.bus.events import Outcome
from libs.common.clock import SystemClock
from libs.common.feed import reading, tail
from libs.common.feed.positions import Position
from libs.common.feed.writing import FeedWriter
from libs.common.storage.filesystem import FilesystemStore
from libs.common.uploads.layout import FileId
from libs.common.uploads.outcomes import About, completed, deleted
from tests.unit.client.conftest import ADMIN_SECRET
from tests.unit.client.live import CuttingProxy, LiveServer


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Entries close at once, and each request looks."""
    monkeypatch.setattr(reading, "CLOSED_AFTER", 0.0)
    monkeypatch.setattr(tail, "EACH", 0.0)


class Fleet:
    """Puts outcomes into the feed of the server."""

    def __init__(self, store: FilesystemStore) -> None:
        self._writer = FeedWriter(store, SystemClock())

    async def put(self, *outcomes: Outcome) -> None:
        for outcome in outcomes:
            await self._writer.put(outcome)
            await asyncio.sleep(0.002)


@pytest.fixture
async def fleet(tmp_path: Path, server: LiveServer) -> AsyncIterator[Fleet]:
    store = FilesystemStore(tmp_path / "data" / "perm")
    yield Fleet(store)
    await store.close()


def done(number: int, owner: str = "car-7") -> Outcome:
    about = About(f"{number:016x}", 1000 + number, "", "text/plain", {})
    return completed(FileId(owner, f"{number}.bin"), about, "/hiper/assembler")


def gone(number: int, owner: str = "car-7") -> Outcome:
    return deleted(FileId(owner, f"{number}.bin"), f"{number:016x}", "/hiper/ingest")


async def names(outcomes: Outcomes, count: int | None = None) -> list[str]:
    """The names of the files of the outcomes, of the first `count` if that is given."""
    found = list[str]()
    async with asyncio.timeout(20), aclosing(outcomes):
        async for outcome in outcomes:
            found.append(outcome.filename)
            if len(found) == count:
                break
    return found


async def test_an_outcome_says_what_became_of_which_file(client: HiperClient, fleet: Fleet) -> None:
    await fleet.put(done(1), gone(2, "car-8"))
    first, second = [outcome async for outcome in client.outcomes()]
    assert (first.owner, first.filename, first.kind, first.size) == ("car-7", "1.bin", "complete", 1001)
    assert (second.owner, second.filename, second.kind, second.size) == ("car-8", "2.bin", "deleted", None)


async def test_pages_join_without_a_seam(client: HiperClient, fleet: Fleet, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client_feed, "PAGE", 3)
    await fleet.put(*map(done, range(8)))
    assert await names(client.outcomes()) == [f"{number}.bin" for number in range(8)]


async def test_a_reader_that_was_stopped_anywhere_goes_on_and_misses_nothing(
    client: HiperClient, fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client_feed, "PAGE", 3)
    await fleet.put(*map(done, range(8)))
    for stopped_after in range(1, 8):
        first = client.outcomes()
        seen = await names(first, stopped_after)
        seen += await names(client.outcomes(after=first.cursor or None))
        assert sorted(set(seen)) == [f"{number}.bin" for number in range(8)]
        assert len(seen) <= 8 + 3  # a page again, at most


async def test_what_is_over_has_a_cursor_also_where_nothing_came(client: HiperClient, fleet: Fleet) -> None:
    await fleet.put(done(1))
    first = client.outcomes(after="now")
    assert await names(first) == []
    await asyncio.sleep(0.2)
    await fleet.put(done(2))
    assert await names(client.outcomes(after=first.cursor)) == ["2.bin"]


@pytest.fixture
def _while_it_is_written(monkeypatch: pytest.MonkeyPatch) -> None:
    """Entries close once nothing can appear before them, on a slow machine too."""
    monkeypatch.setattr(reading, "CLOSED_AFTER", 2.0)


@pytest.mark.usefixtures("_while_it_is_written")
async def test_a_follower_gets_what_comes(client: HiperClient, fleet: Fleet) -> None:
    await fleet.put(done(1))
    following = asyncio.create_task(names(client.outcomes(follow=True), 3))
    await asyncio.sleep(0.5)
    await fleet.put(done(2), gone(3))
    assert await following == ["1.bin", "2.bin", "3.bin"]


@pytest.mark.usefixtures("_while_it_is_written")
async def test_a_follower_outlives_broken_connections_and_a_server_that_starts_again(
    server: LiveServer, fleet: Fleet, proxy: CuttingProxy
) -> None:
    async with HiperClient(proxy.url, "admin", ADMIN_SECRET, retry_for=30) as client:
        await client.verify()
        following = asyncio.create_task(names(client.outcomes(follow=True), 40))
        for number in range(40):
            await fleet.put(done(number))
            if number % 10 == 5:
                proxy.cuts, proxy.after = 3, int.from_bytes(os.urandom(1)) * 8
            if number == 20:
                await asyncio.to_thread(server.restart)
        found = await following
    assert sorted(set(found), key=lambda name: int(name.split(".")[0])) == [f"{number}.bin" for number in range(40)]


async def test_owners_and_kinds_can_be_chosen(client: HiperClient, fleet: Fleet) -> None:
    await fleet.put(done(1), gone(1), done(2, "car-8"))
    assert await names(client.outcomes(owner="car-8")) == ["2.bin"]
    assert await names(client.outcomes(kinds=["deleted"])) == ["1.bin"]
    assert await names(client.outcomes(kinds=["deleted", "complete"])) == ["1.bin", "1.bin", "2.bin"]


async def test_a_cursor_that_is_too_old_is_an_error_that_says_where_to_begin(client: HiperClient, fleet: Fleet) -> None:
    await fleet.put(done(1))
    with pytest.raises(FeedExpiredError) as caught:
        await names(client.outcomes(after=Position.at(1).cursor))
    assert await names(client.outcomes(after=caught.value.oldest)) == ["1.bin"]
