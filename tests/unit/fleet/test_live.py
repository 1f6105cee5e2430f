"""The uploads as one replica shows them: the last table, and what was heard since."""

from collections.abc import Sequence

import pytest

from libs.common.bus.events import (
    ChunkReceived,
    ChunkReceivedData,
    Event,
    FileCompleted,
    FileCompletedData,
    PartialFileMoved,
    PartialFileMovedData,
    SessionCancelled,
    SessionData,
    subject,
)
from libs.common.fleet.filters import Filter
from libs.common.fleet.hearing import WINDOW, rate_now
from libs.common.fleet.live import KEPT, MARGIN, Live
from libs.common.fleet.rows import UploadRow
from libs.common.uploads.layout import FileId
from tests.unit.fleet.rows import NOW, SESSION, upload

STUCK = 300.0  # seconds
OTHER = "fedcba9876543210"  # another session
FILE = FileId("device-1", "log.bin")
ALL = Filter()


def chunk(offset: int, *, file: FileId = FILE, session: str = SESSION, length: int = 100) -> Event:
    data = ChunkReceivedData(
        owner=file.owner, filename=file.filename, session=session, start=max(0, offset - length), length=length,
        offset=offset, total_size=1000, filled_parts=[],
    )  # fmt: skip
    return ChunkReceived(source="/test", subject=subject(file), data=data)


def completed(session: str = SESSION) -> Event:
    data = FileCompletedData(owner=FILE.owner, filename=FILE.filename, session=session, total_size=1000)
    return FileCompleted(source="/test", subject=subject(FILE), data=data)


def cancelled(session: str) -> Event:
    data = SessionData(owner=FILE.owner, filename=FILE.filename, session=session)
    return SessionCancelled(source="/test", subject=subject(FILE), data=data)


def parked(received: int) -> Event:
    data = PartialFileMovedData(
        owner=FILE.owner, filename=FILE.filename, session=SESSION, received_bytes=received, total_size=1000
    )
    return PartialFileMoved(source="/test", subject=subject(FILE), data=data)


async def shown(live: Live, wanted: Filter = ALL, after: FileId | None = None, now: float = NOW) -> list[UploadRow]:
    return [row async for row in live.matching(wanted, after, now)]


async def live_with(*rows: UploadRow) -> Live:
    live = Live(STUCK)
    await live.replace(NOW - 10, sorted(rows), NOW)
    return live


class TestWhatIsHeard:
    async def test_a_chunk_moves_the_offset_and_the_time(self) -> None:
        live = await live_with(upload())
        live.hear(chunk(200), NOW)
        (row,) = await shown(live)
        assert (row.next_expected_byte, row.received_bytes, row.last_updated) == (200, 200, NOW)

    async def test_an_offset_of_one_session_never_goes_back(self) -> None:
        live = await live_with(upload())
        live.hear(chunk(300), NOW)
        live.hear(chunk(200), NOW)
        await live.replace(NOW - 1, [upload()], NOW)
        (row,) = await shown(live)
        assert row.next_expected_byte == 300

    async def test_a_new_upload_is_there_at_once_and_a_new_session_begins_at_its_own_offset(self) -> None:
        live = await live_with()
        live.hear(chunk(300), NOW)
        live.hear(chunk(100, session=OTHER), NOW)
        assert [(row.session, row.next_expected_byte) for row in await shown(live)] == [(OTHER, 100)]

    @pytest.mark.parametrize("end", [completed(), cancelled(SESSION), cancelled("")])
    async def test_what_ends_is_gone(self, end: Event) -> None:
        live = await live_with(upload())
        live.hear(end, NOW)
        assert await shown(live) == []

    async def test_the_end_of_another_session_is_not_that_of_this_one(self) -> None:
        live = await live_with(upload())
        live.hear(completed(OTHER), NOW)
        assert len(await shown(live)) == 1

    async def test_a_late_chunk_or_an_older_table_does_not_bring_back_what_ended(self) -> None:
        live = await live_with(upload())
        live.hear(completed(), NOW)
        live.hear(chunk(900), NOW)
        await live.replace(NOW - 1, [upload()], NOW)
        assert await shown(live) == []

    async def test_a_parked_upload_is_partial_until_a_chunk_comes(self) -> None:
        live = await live_with(upload())
        live.hear(parked(150), NOW)
        assert [(row.status, row.received_bytes) for row in await shown(live)] == [("partial", 150)]
        live.hear(chunk(200), NOW)
        assert [row.status for row in await shown(live)] == ["pending"]

    async def test_the_rate_is_an_average_that_fades(self) -> None:
        live = await live_with(upload())
        for second in range(300):
            live.hear(chunk(200, length=5000), NOW + second)
        (row,) = await shown(live)
        assert rate_now(row, NOW + 300) == pytest.approx(5000, rel=0.05)
        assert rate_now(row, NOW + 300 + 5 * WINDOW) < 50


