"""How `hiper top` looks."""

from collections.abc import Sequence
from datetime import UTC, datetime

from rich.cells import cell_len, chop_cells, set_cell_size
from rich.console import ConsoleDimensions, Group, RenderableType
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from libs.client.sizes import format_size, printable
from libs.client.top_view import MOVES, Row, View

HEADINGS = ("OWNER", "NAME", "DONE", "", "RATE", "LEFT", "STATE")
OWNER, BAR, SHARE, RATE, LEFT, STATE = 12, 8, 5, 12, 7, 19  # cells of each column but the name's
LEAST_NAME = 10  # cells
AROUND = 4  # lines above and below the rows
_STYLES = ("bold red", "yellow", "dim", "")


def screen(view: View, now: float, size: ConsoleDimensions, notice: str) -> Group:
    """The view, cut to a terminal of `size` columns and lines. `now`: seconds, by the clock that gave `View.take` its
    `at`."""
    width, lines = size
    rows, room = view.sorted(now), max(1, lines - AROUND)
    hidden = len(rows) - room
    more = f"{hidden} more; " if hidden > 0 else ""
    if not rows and view.is_whole:
        more = "no upload is in progress; "
    return Group(_line(_heading(view, now), width, "bold"), _line(_age(view), width, "dim"),
        table(rows[:room], now, width), _line(notice or f"{more}q ends", width, "yellow" if notice else "dim"),
    )  # fmt: skip


def table(rows: Sequence[Row], now: float, width: int | None = None) -> Table:
    """Without a width, names are shown whole."""
    shown = Table(*HEADINGS, box=None, pad_edge=False, padding=(0, 1, 0, 0), header_style="bold")
    for column in shown.columns:
        column.no_wrap = True
    for column in shown.columns[3:6]:
        column.justify = "right"
    name = None
    if width is not None:
        widths = (OWNER, 0, BAR, SHARE, RATE, LEFT, STATE)
        name = max(LEAST_NAME, width - sum(widths) - len(widths) + 1)
        for column, cells in zip(shown.columns, widths, strict=True):
            column.width = cells or name
    for row in rows:
        shown.add_row(*_cells(row, now, name), style=_STYLES[row.trouble(now)[0]])
    return shown


def _cells(row: Row, now: float, name: int | None) -> list[RenderableType]:
    upload, rate, left = row.upload, row.rate(now), row.left(now)
    owner, filename = printable(upload.owner), printable(upload.filename)
    total, received = upload.total_size, upload.received_bytes
    return [
        Text(owner if name is None else _begin_of(owner, OWNER)),
        Text(filename if name is None else _end_of(filename, name)),
        _bar(received, total, name is None),
        Text(f"{100 * received // total} %" if total else "?"),
        Text(f"{format_size(rate)}/s" if rate >= MOVES else "-"),
        Text("-" if left is None else duration(left)),
        Text(state(row, now)),
    ]


def _bar(received: int, total: int | None, in_words: bool) -> RenderableType:
    if not total:
        return Text(format_size(received))
    if in_words:
        return Text(f"{format_size(received)} of {format_size(total)}")
    return ProgressBar(total=total, completed=received, width=BAR)


def state(row: Row, now: float) -> str:
    """Why it does not go on, where it does not."""
    upload = row.upload
    rests = duration((datetime.now(UTC) - upload.last_updated).total_seconds())
    if upload.stuck:
        whom = "stuck" if upload.waiting_for == "device" else "not assembled"
        return f"{whom} for {rests}"
    if upload.status == "partial":
        return f"parked, {rests} old"
    if upload.waiting_for != "device":
        return "being assembled"
    return "receiving" if row.rate(now) >= MOVES else f"silent for {rests}"


def duration(seconds: float) -> str:
    """`5 s`, `12 min`, `3 h`, `4 d`: whole units, rounded down."""
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= size:
            return f"{int(seconds // size)} {unit}"
    return f"{max(0, int(seconds))} s"


def _heading(view: View, now: float) -> str:
    totals = view.totals(now)
    return (
        f"{totals.uploads} uploads: {totals.stuck} stuck, {totals.waiting} waiting, {format_size(totals.rate)}/s in all"
    )


def _age(view: View) -> str:
    if not view.is_whole:
        return "reading the list"
    if view.as_of is None:
        return "no janitor has looked at the uploads yet"
    since = "with what came since" if view.live else "what came since is not heard of"
    return f"as of {view.as_of.astimezone():%H:%M:%S}, {since}"


def _line(text: str, width: int, style: str) -> Text:
    return Text(_begin_of(printable(text), width), style, no_wrap=True)


def _begin_of(text: str, cells: int) -> str:
    return text if cell_len(text) <= cells else set_cell_size(text, cells - 1) + "…"


def _end_of(name: str, cells: int) -> str:
    """The last characters: names differ there."""
    if cell_len(name) <= cells:
        return name
    return "…" + chop_cells(name[::-1], cells - 1)[0][::-1]
