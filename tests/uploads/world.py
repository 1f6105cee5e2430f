"""A small world for tests of the protocol: two buckets on disk, a bus, a virtual clock, and processes on them."""

import asyncio
import hashlib
import time
from collections.abc import AsyncIterator, Awaitable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar
from unittest.mock import patch

import pytest

from libs.common.bus import EVERY_OWNER
from libs.common.bus.events import Event, SessionData, SessionStalled, subject
from libs.common.bus.memory import MemoryBus
from libs.common.clock import Clock
from libs.common.files.extents import Extent
from libs.common.files.pins import NO_PIN, Pin
from libs.common.problems import Kind, Problem
from libs.common.storage import Buckets, list_all, read
from libs.common.storage.filesystem import FilesystemStore
from libs.common.uploads.assembling import Assembler as Maker
from libs.common.uploads.cancelling import cancel
from libs.common.uploads.layout import FEED, FileId, chunk_key, file_key, parse_entry_key
from libs.common.uploads.parking import park
from libs.common.uploads.payload import Payload
from libs.common.uploads.reading import FileReader
from libs.common.uploads.record import Record
from libs.common.uploads.records import Look, Records
from libs.common.uploads.sweeping import Ages
from libs.common.uploads.tools import Tools
from libs.common.uploads.writing import Ack, Chunk, ChunkWriter
from services.assembler.handling import Assembler
from services.janitor.sweeping import Janitor
from tests.uploads.hooked_store import Hooks

T = TypeVar("T")
PART = 8  # bytes in a part of these tests
FILE = FileId("device-1", "log.bin")
STALE = 3600.0  # seconds
FOREVER = 1e6  # seconds; who sleeps longer never wakes, so that its waking does not end every lease
AGES = Ages.of(STALE, 60.0)


class VirtualClock:
    """Time passes only while somebody sleeps, and then at once; or when a test says so."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.slept = 0.0

    def monotonic(self) -> float:
        return self.now

    def time(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        if seconds > FOREVER:
            await asyncio.Event().wait()
        self.now += seconds
        self.slept += seconds
        await asyncio.sleep(0)


@dataclass
class World:
    """What all processes share."""

    root: Path
    temp: FilesystemStore
    perm: FilesystemStore
    bus: MemoryBus
    clock: VirtualClock = field(default_factory=VirtualClock)
    events: list[Event] = field(default_factory=list)

    @property
    def buckets(self) -> Buckets:
        return Buckets(self.temp, self.perm)

    def node(self, clock: Clock | None = None, limit: int = 100) -> "Node":
        """A new process, which keeps at most `limit` views of files that it does not use."""
        return Node(self, clock or self.clock, limit)

    async def look(self, file: FileId = FILE) -> Look:
        return await Records(self.buckets, self.clock).read(file)

    async def record(self, file: FileId = FILE) -> Record:
        """The record of a name that has one."""
        record = (await self.look(file)).record
        assert record.state != "none"
        return record

    async def keys(self) -> list[str]:
        """Every key of the temporary bucket, then of the permanent one, but for the feed's."""
        keys = [info.key for store in (self.temp, self.perm) for info in await list_all(store, "")]
        return [key for key in keys if not key.startswith(FEED)]

    async def feed(self) -> list[tuple[str, str]]:
        """Outcome and session of every entry of the feed, in its order."""
        entries = [parse_entry_key(info.key) for info in await list_all(self.perm, FEED)]
        return [(entry.outcome, entry.session) for entry in entries]

    async def left(self) -> list[str]:
        """What is in the temporary bucket."""
        return [info.key for info in await list_all(self.temp, "")]

    def open_uploads(self) -> list[str]:
        """Multipart uploads of the permanent bucket that are not over."""
        return [path.parent.name for path in self.root.glob("perm/.hiper/multipart/*/data")]

    async def final(self, file: FileId = FILE) -> bytes:
        return await read(self.perm, file_key(file))

    async def store_chunk(self, session: str, start: int, data: bytes, file: FileId = FILE) -> None:
        """Store a chunk without asking anybody, as a replica that was paused would."""
        extent = Extent(start, start + len(data))
        await self.temp.put(chunk_key(file, session, start // PART, extent, hashlib.sha256(data).hexdigest()), data)

    def told(self, kind: type[T]) -> list[T]:
        """The events of a kind that were published."""
        return [event for event in self.events if isinstance(event, kind)]


@asynccontextmanager
async def open_world(root: Path) -> AsyncIterator[World]:
    world = World(root, FilesystemStore(root / "temp"), FilesystemStore(root / "perm"), MemoryBus())
    with _dated_by(world.clock):
        async with _running(world):
            yield world


@contextmanager
def _dated_by(clock: VirtualClock) -> Iterator[None]:
    """The store's clock goes as the virtual one does."""
    began, real = time.time() - clock.now, time.perf_counter
    start = real()

    def now() -> float:
        return began + clock.now + real() - start

    with patch("time.time", now), patch("time.time_ns", lambda: int(now() * 1e9)):
        yield


@asynccontextmanager
async def _running(world: World) -> AsyncIterator[None]:
    await world.temp.ensure()
    await world.perm.ensure()
    await world.bus.start()
    world.bus.listen(world.events.append).watch(EVERY_OWNER)
    try:
        yield
    finally:
        await world.bus.close()
        await world.temp.close()
        await world.perm.close()


class Node:
    """One process with every service in it, and hooks at its store calls."""

    def __init__(self, world: World, clock: Clock, limit: int) -> None:
        self.hooks = Hooks()
        self.buckets = buckets = self.hooks.over(world.buckets)
        self.tools = Tools(buckets, world.bus, clock)
        self.records = self.tools.records
        self.writer = ChunkWriter(self.tools, views=limit)
        self.reader = FileReader(buckets, clock)
        self.maker = Maker(self.tools)
        self.assembler = Assembler(self.tools, STALE)
        self.janitor = Janitor(buckets, world.bus, clock, AGES)

    async def send(
        self,
        start: int,
        data: bytes,
        total: int | None,
        *,
        file: FileId = FILE,
        declared: str = "",
        pin: Pin = NO_PIN,
        content_type: str = "application/octet-stream",
    ) -> Ack:
        """Upload one chunk."""
        payload = Payload(Extent(start, start + len(data)), data)
        return await self.writer.write(Chunk(file, total, payload, {}, declared, pin, content_type))

    async def send_all(self, content: bytes, size: int = 4, *, file: FileId = FILE, declared: str = "") -> Ack:
        """Upload a whole file in chunks of `size` bytes, in order."""
        for start in range(0, len(content) or 1, size):
            ack = await self.send(start, content[start : start + size], len(content), file=file, declared=declared)
        return ack

    async def cancel(self, file: FileId = FILE) -> None:
        await cancel(self.tools, file, NO_PIN)

    async def park(self, file: FileId = FILE) -> None:
        """Park whatever its age."""
        await park(self.tools, file, -1e9)

    async def work(self, file: FileId = FILE) -> None:
        """What the assembler does when an event says to look at a name: advance it, and tidy."""
        data = SessionData(owner=file.owner, filename=file.filename, session="")
        await self.assembler.handle(SessionStalled(source="/test", subject=subject(file), data=data))


def content(size: int, seed: int = 0) -> bytes:
    """Bytes that tell their place."""
    return bytes((i * 7 + seed * 101 + 1) % 251 for i in range(size))


async def refused(kind: Kind, sending: Awaitable[object]) -> Problem:
    """Assert that a chunk is refused for a reason."""
    with pytest.raises(Problem) as caught:
        await sending
    assert caught.value.kind is kind
    return caught.value
