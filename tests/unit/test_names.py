"""Which filenames there can be."""

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from libs.common.files.names import check_filename, check_prefix, folders_of
from libs.common.problems import Kind, Problem

GOOD = (
    "a",
    "a.b",
    "...",
    " a ",
    "ä",
    "😀",
    "%2F",
    "a:b",
    'a"b',
    "-",
    "~",
    "x" * 255,
    "\u00e9" * 127,
    "a\u200db",
    "a/b",
    "drives/2026-11-30/drive 0417.mcap",
    "status",
    "status/a",
    "a/..b",
    "a/b=",
    "/".join(["x" * 255] * 3),
    "a/" * 424 + "bb",
)
BAD = {
    "": "empty",
    ".": "dots",
    "..": "dots",
    " ": "dots or spaces",
    " .. ": "dots or spaces",
    "\u2003": "dots or spaces",
    "/": "empty",
    "/a": "empty",
    "a/": "empty",
    "a//b": "empty",
    "a/./b": "dots",
    "a/../b": "dots",
    "../a": "dots",
    "a/ .. ": "dots",
    "a/b/status": "status",
    "=a": "'='",
    "a/=b": "'='",
    "a__XLDIR__": "__XLDIR__",
    "a__XLDIR__/b": "__XLDIR__",
    "a/" + "x" * 256: "256 bytes",
    "a/" * 425 + "b": "851 bytes",
    "\\": "backslash",
    "a\0": "control",
    "a\n": "control",
    "a\x1fb": "control",
    "\x7fa": "control",
    "a\x9f": "control",
    "a\ud800": "control",
    "x" * 256: "256 bytes",
    "\u00e9" * 128: "256 bytes",
    "e\u0301": "NFC",
    "\u212b": "NFC",
}


@pytest.mark.parametrize("filename", GOOD)
def test_a_good_name_stays_as_it_is(filename: str) -> None:
    assert check_filename(filename) == filename


@pytest.mark.parametrize(("filename", "why"), BAD.items())
def test_a_bad_name_is_refused_with_the_reason(filename: str, why: str) -> None:
    with pytest.raises(Problem) as caught:
        check_filename(filename)
    assert caught.value.kind is Kind.BAD_FILENAME
    assert why in caught.value.detail


@given(st.text(max_size=300) | st.lists(st.text("a.=/ ", max_size=4), max_size=5).map("/".join))
def test_every_name_that_is_taken_leads_down(filename: str) -> None:
    try:
        check_filename(filename)
    except Problem:
        return
    assert "\0" not in filename
    for segment in filename.split("/"):
        assert segment not in {"", ".", ".."}
        assert len(segment.encode()) <= 255
    assert len(filename.encode()) <= 850
    assert unicodedata.normalize("NFC", filename) == filename


@pytest.mark.parametrize("prefix", ["", "a", "a/", "a/b", ".", "..", " ", "a/.", "status"])
def test_a_prefix_is_what_a_name_can_begin_with(prefix: str) -> None:
    assert check_prefix(prefix) == prefix


@pytest.mark.parametrize("prefix", ["/", "/a", "a//", "../", "a/../b", "./", "=a", "a/=", "a\0", "e\u0301", "x" * 851])
def test_what_no_name_begins_with_is_no_prefix(prefix: str) -> None:
    with pytest.raises(Problem) as caught:
        check_prefix(prefix)
    assert caught.value.kind is Kind.BAD_REQUEST


def test_the_folders_of_a_file_are_told_from_the_outermost_in() -> None:
    assert folders_of("a/b/c") == ["a", "a/b"]
    assert folders_of("a") == []
