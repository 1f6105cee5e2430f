"""Progress where nobody watches: lines, and not too many."""

from io import StringIO

import pytest
from rich.console import Console

from libs.client import bars
from libs.client.bars import Bars, Lines, reporter
from libs.client.errors import ServerAwayError


@pytest.fixture
def eager(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lines at once instead of every few seconds."""
    monkeypatch.setattr(bars, "LINE_EVERY", 0.0)


@pytest.mark.usefixtures("eager")
def test_a_line_says_how_far_the_file_is() -> None:
    written = StringIO()
    with reporter(Console(file=written)) as shown:
        assert isinstance(shown, Lines)
        shown.track("drive.mcap")(2**20, 4 * 2**20)
    assert written.getvalue() == "drive.mcap: 1.0 MiB of 4.0 MiB (25 %)\n"


def test_a_file_that_is_quick_gets_no_line() -> None:
    written = StringIO()
    with Lines(Console(file=written)) as shown:
        report = shown.track("f")
        report(1, 2)
        report(2, 2)
    assert written.getvalue() == ""


def test_many_failures_at_once_are_one_notice() -> None:
    written = StringIO()
    with Lines(Console(file=written, width=200)) as shown:
        for _ in range(4):
            shown.retrying(ServerAwayError("http://s", "refused"), 1.5)
    assert written.getvalue() == "cannot reach http://s: refused; trying again in 1.5 s\n"


def test_a_terminal_gets_a_bar_with_the_name_of_the_file() -> None:
    written = StringIO()
    with reporter(Console(file=written, force_terminal=True, width=120)) as shown:
        assert isinstance(shown, Bars)
        shown.track("drive [1].mcap")(5, 5)
    assert "drive [1].mcap" in written.getvalue()
    assert "5/5 bytes" in written.getvalue()
