"""`hiper top`."""

import asyncio
import os
import sys
import time
from collections.abc import Iterator
from contextlib import aclosing, contextmanager, suppress
from typing import Annotated, Literal

import typer
from rich.console import Group
from rich.live import Live

from libs.client.console import client, labels_option, out, print_json, print_table, run, screen_console
from libs.client.errors import HiperError
from libs.client.fleet import Filters
from libs.client.top_table import screen, table
from libs.client.top_view import Row, View, in_trouble_first
from libs.client.window import together

EACH = 1.0  # seconds between two pictures
QUIT = frozenset(b"q\x04")  # q, Ctrl-D


def top(
    owner: Annotated[str | None, typer.Option(help="Only the uploads of this device.", metavar="ID")] = None,
    status: Annotated[
        Literal["pending", "partial"] | None, typer.Option(help="Only `pending` ones, or `partial` (parked) ones.")
    ] = None,
    stuck: Annotated[bool, typer.Option("--stuck", help="Only those that are stuck.")] = False,
    prefix: Annotated[
        str, typer.Option(help="Only files whose names begin with this, such as drives/.", metavar="PREFIX")
    ] = "",
    device_class: Annotated[
        str | None, typer.Option("--class", help="Only of devices of this class.", metavar="CLASS")
    ] = None,
    label: Annotated[
        list[str] | None, typer.Option(help="Only with this label; with all of several.", metavar="KEY=VALUE")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print each upload as JSON, once.")] = False,
) -> None:
    """Watch the uploads in progress, those in trouble first: stuck, then silent, parked, slow.

    On a terminal it goes on until `q` or Ctrl-C. Elsewhere it prints one table. With the scope `fleet:read` it shows
    the uploads of all devices, else your own.
    """
    filters = Filters(
        owner=owner,
        status=status,
        stuck=True if stuck else None,
        prefix=prefix,
        device_class=device_class,
        label=labels_option(label),
    )
    if as_json or not out().is_terminal:
        run(lambda: _once(filters, as_json))
    else:
        run(lambda: _watch(filters))


async def _once(filters: Filters, as_json: bool) -> None:
    rows, now = list[Row](), time.monotonic()
    async with client() as hiper, aclosing(hiper.fleet.list(**filters)) as uploads:
        async for upload in uploads:
            if as_json:
                print_json(upload.model_dump(mode="json", by_alias=True))
            else:
                rows.append(Row(upload, now))
    if rows:
        print_table(table(in_trouble_first(rows, now), now))


async def _watch(filters: Filters) -> None:
    """Until somebody ends it."""
    top = _Top(filters)
    picture = Live(console=top.console, screen=True, auto_refresh=False, get_renderable=top.picture)
    with suppress(_Over), _keys(top.over), picture as live:
        await together([top.read(), top.draw(live), top.end()])


class _Over(Exception):
    """Somebody ended it."""


class _Top:
    def __init__(self, filters: Filters) -> None:
        self._filters = filters
        self._view = View()
        self._notice = ""
        self.console = screen_console()
        self.over = asyncio.Event()

    async def read(self) -> None:
        async with client(on_retry=self._retrying) as hiper, aclosing(hiper.fleet.watch(**self._filters)) as changes:
            async for change in changes:
                self._view.take(change, time.monotonic())
                self._notice = ""

    async def draw(self, live: Live) -> None:
        while True:
            live.refresh()
            await asyncio.sleep(EACH)

    async def end(self) -> None:
        await self.over.wait()
        raise _Over

    def picture(self) -> Group:
        return screen(self._view, time.monotonic(), self.console.size, self._notice)

    def _retrying(self, error: HiperError, seconds: float) -> None:
        self._notice = f"{error}; trying again in {seconds:.0f} s"


@contextmanager
def _keys(over: asyncio.Event) -> Iterator[None]:
    """Meanwhile keys are read at once, and not shown."""
    try:
        import termios
        import tty
    except ImportError:  # no Unix
        yield
        return
    if not sys.stdin.isatty():
        yield
        return
    loop, keyboard = asyncio.get_running_loop(), sys.stdin.fileno()
    before = termios.tcgetattr(keyboard)
    tty.setcbreak(keyboard)
    loop.add_reader(keyboard, _read_key, keyboard, over)
    try:
        yield
    finally:
        loop.remove_reader(keyboard)
        termios.tcsetattr(keyboard, termios.TCSADRAIN, before)


def _read_key(keyboard: int, over: asyncio.Event) -> None:
    try:
        pressed = os.read(keyboard, 64)
    except OSError:  # the terminal is gone
        pressed = b""
    if not pressed or not QUIT.isdisjoint(pressed.lower()):
        over.set()
