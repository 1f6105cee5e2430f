"""Which filenames there can be."""

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from libs.common.names import check_filename
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
)
BAD = {
    "": "empty",
    ".": "dots",
    "..": "dots",
    " ": "dots or spaces",
    " .. ": "dots or spaces",
    "\u2003": "dots or spaces",
    "a/b": "slash",
    "/": "slash",
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


@given(st.text(max_size=300))
def test_every_name_that_is_taken_is_one_segment_of_a_path(filename: str) -> None:
    try:
        check_filename(filename)
    except Problem:
        return
    assert "/" not in filename
    assert "\0" not in filename
    assert filename not in {"", ".", ".."}
    assert 0 < len(filename.encode()) <= 255
    assert unicodedata.normalize("NFC", filename) == filename
