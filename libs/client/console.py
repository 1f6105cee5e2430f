"""How the command speaks: results on stdout, one clear line about errors on stderr, exit codes."""

import io
import json
import os
import sys
from collections.abc import Callable, Coroutine
from typing import Any, NoReturn, TypeVar

import typer
from rich.console import Console
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from libs.client.bars import Lines
from libs.client.client import TRANSFER_PATIENCE, HiperClient
from libs.client.errors import HiperError
from libs.client.identity import identity
from libs.client.interrupts import Interrupted, abandon_stdout, interruptible
from libs.client.profile import credentials
from libs.client.proxies import exposure, proxy_for
from libs.client.retry import Notify
from libs.client.sizes import parse_size, printable
from libs.common.files.labels import parse_labels
from libs.common.problems import Problem

READER_GONE = 141  # exit code: 128 + SIGPIPE

ResultT = TypeVar("ResultT")


class _Out(Console):
    """`run` ends the command."""

    def on_broken_pipe(self) -> None:
        raise BrokenPipeError


class _Err(Console):
    """What cannot be said about a transfer does not end it."""

    def on_broken_pipe(self) -> None:
        self.quiet = True


def out() -> Console:
    """Standard output as it is now. Nothing in a name is taken for markup or an emoji."""
    return _Out(markup=False, emoji=False, highlight=False, soft_wrap=True)


def err() -> Console:
    return _Err(stderr=True, markup=False, emoji=False, highlight=False, soft_wrap=True)


def screen_console() -> Console:
    """Standard output for pictures that fill the screen."""
    return _Out(markup=False, emoji=False, highlight=False)


def show_all() -> None:
    """A character that a stream cannot encode is written as an escape: it is no error of the work that it tells of."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def say(text: str) -> None:
    """The result of what was done. It is done also where nobody reads it."""
    try:
        print(printable(text), flush=True)
    except BrokenPipeError:
        abandon_stdout()


def print_table(table: Table) -> None:
    """As wide as what is in it: the terminal wraps lines, and no name is cut."""
    console = out()
    unbounded = console.options.update(max_width=10_000)
    width = Measurement.get(console, unbounded, table).maximum
    wide = _Out(markup=False, emoji=False, highlight=False, width=max(console.width, width))
    wide.print(table, crop=False, no_wrap=True, soft_wrap=True)


def complain(error: Exception, about: str = "") -> None:
    """What happened and what to do, on one line that begins with `about`."""
    if isinstance(error, OSError):
        what, hint = f"{error.filename or 'hiper'}: {error.strerror or error}", ""
    else:
        what, hint = str(error), getattr(error, "hint", "")
    err().print(Text("error: ", style="bold red") + Text(printable(about + what + (f" ({hint})" if hint else ""))))


def print_json(value: object) -> None:
    """On one line, with an escape for each character that a terminal would act on or cannot show."""
    plain = not (sys.stdout and (sys.stdout.encoding or "").lower().startswith("utf"))
    text = json.dumps(value, ensure_ascii=plain)
    print("".join(c if c.isprintable() else json.dumps(c)[1:-1] for c in text))


def fail(error: Exception) -> NoReturn:
    complain(error)
    raise typer.Exit(getattr(error, "exit_code", 1)) from error


def client(
    retry_for: float = TRANSFER_PATIENCE, on_retry: Notify | None = None, limit_rate: float | None = None
) -> HiperClient:
    """A client with the credentials of the environment or the profile. Warns of a proxy that can read them: who sent
    them without one may have set it since."""
    who = credentials(os.environ)
    proxy = proxy_for(who.server)
    if proxy and (warning := exposure(who.server, proxy)):
        err().print(printable(warning))
    return HiperClient(
        who.server,
        who.device_id,
        who.client_secret,
        retry_for=retry_for,
        on_retry=on_retry or Lines(err()).retrying,
        tls=identity(os.environ),
        proxy=proxy,
        limit_rate=limit_rate,
    )


def size_option(text: str | None, option: str) -> int | None:
    """The bytes that an option asks for, None if it is not given."""
    try:
        return None if text is None else parse_size(text)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint=option) from error


def labels_option(given: list[str] | None) -> dict[str, str]:
    """The labels of all options --label."""
    try:
        return parse_labels(given or ())
    except Problem as problem:
        raise typer.BadParameter(problem.detail.replace("Hiper-Label", "it"), param_hint="--label") from problem


def run(work: Callable[[], Coroutine[Any, Any, ResultT]], interrupted: str = "interrupted") -> ResultT:
    """Run a command to its end. An error becomes a line and its exit code; Ctrl-C a line and exit code 130, SIGTERM
    143. A reader of stdout that went away ends it without a word, with exit code 141, as SIGPIPE would."""
    try:
        result = interruptible(work, interrupted)
        flush()
    except Interrupted as error:
        err().print(interrupted)
        raise typer.Exit(error.code) from None
    except BrokenPipeError:
        abandon_stdout()
        raise typer.Exit(READER_GONE) from None
    except (HiperError, OSError) as error:
        fail(error)
    return result


def flush() -> None:
    """Now, and not at the end of the process, where an error would be a traceback."""
    try:
        if sys.stdout:
            sys.stdout.flush()
    except OSError:
        abandon_stdout()
        raise
