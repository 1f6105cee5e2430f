"""How the command speaks: results on stdout, one clear line about errors on stderr, exit codes."""

import asyncio
import json
import os
from collections.abc import Callable, Coroutine
from typing import Any, NoReturn, TypeVar

import typer
from rich.console import Console
from rich.text import Text

from libs.client.bars import Lines
from libs.client.client import TRANSFER_PATIENCE, HiperClient
from libs.client.errors import HiperError
from libs.client.identity import identity
from libs.client.profile import credentials
from libs.client.proxies import proxy_for
from libs.client.retry import Notify
from libs.client.sizes import printable

INTERRUPTED = 130  # exit code after Ctrl-C: 128 + SIGINT

ResultT = TypeVar("ResultT")


def out() -> Console:
    """Standard output as it is now. Nothing in a name is taken for markup or an emoji."""
    return Console(markup=False, emoji=False, highlight=False, soft_wrap=True)


def err() -> Console:
    return Console(stderr=True, markup=False, emoji=False, highlight=False, soft_wrap=True)


def say(text: str) -> None:
    out().print(printable(text))


def complain(error: Exception) -> None:
    """What happened and what to do, on one line."""
    if isinstance(error, OSError):
        what, hint = f"{error.filename or 'hiper'}: {error.strerror or error}", ""
    else:
        what, hint = str(error), getattr(error, "hint", "")
    err().print(Text("error: ", style="bold red") + Text(printable(what + (f" ({hint})" if hint else ""))))


def print_json(value: object) -> None:
    print(json.dumps(value, ensure_ascii=False))


def fail(error: Exception) -> NoReturn:
    complain(error)
    raise typer.Exit(1) from error


def client(retry_for: float = TRANSFER_PATIENCE, on_retry: Notify | None = None) -> HiperClient:
    """A client with the credentials of the environment or the profile."""
    who = credentials(os.environ)
    return HiperClient(
        who.server,
        who.device_id,
        who.client_secret,
        retry_for=retry_for,
        on_retry=on_retry or Lines(err()).retrying,
        tls=identity(os.environ),
        proxy=proxy_for(who.server),
    )


def run(work: Callable[[], Coroutine[Any, Any, ResultT]], interrupted: str = "interrupted") -> ResultT:
    """Run a command to its end; errors become a line and exit code 1, Ctrl-C a line and exit code 130."""
    try:
        return asyncio.run(work())
    except KeyboardInterrupt:
        err().print(interrupted)
        raise typer.Exit(INTERRUPTED) from None
    except (HiperError, OSError) as error:
        fail(error)
