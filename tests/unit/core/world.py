"""A small world for tests of the protocol: two buckets on disk, a bus, a virtual clock, and processes on them."""

import asyncio
import hashlib
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import pytest

from libs.common.bus.memory import MemoryBus
from libs.common.clock import Clock
from libs.common.events import Event, SessionData, SessionStalled, subject
from libs.common.extents import Extent
from libs.common.layout import FileId, chunk_key, file_key, new_replica
from libs.common.look import Look, look
from libs.common.problems import Kind, Problem
from libs.common.store import Buckets, list_all, read
from libs.common.store.filesystem import FilesystemStore
from libs.common.sweep import Ages
from libs.common.uploads.payload import Payload
from libs.common.uploads.pins import NO_PIN, Pin
from services.assembler.advance import Advancer
from services.assembler.closing import Closer
from services.assembler.handling import Assembler
from services.ingest.cancelling import Canceller
from services.ingest.reading import FileReader
from services.ingest.view import Views
from services.ingest.writing import Ack, Chunk, ChunkWriter
from services.janitor.sweeping import Janitor
from tests.unit.core.hooked_store import Hooks

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
        return await look(self.temp, file, self.clock)

    async def keys(self) -> list[str]:
        """Every key of the temporary bucket, then of the permanent one."""
        return [info.key for store in (self.temp, self.perm) for info in await list_all(store, "")]

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
        await self.temp.put(chunk_key(file, session, extent, hashlib.sha256(data).hexdigest()), data)

    def told(self, kind: type[T]) -> list[T]:
        """The events of a kind that were published."""
        return [event for event in self.events if isinstance(event, kind)]


@asynccontextmanager
async def open_world(root: Path) -> AsyncIterator[World]:
    world = World(root, FilesystemStore(root / "temp"), FilesystemStore(root / "perm"), MemoryBus())
    await world.temp.ensure()
    await world.perm.ensure()
    await world.bus.start()
    world.bus.listen(world.events.append)
    try:
        yield world
    finally:
        await world.bus.close()
        await world.temp.close()
        await world.perm.close()


class Node:
    """One process with every service in it, and hooks at its store calls."""

    def __init__(self, world: World, clock: Clock, limit: int) -> None:
        self.hooks = Hooks()
        self.buckets = buckets = self.hooks.over(world.buckets)
        self.replica = new_replica()
        self.views = Views(buckets, clock, self.replica, limit)
        self.writer = ChunkWriter(buckets, world.bus, clock, self.views)
        self.canceller = Canceller(buckets, world.bus, clock, self.replica)
        self.reader = FileReader(buckets, clock)
        self.advancer = Advancer(buckets, world.bus, clock)
        self.closer = Closer(buckets, world.bus, clock)
        self.assembler = Assembler(buckets, world.bus, clock, STALE)
        self.janitor = Janitor(buckets, world.bus, clock, AGES)

    async def send(
        self,
        start: int,
        data: bytes,
        total: int,
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
        await self.canceller.cancel(file, NO_PIN)

    async def park(self, file: FileId = FILE) -> None:
        """Park whatever its age."""
        await self.closer.park(file, -1e9)

    async def work(self, file: FileId = FILE) -> None:
        """What the assembler does when it is told to look at a file: close what is closing, then advance it."""
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
