"""Cursors of the feed: opaque to readers, and none but the feed's own is taken."""

import base64
import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from libs.common.feed.positions import Position, oldest_kept
from libs.common.files.names import SUBJECT, valid_owner
from libs.common.problems import Kind, Problem
from libs.common.uploads.layout import (
    EntryKey,
    FileId,
    ForeignKey,
    entries_from,
    entry_key,
    parse_entry_key,
    session_tag,
)

times = st.integers(0, 9_999_999_999_999)  # milliseconds
owners = st.from_regex(SUBJECT, fullmatch=True).filter(valid_owner)
sessions = st.text("0123456789abcdef", min_size=16, max_size=16)
keys = st.builds(EntryKey, times, st.sampled_from(["complete", "parked", "rejected", "deleted"]), sessions, owners)


@given(entry=keys)
def test_the_key_of_an_entry_can_be_read_back(entry: EntryKey) -> None:
    assert parse_entry_key(entry_key(entry)) == entry


@given(one=keys, other=keys)
def test_keys_are_in_the_order_of_their_times(one: EntryKey, other: EntryKey) -> None:
    if one.time < other.time:
        assert entry_key(one) < entries_from(other.time) < entry_key(other)


@pytest.mark.parametrize(
    "key",
    [
        "feed/2026-12-01/0232/1796092321000-complete-0123456789abcdef-car/7",
        "feed/2026-12-02/0232/1796092321000-complete-0123456789abcdef-car-7",
        "feed/2026-12-01/0233/1796092321000-complete-0123456789abcdef-car-7",
        "feed/1796092321000-complete-0123456789abcdef-car-7",
        "feed/",
        "feed/=clock",
    ],
)
def test_a_key_that_is_not_built_like_that_is_foreign(key: str) -> None:
    with pytest.raises(ForeignKey):
        parse_entry_key(key)


@given(session=st.text(min_size=1))
def test_any_session_has_a_tag_that_fits_into_a_key(session: str) -> None:
    tag = session_tag(FileId("car-7", "a"), session)
    assert len(tag) == 16
    assert set(tag) <= set("0123456789abcdef")


@given(entry=keys)
def test_a_cursor_can_be_read_back_and_needs_no_quoting(entry: EntryKey) -> None:
    for position in (Position(entry_key(entry)), Position.at(entry.time / 1000)):
        assert Position.parse(position.cursor) == position
        assert set(position.cursor) <= set(string.ascii_letters + string.digits + "-_")
        assert abs(position.time - entry.time / 1000) < 0.002


@given(cursor=st.text(max_size=60) | st.binary(max_size=60).map(lambda data: base64.urlsafe_b64encode(data).decode()))
def test_a_foreign_cursor_is_a_bad_request(cursor: str) -> None:
    with pytest.raises(Problem) as refused:
        Position.parse(cursor)
    assert refused.value.kind is Kind.BAD_REQUEST


@given(entry=keys, data=st.data())
def test_a_cursor_that_was_cut_or_changed_is_a_bad_request(entry: EntryKey, data: st.DataObject) -> None:
    cursor = Position(entry_key(entry)).cursor
    at = data.draw(st.integers(0, len(cursor) - 1))
    other = data.draw(st.sampled_from(string.ascii_letters + string.digits).filter(lambda c: c != cursor[at]))
    for wrong in (cursor[:at], cursor[:at] + other + cursor[at + 1 :], cursor + "A", cursor + "="):
        with pytest.raises(Problem):
            Position.parse(wrong)


def test_the_feed_begins_with_a_whole_day() -> None:
    noon = 1_796_126_400.0  # 2026-12-01 12:00 UTC
    assert oldest_kept(noon, 7) == Position("feed/2026-11-24/0000/1795478400000")
