"""A command that is told to end (Ctrl-C, SIGTERM, a closed terminal) ends, whatever it waits for."""

import asyncio
import os
import select
import signal
import sys
import threading
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Any, TypeVar

GOODBYE = 3.0  # seconds to end in order; a thread that writes to a full pipe never would
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
SHOW_CURSOR = b"\x1b[?25h"

ResultT = TypeVar("ResultT")


class Interrupted(Exception):
    """The work was cancelled. `code` is the exit code: 128 and the number of the signal."""

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.code = 128 + number


def interruptible(work: Callable[[], Coroutine[Any, Any, ResultT]], farewell: str) -> ResultT:
    """Run the work to its end. Raises Interrupted. Where the work does not end within GOODBYE, or at a second signal,
    the process ends here, with `farewell` on stderr."""
    ending = _Ending(farewell)

    async def main() -> ResultT:
        ending.watch(asyncio.get_running_loop(), asyncio.current_task())
        return await work()

    with _handlers(ending.on_signal):
        try:
            return asyncio.run(main())
        except asyncio.CancelledError:
            if not ending.number:
                raise
            raise Interrupted(ending.number) from None
        finally:
            ending.over()


class _Ending:
    def __init__(self, farewell: str) -> None:
        self._farewell = farewell
        self._timer: threading.Timer | None = None
        self._cancel: Callable[[], object] = lambda: None
        self.number = 0  # of the signal; 0 before the first

    def watch(self, loop: asyncio.AbstractEventLoop, task: "asyncio.Task[Any] | None") -> None:
        assert task is not None  # noqa: S101  # a coroutine runs in a task
        self._cancel = lambda: loop.call_soon_threadsafe(task.cancel)

    def on_signal(self, number: int, _frame: FrameType | None) -> None:
        if self.number:
            self._leave()
        self.number = number
        self._timer = threading.Timer(GOODBYE, self._leave)
        self._timer.daemon = True
        self._timer.start()
        self._cancel()

    def over(self) -> None:
        if self._timer:
            self._timer.cancel()

    def _leave(self) -> None:
        """Without a word where stderr is full too."""
        with suppress(OSError, ValueError):
            if select.select([], [2], [], 0)[1]:
                os.write(2, (SHOW_CURSOR if os.isatty(2) else b"") + f"{self._farewell}\n".encode())
        os._exit(128 + self.number)


@contextmanager
def _handlers(handler: Callable[[int, FrameType | None], None]) -> Iterator[None]:
    """Signals that are ignored stay so (nohup, jobs in the background)."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in SIGNALS}
    for number, then in before.items():
        if then is not signal.SIG_IGN:
            signal.signal(number, handler)
    try:
        yield
    finally:
        for number, then in before.items():
            signal.signal(number, then)


def abandon_stdout() -> None:
    """Nobody reads it: what is still written, also at the end of the process, goes nowhere."""
    with suppress(OSError, ValueError, AttributeError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)
