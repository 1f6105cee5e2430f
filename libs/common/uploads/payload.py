"""A chunk's payload, in memory or spooled to a temporary file, and the digests of its extents."""

import asyncio
import hashlib
import os
from collections.abc import AsyncIterator
from typing import IO, NamedTuple

from libs.common.files.extents import Extent
from libs.common.storage import Body, Stream

BLOCK = 256 * 1024  # bytes


class Stored(NamedTuple):
    """An extent of the file as it is to be stored: one object. `sha256` in hex."""

    extent: Extent
    body: Body
    sha256: str


class Payload:
    """The bytes of one chunk, which fill `extent` of the file."""

    def __init__(self, extent: Extent, source: bytes | bytearray | IO[bytes]) -> None:
        self.extent = extent
        self._source = source

    async def read(self, extent: Extent) -> bytes | memoryview:
        """The bytes of an extent within the payload."""
        first = extent.start - self.extent.start
        if isinstance(self._source, bytes | bytearray):
            return memoryview(self._source)[first : first + extent.length]
        return await asyncio.to_thread(os.pread, self._source.fileno(), extent.length, first)

    def body(self, extent: Extent) -> Body:
        """The bytes of an extent, for the store: a view of the memory, or a stream from the file."""
        first = extent.start - self.extent.start
        if isinstance(self._source, bytes | bytearray):
            return memoryview(self._source)[first : first + extent.length]
        return Stream(extent.length, lambda: self._blocks(extent))

    async def stored(self, extent: Extent, sha256: str = "") -> Stored:
        """The extent as an object, with its digest: computed here unless it is known already."""
        if not sha256:
            digest = hashlib.sha256()
            async for block in self._blocks(extent):
                digest.update(block)
            sha256 = digest.hexdigest()
        return Stored(extent, self.body(extent), sha256)

    async def _blocks(self, extent: Extent) -> AsyncIterator[bytes]:
        for at in range(extent.start, extent.end, BLOCK):
            yield bytes(await self.read(Extent(at, min(at + BLOCK, extent.end))))