class TestANewTable:
    async def test_it_is_the_truth_for_all_that_was_not_heard_since(self) -> None:
        """Whatever events were lost, the next table shows what is so."""
        live = await live_with(upload("a"), upload("b"))
        await live.replace(NOW, [upload("b", received_bytes=500), upload("c")], NOW)
        assert [(row.filename, row.received_bytes) for row in await shown(live)] == [("b", 500), ("c", 100)]
        assert live.as_of == NOW

    async def test_what_was_heard_before_it_counts_no_more(self) -> None:
        live = await live_with()
        live.hear(chunk(200), NOW)
        await live.replace(NOW + MARGIN + 1, [], NOW + MARGIN + 1)
        assert await shown(live) == []

    async def test_what_was_heard_since_its_look_began_stays(self) -> None:
        live = await live_with()
        live.hear(chunk(200), NOW)
        await live.replace(NOW - 1, [], NOW)
        assert [row.next_expected_byte for row in await shown(live)] == [200]


class TestFilters:
    ROWS = (
        upload("a/1", "car-1", labels={"drive": "1", "kind": "log"}, device_class="car"),
        upload("a/2", "car-1", parked=True, labels={"drive": "2"}, device_class="car"),
        upload("b", "car-2", last_updated=NOW - STUCK, device_class="truck"),
        upload("b", "car-3"),
    )

    @pytest.mark.parametrize(
        ("wanted", "rows"),
        [
            (ALL, [0, 1, 2, 3]),
            (Filter(owner="car-1"), [0, 1]),
            (Filter(owner="car"), []),
            (Filter(owner="car-1", prefix="a/2"), [1]),
            (Filter(status="partial"), [1]),
            (Filter(stuck=True), [2]),
            (Filter(stuck=False), [0, 1, 3]),
            (Filter(prefix="b"), [2, 3]),
            (Filter(device_class="truck"), [2]),
            (Filter(labels={"drive": "1"}), [0]),
            (Filter(labels={"drive": "1", "kind": "map"}), []),
        ],
    )
    async def test_every_condition_must_hold(self, wanted: Filter, rows: Sequence[int]) -> None:
        live = await live_with(*self.ROWS)
        assert await shown(live, wanted) == [self.ROWS[n] for n in rows]

    async def test_a_page_goes_on_behind_a_name_even_where_that_is_gone(self) -> None:
        live = await live_with(*self.ROWS)
        assert await shown(live, after=FileId("car-1", "a/15")) == list(self.ROWS[1:])
        assert await shown(live, after=FileId("car-3", "b")) == []

    async def test_rows_that_come_and_go_meanwhile_neither_repeat_nor_hide_others(self) -> None:
        live = await live_with(*self.ROWS)
        seen = []
        async for row in live.matching(ALL, None, NOW):
            seen.append(row)
            await live.replace(NOW, [upload("0", "car-0"), *self.ROWS[1:]], NOW)
        assert seen == list(self.ROWS)


class TestChanges:
    async def test_each_upload_that_changed_is_told_once_as_it_is_now(self) -> None:
        live = await live_with(upload("log.bin"), upload("same"))
        since = live.number
        live.hear(chunk(200), NOW)
        live.hear(chunk(300), NOW)
        changes = live.changes(since, ALL)
        assert changes
        assert [(kind, row.filename, row.next_expected_byte) for kind, row in changes] == [("changed", "log.bin", 300)]
        assert live.changes(live.number, ALL) == []

    async def test_it_is_added_when_it_begins_to_match_and_removed_when_it_ceases_to(self) -> None:
        live = await live_with(upload())
        since, wanted = live.number, Filter(status="partial")
        live.hear(parked(100), NOW)
        assert [kind for kind, _ in live.changes(since, wanted) or ()] == ["added"]
        middle = live.number
        live.hear(chunk(200), NOW)
        assert [kind for kind, _ in live.changes(middle, wanted) or ()] == ["removed"]
        assert live.changes(since, wanted) == []
        live.hear(completed(), NOW)
        assert [kind for kind, _ in live.changes(since, ALL) or ()] == ["removed"]

    async def test_an_upload_becomes_stuck_by_time_alone(self) -> None:
        live = await live_with(upload())
        await live.age(NOW)
        since, wanted = live.number, Filter(stuck=True)
        await live.age(NOW + STUCK)
        assert [kind for kind, _ in live.changes(since, wanted) or ()] == ["added"]
        live.hear(chunk(200), NOW + STUCK + 1)
        assert live.changes(since, wanted) == []

    async def test_a_rate_alone_is_no_change(self) -> None:
        live = await live_with(upload())
        since = live.number
        await live.replace(NOW, [upload(rate=50.0)], NOW)
        assert live.changes(since, ALL) == []
        assert [row.rate for row in await shown(live)] == [50.0]

    async def test_a_reader_that_is_too_far_behind_or_foreign_must_list_again(self) -> None:
        live = await live_with(upload())
        since = live.number
        for offset in range(KEPT + 1):
            live.hear(chunk(200 + offset), NOW)
        assert live.changes(since, ALL) is None
        assert live.changes(live.number + 1, ALL) is None
