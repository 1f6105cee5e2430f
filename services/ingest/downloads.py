"""Downloads share the store: many take turns at it, and one whose client reads slowly holds no answer of it.

A download begins with some bytes in memory. A client that takes them at once gets the rest as the store sends it. For
one that does not, the store's answer is closed, and the next bytes are asked for when the client wants them.
"""

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import aclosing, contextmanager

from libs.common.files.extents import Extent
from libs.common.storage import StoreUnavailable
from services.ingest.download_turns import FIRST_TURN_WAIT, Turns
from services.ingest.metrics import AT_CLIENT

# None of these is a setting. They trade the store's connections and memory for the pace of one download, which no
# operator can see from outside; replicas (for connections) and ANSWER_LEAST_RATE (for slow clients) are what to change.
TURN_LENGTH = 1.0  # seconds after which a download makes room for one that waits: long against a request to the store
CLIENT_PATIENCE = 0.5  # seconds that a client may keep an answer of the store waiting: a radio's usual gaps are shorter
CROWDED_PATIENCE = 0.05  # the same in seconds, while other downloads wait for a turn
MOST_AHEAD = 256 * 1024  # bytes in memory for one client; the kernel holds as many for it (docs/limits.md)
LEAST_AHEAD = 16 * 1024  # bytes in memory for each client, however many there are: a request to the store costs as much
MOST_AHEAD_OF_ALL = 64 * 2**20  # bytes in memory for all clients, while each has its least: within the 150 MiB of a pod
BLOCK = 64 * 1024  # bytes that a client is given at once, and so what is kept besides for one that takes nothing
TRUSTED_AFTER = 4 * 2**20  # bytes, after which a client that kept up is given them as they come

Blocks = AsyncGenerator[bytes, None]
Read = Callable[[Extent], Blocks]


class Downloads:
    """The downloads of one process."""

    def __init__(self, turns: Turns | None = None) -> None:
        self.turns = turns or Turns()
        self._in_memory = 0  # downloads with bytes in memory

    def blocks(self, read: Read, extent: Extent, device: str) -> Blocks:
        """The bytes of an extent, for a device. `read` streams any part of it, and is called as often as it takes.
        Raises what `read` raises, and BUSY when the first turn does not come."""
        return _Download(self, read, extent, device).blocks()

    @contextmanager
    def memory(self) -> Iterator[int]:
        """How many bytes one more download may hold in memory."""
        self._in_memory += 1
        try:
            yield max(LEAST_AHEAD, min(MOST_AHEAD, MOST_AHEAD_OF_ALL // self._in_memory))
        finally:
            self._in_memory -= 1


class _Download:
    """How far one download is, and whether its client keeps up with the store."""

    def __init__(self, shared: Downloads, read: Read, extent: Extent, device: str) -> None:
        self._shared = shared
        self._read = read
        self._at, self._end = extent
        self._device = device
        self._patience: float | None = FIRST_TURN_WAIT
        self._keeps_up = False

    async def blocks(self) -> Blocks:
        with AT_CLIENT.track_inprogress():
            while self._at < self._end:
                before = self._at
                async with aclosing(self._passed_on() if self._keeps_up else self._from_memory()) as blocks:
                    async for block in blocks:
                        self._at += len(block)
                        yield block
                if self._at == before:
                    raise StoreUnavailable(f"no byte from {before} on is in the answer")

    async def _from_memory(self) -> Blocks:
        with self._shared.memory() as size:
            ahead = await self._read_ahead(Extent(self._at, min(self._at + size, self._end)))
            began = asyncio.get_running_loop().time()
            for start in range(0, len(ahead), BLOCK):
                yield ahead[start : start + BLOCK]
        self._keeps_up = asyncio.get_running_loop().time() - began < CLIENT_PATIENCE

    async def _read_ahead(self, extent: Extent) -> bytes:
        await self._shared.turns.take(self._device, self._patience)
        self._patience = None  # the answer has begun
        try:
            async with aclosing(self._read(extent)) as blocks:
                return b"".join([block async for block in blocks])
        finally:
            self._shared.turns.give_back()

    async def _passed_on(self) -> Blocks:
        await self._shared.turns.take(self._device)
        answer = _Answer(self._shared.turns, self._read(Extent(self._at, self._end)))
        try:
            while block := await answer.next():
                yield block
        finally:
            await answer.closed()
        self._keeps_up = not answer.kept_waiting


class _Answer:
    """An answer of the store that is passed on as it comes, with a turn that it gives back when its client reads
    slowly, or when it had its time and others wait."""

    def __init__(self, turns: Turns, blocks: Blocks) -> None:
        self._turns = turns
        self._blocks = blocks
        self._block = b""  # what of it the client was not given yet
        self._passed = 0  # bytes
        self._loop = asyncio.get_running_loop()
        self._ends = self._loop.time() + TURN_LENGTH  # if others wait
        self._passed_at: float | None = None  # when the client was given what it has not taken yet
        self._closing: asyncio.Task[None] | None = None
        self._timer = self._loop.call_later(CROWDED_PATIENCE, self._look)
        self.kept_waiting = False

    async def next(self) -> bytes:
        """Call it when the client has taken the bytes before. Empty when this answer gives no more."""
        self._passed_at = None
        if self.kept_waiting or (self._turns.waiting and self._loop.time() > self._ends):
            return b""
        if not self._block:
            self._block = await anext(self._blocks, b"")
        size = BLOCK if self._passed < TRUSTED_AFTER else len(self._block)
        passed, self._block = self._block[:size], self._block[size:]
        self._passed += len(passed)
        self._passed_at = self._loop.time()
        return passed

    async def closed(self) -> None:
        """Close the answer and give back the turn, even where the caller is cancelled meanwhile."""
        self._passed_at = None
        await asyncio.shield(self._close())

    def _look(self) -> None:
        patience = CROWDED_PATIENCE if self._turns.waiting else CLIENT_PATIENCE
        if self._passed_at is not None and self._loop.time() - self._passed_at >= patience:
            self.kept_waiting = True
            self._block = b""
            self._close()
        else:
            self._timer = self._loop.call_later(CROWDED_PATIENCE, self._look)

    def _close(self) -> asyncio.Task[None]:
        self._closing = self._closing or self._loop.create_task(self._give_back())
        return self._closing

    async def _give_back(self) -> None:
        self._timer.cancel()
        try:
            await self._blocks.aclose()
        finally:
            self._turns.give_back()
