"""The feed on every store: what was put comes back in order, once it is closed; what is old goes."""

import asyncio

import pytest

from libs.common.bus.events import FileDeleted
from libs.common.clock import SystemClock
from libs.common.feed import reading
from libs.common.feed.expiry import LONGER, expire
from libs.common.feed.positions import Position, oldest_kept
from libs.common.feed.reading import Entry, FeedReader
from libs.common.feed.writing import FeedWriter
from libs.common.storage import ObjectStore, list_all
from libs.common.uploads.layout import FEED, FileId
from libs.common.uploads.outcomes import deleted

START = Position.at(0)
DAY = 86400.0  # seconds


HAND = '5d41402abc4b2a76-3/../"x'  # an etag that is no session of ours


def outcome(number: int, session: str = "") -> FileDeleted:
    return deleted(FileId("car-7", f"logs/{number}.bin"), session or f"{number:016x}", "/hiper/ingest")


@pytest.fixture
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Entries close at once: these tests have one writer, which waits for each answer."""
    monkeypatch.setattr(reading, "CLOSED_AFTER", -2.0)


async def everything(store: ObjectStore, limit: int = 1000) -> list[Entry]:
    reader, entries = FeedReader(store), list[Entry]()
    page = await reader.page(START, limit)
    while page.more:
        entries += page.entries
        assert len(page.entries) <= limit
        page = await reader.page(page.next, limit)
    return [*entries, *page.entries]


async def clear(store: ObjectStore) -> None:
    await store.delete_many([info.key for info in await list_all(store, FEED)])


@pytest.mark.usefixtures("soon")
@pytest.mark.parametrize("limit", [1, 2, 1000])
async def test_what_was_put_comes_back_in_order_page_after_page(store: ObjectStore, limit: int) -> None:
    writer = FeedWriter(store, SystemClock())
    for number in range(4):
        await writer.put(outcome(number))
        await asyncio.sleep(0.002)  # the order of entries of one millisecond is not told
    entries = await everything(store, limit)
    assert await FeedReader(store).outcomes(entries) == [outcome(n).model_copy(update={"time": told.time})
        for n, told in enumerate(await FeedReader(store).outcomes(entries)) if told]  # fmt: skip
    assert [(entry.key.outcome, entry.key.owner) for entry in entries] == [("deleted", "car-7")] * 4
    await clear(store)


async def test_an_entry_is_not_shown_before_it_is_closed(store: ObjectStore) -> None:
    await FeedWriter(store, SystemClock()).put(outcome(1))
    page = await FeedReader(store).page(START)
    assert page.entries == []
    assert not page.more
    (info,) = await list_all(store, FEED)
    assert page.next.key < info.key, "the cursor stays before what it did not show"
    await clear(store)


@pytest.mark.usefixtures("soon")
async def test_an_outcome_that_is_put_again_is_told_again_with_the_same_id(store: ObjectStore) -> None:
    for writer in (FeedWriter(store, SystemClock()), FeedWriter(store, SystemClock())):
        await writer.put(outcome(1))
        await asyncio.sleep(0.002)
    told = await FeedReader(store).outcomes(await everything(store))
    assert {each and each.id for each in told} == {"0000000000000001.deleted"}
    await clear(store)


@pytest.mark.usefixtures("soon")
async def test_files_that_were_put_by_hand_have_any_etag_for_a_session_and_perhaps_the_same(store: ObjectStore) -> None:
    writer = FeedWriter(store, SystemClock())
    await asyncio.gather(writer.put(outcome(1, HAND)), writer.put(outcome(2, HAND)), writer.put(outcome(3, HAND)))
    told = await FeedReader(store).outcomes(await everything(store))
    assert {each and (each.data.filename, each.data.session) for each in told} == {
        (f"logs/{number}.bin", HAND) for number in (1, 2, 3)
    }
    await clear(store)


@pytest.mark.usefixtures("soon")
async def test_what_another_program_put_there_stops_nothing_and_stays(store: ObjectStore) -> None:
    strange = ["feed/2020-01-01/note.txt", "feed/a", "feed/b", "feed/zzz"]
    for key in strange:
        await store.put(key, b"x")
    await FeedWriter(store, SystemClock()).put(outcome(1))
    assert len(await everything(store, limit=1)) == 1
    assert await expire(store, 4e9, 1, dry_run=False) == 1
    assert [info.key for info in await list_all(store, FEED)] == strange
    await clear(store)


@pytest.mark.usefixtures("soon")
async def test_an_entry_that_cannot_be_read_is_passed_over(store: ObjectStore) -> None:
    await FeedWriter(store, SystemClock()).put(outcome(1))
    (entry,) = await everything(store)
    await store.put(entry.position.key, b"{")
    assert await FeedReader(store).outcomes([entry]) == [None]
    await clear(store)
    assert await FeedReader(store).outcomes([entry]) == [None]


@pytest.mark.usefixtures("soon")
async def test_entries_go_once_they_are_older_than_the_days_and_an_hour(store: ObjectStore) -> None:
    await FeedWriter(store, SystemClock()).put(outcome(1))
    (entry,) = await everything(store)
    midnight = (entry.position.time // DAY + 1) * DAY  # the end of the entry's day
    last = midnight + 7 * DAY + LONGER - 1
    assert await expire(store, last, 7, dry_run=False) == 0
    assert oldest_kept(last, 7) > entry.position, "readers are refused before it goes"
    assert await expire(store, last + 1, 7, dry_run=True) == 1
    assert len(await list_all(store, FEED)) == 1, "a dry run deletes nothing"
    assert await expire(store, last + 1, 7, dry_run=False) == 1
    assert await list_all(store, FEED) == []
