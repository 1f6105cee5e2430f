"""Progress of transfers: bars on a terminal, plain lines elsewhere."""

import sys
import time
from collections.abc import Callable
from types import TracebackType
from typing import Protocol, Self

from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)

from libs.client.errors import HiperError
from libs.client.sizes import format_size, printable

LINE_EVERY = 10.0  # seconds between two lines about one file
MOST_BARS = 8  # with more files than this, those that are done have none
NOTICE_EVERY = 5.0  # seconds between two notices that something is tried again


class Reporter(Protocol):
    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    def track(self, name: str) -> Callable[[int, int], None]:
        """A function to call with the bytes done and the total of this file."""
        ...

    def retrying(self, error: HiperError, seconds: float) -> None:
        """Something failed and is tried again after a wait."""
        ...


class _Notices:
    """Says that something is tried again, but not for each of many requests that fail at once."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._next = 0.0

    def retrying(self, error: HiperError, seconds: float) -> None:
        if time.monotonic() >= self._next:
            self._next = time.monotonic() + NOTICE_EVERY
            self._console.print(printable(f"{error}; trying again in {seconds:.1f} s"))


class Bars(_Notices):
    """A bar for each file, with rate and time left."""

    def __init__(self, console: Console) -> None:
        super().__init__(console)
        self._progress = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            DownloadColumn(binary_units=True),
            TransferSpeedColumn(),
            TimeRemainingColumn(),
            console=console,
            redirect_stdout=sys.stdout.isatty(),  # else results would come out where the bars are
        )

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()

    def track(self, name: str) -> Callable[[int, int], None]:
        task = self._progress.add_task(printable(name), total=None)

        def report(done: int, total: int) -> None:
            crowded = len(self._progress.task_ids) > MOST_BARS
            self._progress.update(task, completed=done, total=total, visible=done < total or not crowded)

        return report


class Lines(_Notices):
    """A line about a file now and then."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        pass

    def track(self, name: str) -> Callable[[int, int], None]:
        following = time.monotonic() + LINE_EVERY

        def report(done: int, total: int) -> None:
            nonlocal following
            if time.monotonic() >= following and done < total:
                following = time.monotonic() + LINE_EVERY
                share = 100 * done // total
                self._console.print(printable(f"{name}: {format_size(done)} of {format_size(total)} ({share} %)"))

        return report


def reporter(console: Console) -> Reporter:
    """Bars where somebody watches, else lines."""
    return Bars(console) if console.is_terminal else Lines(console)
