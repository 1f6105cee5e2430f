"""An asyncio event loop in which time is a number and processes can be stopped, killed and told apart.

Callbacks run in the order in which asyncio would run them. What a seed chooses is when each thing takes effect: the
latencies of every call, and who is held up where.
"""

import asyncio
from asyncio import events
from collections import deque
from collections.abc import Callable, Coroutine
from contextlib import suppress
from contextvars import Context, ContextVar, copy_context
from heapq import heappop, heappush
from typing import Any, TypeVar

T = TypeVar("T")


class Process:
    """One operating-system process of the simulated system. It is `paused` whole, or dead for good."""

    def __init__(self, loop: "Loop", name: str) -> None:
        self.loop = loop
        self.name = name
        self.dead = False
        self.paused_until = 0.0
        self.suspended = 0.0  # seconds that it has spent paused
        self.tasks: list[asyncio.Task[Any]] = []
        self.on_death: list[Callable[[], None]] = []
        self.context = copy_context()
        self.context.run(RUNNING.set, self)

    def run(self, work: Coroutine[Any, Any, T]) -> "asyncio.Task[T]":
        task = self.loop.create_task(work, context=self.context)
        self.tasks.append(task)
        return task

    def pause(self, seconds: float) -> None:
        until = self.loop.now + seconds
        if until > self.paused_until:
            self.suspended += until - max(self.paused_until, self.loop.now)
            self.paused_until = until

    def kill(self) -> None:
        """Nothing of it runs from here on, not even what it would do on its way out."""
        if not self.dead:
            self.dead = True
            for tell in self.on_death:
                tell()


RUNNING: ContextVar[Process] = ContextVar("RUNNING")


class Due:
    """A callback and when it is due: the handle that asyncio asks for."""

    __slots__ = ("args", "callback", "context", "process", "time")

    def __init__(
        self, time: float, callback: Callable[..., Any] | None, args: Any, context: Context, process: Process
    ) -> None:
        self.time = time
        self.callback = callback
        self.args = args
        self.context = context
        self.process = process

    def cancel(self) -> None:
        self.callback, self.args = None, ()

    def cancelled(self) -> bool:
        return self.callback is None

    def when(self) -> float:
        return self.time


class Loop(asyncio.AbstractEventLoop):
    """Virtual time: it moves when nothing is left to do at the present moment."""

    def __init__(self) -> None:
        self.now = 0.0
        self.errors: list[dict[str, Any]] = []
        self._ready: deque[Due] = deque()
        self._later: list[tuple[float, int, Due]] = []
        self._count = 0
        self._all: list[asyncio.Task[Any]] = []  # none is collected, and thereby ended, before the history is over

    def run_until(self, done: Callable[[], bool], latest: float) -> bool:
        """Run until something is so, at most to a time in seconds; whether it is so. Asked whenever time moves on."""
        before = events._get_running_loop()
        events._set_running_loop(self)
        try:
            while True:
                self._run_ready()
                if done():
                    return True
                if not self._later or self._later[0][0] > latest:
                    return False
                time, _, due = heappop(self._later)
                if time > self.now:
                    self.now = time
                self._ready.append(due)
        finally:
            events._set_running_loop(before)

    def _run_ready(self) -> None:
        ready = self._ready
        while ready:
            due = ready.popleft()
            process, callback = due.process, due.callback
            if callback is None or process.dead:
                continue
            if process.paused_until > self.now:
                self._push(process.paused_until, due)
            else:
                due.context.run(callback, *due.args)

    def _push(self, time: float, due: Due) -> None:
        self._count += 1
        heappush(self._later, (time, self._count, due))

    def time(self) -> float:
        return self.now

    def get_debug(self) -> bool:
        return False

    def call_soon(self, callback: Callable[..., Any], *args: Any, context: Context | None = None) -> Any:  # type: ignore[override]
        context = context or copy_context()
        due = Due(self.now, callback, args, context, context[RUNNING])
        self._ready.append(due)
        return due

    def call_at(self, when: float, callback: Callable[..., Any], *args: Any, context: Context | None = None) -> Any:  # type: ignore[override]
        context = context or copy_context()
        due = Due(when, callback, args, context, context[RUNNING])
        self._push(when, due)
        return due

    def call_later(self, delay: float, callback: Callable[..., Any], *args: Any, context: Context | None = None) -> Any:  # type: ignore[override]
        return self.call_at(self.now + delay, callback, *args, context=context)

    def create_future(self) -> "asyncio.Future[Any]":
        return asyncio.Future(loop=self)

    def create_task(self, coro: Any, *, name: Any = None, context: Context | None = None) -> "asyncio.Task[Any]":
        task: asyncio.Task[Any] = asyncio.Task(coro, loop=self, name=name or "task", context=context)
        self._all.append(task)
        return task

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        self.errors.append(context)

    async def sleep(self, seconds: float) -> None:
        waiter = self.create_future()
        process, due = RUNNING.get(), self.now + seconds
        self._push(due, Due(due, _wake, (waiter,), process.context, process))
        await waiter

    def end(self) -> None:
        """Throw away what still runs, without a word."""
        self._ready.clear()
        self._later.clear()
        for task in self._all:
            with suppress(BaseException):  # what they would do on their way out
                task.get_coro().close()
            task._log_destroy_pending = False  # type: ignore[attr-defined]  # how asyncio itself silences it
            task._log_traceback = False
        self._all.clear()


def _wake(waiter: "asyncio.Future[None]") -> None:
    if not waiter.done():
        waiter.set_result(None)


class ProcessClock:
    """The clock of one process: its own monotonic time, which goes on while it is paused unless `stops`."""

    stops = False

    def __init__(self, process: Process, offset: float) -> None:
        self._process = process
        self._offset = offset

    def monotonic(self) -> float:
        stopped = self._process.suspended if self.stops else 0.0
        return self._process.loop.now + self._offset - stopped

    def time(self) -> float:
        return self._process.loop.now

    async def sleep(self, seconds: float) -> None:
        await self._process.loop.sleep(seconds)
