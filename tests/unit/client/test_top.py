"""What `hiper top` shows: the uploads in trouble first, on any terminal."""

from datetime import UTC, datetime, timedelta
from io import StringIO
from typing import Any

import pytest
from rich.console import Console, ConsoleDimensions

from libs.client.models_fleet import FleetChange, UploadEntry
from libs.client.top_table import duration, screen, state
from libs.client.top_view import Row, View

MIB = 2**20
NOW = 1000.0


def upload(name: str, **fields: Any) -> UploadEntry:
    """One that goes on, but for what `fields` say; `rests`: seconds since its last byte."""
    told: dict[str, Any] = {
        "filename": name,
        "owner": "car-7",
        "status": "pending",
        "session": "5" * 16,
        "total_size": 10 * MIB,
        "received_bytes": 5 * MIB,
        "next_expected_byte": 5 * MIB,
        "rate": float(MIB),
        "last_updated": datetime.now(UTC) - timedelta(seconds=fields.pop("rests", 0)),
        "waiting_for": "device",
        "parks_at": None,
        "stuck": False,
        "labels": {},
    }
    return UploadEntry.model_validate(told | fields)


def view_of(*uploads: UploadEntry, live: bool = True) -> View:
    view = View()
    for change in changes("list", *uploads, live=live):
        view.take(change, NOW)
    return view


def changes(kind: str, *uploads: UploadEntry, live: bool = True) -> list[FleetChange]:
    """A list of these, or for any other kind changes of that kind."""
    if kind != "list":
        return [FleetChange.model_validate({"change": kind, "upload": each}) for each in uploads]
    as_of = datetime.now(UTC)
    return [
        FleetChange(change="list", as_of=as_of, live=live),
        *changes("listed", *uploads),
        FleetChange(change="bookmark", as_of=as_of, live=live),
    ]


def names(view: View, now: float = NOW) -> list[str]:
    return [row.upload.filename for row in view.sorted(now)]


def lines(view: View, width: int = 80, height: int = 24, notice: str = "") -> list[str]:
    console = Console(file=StringIO(), width=width, height=height, force_terminal=True, color_system=None)
    console.print(screen(view, NOW, ConsoleDimensions(width, height), notice))
    assert isinstance(console.file, StringIO)
    return console.file.getvalue().splitlines()


def test_stuck_uploads_come_first_then_those_that_wait_then_parked_ones_then_the_slow_ones() -> None:
    view = view_of(
        upload("fast"),
        upload("slow", rate=2000.0),
        upload("parked", status="partial", rate=0.0, rests=9000),
        upload("silent", rate=0.0, rests=60),
        upload("assembled", waiting_for="assembler", rate=0.0, rests=90),
        upload("stuck", stuck=True, rate=0.0, rests=400),
        upload("stuck longer", stuck=True, rate=0.0, rests=500),
    )
    assert names(view) == ["stuck longer", "stuck", "assembled", "silent", "parked", "slow", "fast"]


def test_an_upload_of_which_nothing_is_heard_loses_its_rate() -> None:
    view = view_of(upload("a"), upload("b", rate=0.0))
    assert (view.totals(NOW).rate, view.totals(NOW).waiting) == (MIB, 1)
    assert view.totals(NOW + 30).rate == pytest.approx(MIB * 0.368, rel=0.01)
    assert view.totals(NOW + 600).waiting == 2


def test_changes_are_followed() -> None:
    view = view_of(upload("a"), upload("b"))
    news = [
        *changes("added", upload("c")),
        *changes("removed", upload("a")),
        *changes("changed", upload("b", rate=1e9)),
    ]
    for change in news:
        view.take(change, NOW)
    assert sorted(names(view)) == ["b", "c"]
    assert view.totals(NOW).rate == pytest.approx(1e9 + MIB)


def test_a_new_list_forgets_what_it_does_not_hold_but_not_before_its_end() -> None:
    view = view_of(upload("a"), upload("b"))
    *begin, end = changes("list", upload("b"), upload("c"))
    for change in begin:
        view.take(change, NOW)
    assert sorted(names(view)) == ["a", "b", "c"]
    view.take(end, NOW)
    assert sorted(names(view)) == ["b", "c"]


def test_the_time_left_comes_of_the_bytes_and_the_rate() -> None:
    assert Row(upload("a"), NOW).left(NOW) == 5.0
    assert Row(upload("a", total_size=None), NOW).left(NOW) is None
    assert Row(upload("a", rate=0.0), NOW).left(NOW) is None


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({}, "receiving"),
        ({"rate": 0.0, "rests": 65}, "silent for 1 min"),
        ({"rate": 0.0, "rests": 65, "waiting_for": "assembler"}, "being assembled"),
        ({"rate": 0.0, "rests": 400, "stuck": True}, "stuck for 6 min"),
        ({"rate": 0.0, "rests": 4000, "stuck": True, "waiting_for": "assembler"}, "not assembled for 1 h"),
        ({"rate": 0.0, "rests": 200_000, "status": "partial"}, "parked, 2 d old"),
    ],
)
def test_the_state_says_why_an_upload_does_not_go_on(fields: dict[str, Any], words: str) -> None:
    assert state(Row(upload("a", **fields), NOW), NOW) == words


@pytest.mark.parametrize("width", [80, 132])
@pytest.mark.parametrize("name", ["drives/" * 30 + "0417.mcap", "録画/" * 40 + "0417.mcap", "a"])
def test_every_line_fits_and_names_show_their_end(width: int, name: str) -> None:
    shown = lines(view_of(upload(name, owner="truck-000000000000042")), width)
    assert max(Console(width=500).measure(line).maximum for line in shown) <= width
    assert any(name[-9:] in line for line in shown)


def test_no_more_rows_than_the_terminal_has() -> None:
    view = view_of(*(upload(f"{number}.bin") for number in range(100)))
    shown = lines(view, height=24)
    assert len(shown) <= 24
    assert "80 more" in shown[-1]
    assert shown[0].startswith("100 uploads: 0 stuck, 0 waiting, 100.0 MiB/s in all")


def test_a_name_cannot_act_on_the_terminal() -> None:
    assert not any("\x1b" in line for line in lines(view_of(upload("\x1b[2Ja", owner="\x1b[31m"))))


def test_the_screen_says_how_fresh_it_is() -> None:
    assert "reading the list" in lines(View())[1]
    assert "with what came since" in lines(view_of())[1]
    assert "what came since is not heard of" in lines(view_of(live=False))[1]
    assert "no upload is in progress" in lines(view_of())[-1]
    assert "cannot reach" in lines(view_of(), notice="cannot reach the server")[-1]


@pytest.mark.parametrize(
    ("seconds", "words"), [(-3, "0 s"), (59.9, "59 s"), (60, "1 min"), (7199, "1 h"), (86400, "1 d"), (1e7, "115 d")]
)
def test_durations_are_whole_units(seconds: float, words: str) -> None:
    assert duration(seconds) == words
