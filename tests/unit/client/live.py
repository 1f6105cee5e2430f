"""A real server for the client's tests: uvicorn in a thread, and a wire to it that can be cut."""

import asyncio
import contextlib
import threading
import time
from collections.abc import Callable, Coroutine, Sequence
from types import TracebackType
from typing import Any, Self

import uvicorn
from fastapi import FastAPI

from tests.ports import free_port


class LiveServer:
    """Listens on a port of its own, that stays the same when it is stopped and started again."""

    def __init__(self, make_app: Callable[[], FastAPI]) -> None:
        self._make_app = make_app
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        config = uvicorn.Config(
            self._make_app(), port=self.port, ws="none", log_config=None, timeout_graceful_shutdown=1
        )
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._server.run, daemon=True)  # a failed test must end
        self._thread.start()
        deadline = time.monotonic() + 20
        while not self._server.started:
            assert self._thread.is_alive(), "the server did not start"
            assert time.monotonic() < deadline, "the server does not become ready"
            time.sleep(0.01)

    def stop(self) -> None:
        self._server.should_exit = True
        self._thread.join(20)
        assert not self._thread.is_alive(), "the server does not end"

    def restart(self) -> None:
        self.stop()
        self.start()


Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]
OpenFar = Callable[[], Coroutine[Any, Any, Streams]]


class Relay:
    """Something on the way to a port of this machine. What it does with a connection, `carry` says."""

    def __init__(self, target_port: int) -> None:
        self._target = target_port
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.address = f"127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        self.url = f"http://{self.address}"
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._server.wait_closed()

    async def carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, far: OpenFar) -> None:
        """Serve one connection; `far` opens one to the target. Both are cut when this returns."""
        raise NotImplementedError

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        writers = [writer]

        async def far() -> Streams:
            streams = await asyncio.open_connection("127.0.0.1", self._target)
            writers.append(streams[1])
            return streams

        try:
            await self.carry(reader, writer, far)
        except (OSError, asyncio.IncompleteReadError):
            pass  # one end is away: so is this connection
        finally:
            for each in writers:
                each.transport.abort()
            for each in writers:
                with contextlib.suppress(OSError):
                    await each.wait_closed()
            self._tasks.discard(task)


async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while block := await reader.read(64 * 1024):
            writer.write(block)
            await writer.drain()


class CuttingProxy(Relay):
    """Forwards connections to a port. While `cuts` lasts, each connection is cut once it carried `after` bytes in
    either direction, without a farewell."""

    def __init__(self, target_port: int) -> None:
        super().__init__(target_port)
        self.cuts = 0
        self.after = 0  # bytes
        self.lose_answer = 0  # the first, second... answer from now on is lost, and the connection with it; 0: none
        self.away_then = False  # whether no connection is carried from then on, until `away` is cleared
        self.away = asyncio.Event()
        self.done = 0  # connections that were cut

    async def carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, far: OpenFar) -> None:
        if self.away.is_set():
            return
        far_reader, far_writer = await far()
        await first_of([self._pump(reader, far_writer, False), self._pump(far_reader, writer, True)])

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, answers: bool) -> None:
        carried = 0
        with contextlib.suppress(OSError):
            while block := await reader.read(16 * 1024):
                carried += len(block)
                if self._cut(carried, answers and block.startswith(b"HTTP/1.1 ")):
                    self.done += 1
                    return
                writer.write(block)
                await writer.drain()

    def _cut(self, carried: int, begins: bool) -> bool:
        """Whether to cut a connection that carried so many bytes; `begins`: an answer begins now. On a busy machine
        its head and its body may come in two blocks."""
        if begins and self.lose_answer:
            self.lose_answer -= 1
            if self.away_then and not self.lose_answer:
                self.away.set()
            return not self.lose_answer
        if self.cuts and carried > self.after:
            self.cuts -= 1
            return True
        return False


async def first_of(works: Sequence[Coroutine[Any, Any, None]]) -> None:
    """Return when one of them has ended; the others are cancelled."""
    tasks = [asyncio.create_task(work) for work in works]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
