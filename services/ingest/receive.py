"""Receiving a body, or a piece of it: with a deadline and a least rate, hashed as it comes, in memory while the budget
lasts."""

import asyncio
import hashlib
import tempfile
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import IO, ParamSpec, TypeVar

import numpy as np
import structlog

from libs.common.files.extents import Extent, split
from libs.common.problems import Kind, Problem
from libs.common.uploads.payload import Payload
from libs.common.web.drain import NEVER, Drain
from services.ingest.metrics import CHUNKS, IN_MEMORY, ON_DISK

P = ParamSpec("P")
T = TypeVar("T")
WRITE = 32 * 1024  # bytes to the spool at once: a slow crowd must not keep the threads busy with crumbs
log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class Deadline:
    """Seconds and bytes per second that a body must keep to; the least rate counts after `grace` seconds."""

    total: float
    idle: float
    least_rate: float
    grace: float = 10.0


class Budget:
    """Bytes that one process holds in memory for bodies under way."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self.held = 0

    def take(self, size: int) -> bool:
        """Whether there is room; if so it is taken."""
        if self.held + size > self._limit:
            return False
        self.held += size
        return True

    def give_back(self, size: int) -> None:
        self.held -= size


@dataclass
class Received:
    """Bytes that arrived: their sum modulo 256, the SHA-256 in hex of their extents between part boundaries, and the
    digests of the body by algorithm. `broken`: why the body broke off, if it did."""

    payload: Payload
    checksum: int
    extent_digests: dict[Extent, str] = field(default_factory=dict)
    content_digests: dict[str, bytes] = field(default_factory=dict)
    broken: Problem | None = None


class Inflow:
    """The blocks of a body, to be taken piece by piece."""

    def __init__(self, blocks: AsyncIterator[bytes]) -> None:
        self._blocks = blocks
        self._rest = b""

    async def upto(self, size: int) -> AsyncIterator[bytes]:
        """The next blocks, `size` bytes in all; fewer if the body ends before."""
        while size and (block := self._rest or await anext(self._blocks, b"")):
            block, self._rest = block[:size], block[size:]
            size -= len(block)
            yield block

    async def rest(self) -> AsyncIterator[bytes]:
        """All blocks that are left."""
        while block := self._rest or await anext(self._blocks, b""):
            self._rest = b""
            yield block


async def timed(stream: AsyncIterator[bytes], deadline: Deadline, drain: Drain = NEVER) -> AsyncIterator[bytes]:
    """The blocks of a body, or of a piece. Raises TIMEOUT when it stops, crawls or takes too long, and NOT_READY when
    the process ends before it is whole."""
    loop = asyncio.get_running_loop()
    began, received = loop.time(), 0
    while True:
        left = deadline.total - (loop.time() - began)
        if not drain.left():
            raise _ending()
        try:
            async with asyncio.timeout(min(deadline.idle, max(left, 0), drain.left())):
                block = await anext(stream, b"")
        except TimeoutError:
            raise (_too_slow(received) if drain.left() else _ending()) from None
        if not block:
            return
        received += len(block)
        elapsed = loop.time() - began
        if elapsed > deadline.grace and received < deadline.least_rate * elapsed:
            raise _too_slow(received)
        yield block


def _ending() -> Problem:
    return Problem(Kind.NOT_READY, "This server ends. Go on with another connection.", headers={"Connection": "close"})


def _too_slow(received: int) -> Problem:
    return Problem(
        Kind.TIMEOUT,
        f"The body stopped or crawled after {received} bytes. Send the chunk again, or a smaller one.",
        headers={"Connection": "close"},
    )


class Digester:
    """Sums and digests made block by block: of each extent of the payload between part boundaries, and for the
    algorithms that the client named of the whole body, which begins with `prefix`."""

    def __init__(self, extent: Extent, part_size: int, algorithms: Iterable[str], prefix: bytes) -> None:
        self._extents = split(extent, part_size)
        self._hashes = [hashlib.sha256() for _ in self._extents]
        self._whole = {name: hashlib.new(name.replace("-", ""), prefix) for name in algorithms}
        self.at = extent.start
        self._part = 0
        self.checksum = 0

    def update(self, block: memoryview) -> None:
        self.checksum = (self.checksum + int(np.add.reduce(np.frombuffer(block, np.uint8), dtype=np.uint8))) % 256
        for whole in self._whole.values():
            whole.update(block)
        while block:
            room = self._extents[self._part].end - self.at
            self._hashes[self._part].update(block[:room])
            self.at += min(room, len(block))
            if len(block) >= room:
                self._part += 1
            block = block[room:]

    def extents(self) -> dict[Extent, str]:
        """Of the bytes that came."""
        came = [Extent(extent.start, min(extent.end, self.at)) for extent in self._extents if extent.start < self.at]
        return {extent: done.hexdigest() for extent, done in zip(came, self._hashes, strict=False)}

    def whole(self) -> dict[str, bytes]:
        return {name: done.digest() for name, done in self._whole.items()}


@asynccontextmanager
async def receive(
    blocks: AsyncIterator[bytes],
    extent: Extent,
    part_size: int,
    algorithms: Iterable[str],
    prefix: bytes,
    budget: Budget,
    *,
    keep: bool = False,
) -> AsyncIterator[Received]:
    """Take in exactly the extent's bytes; the payload lives as long as the context. Raises MALFORMED_CHUNK, and BUSY
    when neither memory nor disk has room. Raises what `blocks` raises too; with `keep` that is `broken`, and the bytes
    before it count."""
    digester = Digester(extent, part_size, algorithms, prefix)
    in_memory = budget.take(extent.length)
    # All of it at once: growing step by step copies it several times.
    spool: bytearray | IO[bytes] = bytearray(extent.length) if in_memory else await _on_disk(tempfile.TemporaryFile)
    buffered = IN_MEMORY if in_memory else ON_DISK
    buffered.inc(extent.length)
    try:
        with CHUNKS.step("receive"):
            broken = await _fill(spool, blocks, extent, digester)
        if broken and not keep:
            raise broken
        came = Extent(extent.start, digester.at)
        yield Received(Payload(came, spool), digester.checksum, digester.extents(), digester.whole(), broken)
    finally:
        buffered.dec(extent.length)
        if isinstance(spool, bytearray):
            budget.give_back(extent.length)
        else:
            spool.close()


async def _fill(
    spool: bytearray | IO[bytes], blocks: AsyncIterator[bytes], extent: Extent, digester: Digester
) -> Problem | None:
    """Why the body broke off, if it did. Raises MALFORMED_CHUNK when it ends with too few bytes or has too many, and
    BUSY."""
    unwritten = bytearray()
    broken = None
    while True:
        try:
            block = await anext(blocks, b"")
        except Problem as problem:
            broken = problem
            break
        if not block:
            break
        at = digester.at - extent.start
        if at + len(block) > extent.length:
            raise wrong_length(extent, f"more than {extent.length}")
        digester.update(memoryview(block))
        if isinstance(spool, bytearray):
            spool[at : at + len(block)] = block
            continue
        unwritten += block
        if len(unwritten) >= WRITE:
            await _on_disk(spool.write, unwritten)
            unwritten = bytearray()
    if not isinstance(spool, bytearray):
        await _on_disk(spool.write, unwritten)
        await _on_disk(spool.flush)
    if digester.at < extent.end and not broken:
        raise wrong_length(extent, str(digester.at - extent.start))
    return broken


async def _on_disk(call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Run a blocking call on the spool. Raises BUSY when the disk is full or failing."""
    try:
        return await asyncio.to_thread(call, *args, **kwargs)
    except OSError as error:
        log.warning("cannot_spool", error=str(error))
        raise Problem(Kind.BUSY, "There is no room for this chunk now. Nothing of it is stored: try again.") from error


def wrong_length(extent: Extent, received: str) -> Problem:
    return Problem(
        Kind.MALFORMED_CHUNK,
        f"The chunk says bytes {extent.start} to {extent.end - 1}, which are {extent.length}, but its payload has "
        f"{received}.",
    )
