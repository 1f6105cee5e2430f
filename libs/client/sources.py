"""Where the bytes of an upload come from. They must not change while the upload goes on."""

import asyncio
import hashlib
import os
from collections.abc import Callable
from typing import Protocol

from libs.client.errors import SourceChangedError
from libs.common.files.extents import Extent, split

HASH_BLOCK = 8 * 2**20  # bytes


class Source(Protocol):
    """Bytes of a known size that can be read in any order, from threads."""

    @property
    def size(self) -> int: ...

    def read(self, extent: Extent) -> bytes:
        """Exactly these bytes; blocks. Raises SourceChangedError (and OSError)."""
        ...

    def peek(self, extent: Extent) -> bytes:
        """What is there of these bytes now, changed or not; blocks. Raises OSError."""
        ...

    def close(self) -> None: ...


class BytesSource:
    """Bytes in memory."""

    def __init__(self, data: bytes | bytearray | memoryview) -> None:
        self._data = bytes(data)
        self.size = len(self._data)

    def read(self, extent: Extent) -> bytes:
        return self._data[extent.start : extent.end]

    peek = read

    def close(self) -> None:
        pass


class FileSource:
    """A regular file from byte `begin` on. That it changed is seen by its size and modification time, at every read."""

    def __init__(self, fd: int, label: str, begin: int = 0) -> None:
        """Takes over the descriptor. `label` names the file in messages."""
        self._fd = fd
        self._label = label
        self._begin = begin
        self._then = os.fstat(fd)
        self.size = max(0, self._then.st_size - begin)

    def read(self, extent: Extent) -> bytes:
        payload, now = self.peek(extent), os.fstat(self._fd)
        unchanged = (now.st_size, now.st_mtime_ns) == (self._then.st_size, self._then.st_mtime_ns)
        if len(payload) < extent.length or not unchanged:
            hint = "upload it again when nobody writes to it"
            raise SourceChangedError(f"{self._label} changed during its upload", hint)
        return payload

    def peek(self, extent: Extent) -> bytes:
        blocks, at = [], extent.start
        while at < extent.end and (block := os.pread(self._fd, extent.end - at, self._begin + at)):
            blocks.append(block)
            at += len(block)
        return blocks[0] if len(blocks) == 1 else b"".join(blocks)

    def close(self) -> None:
        os.close(self._fd)


async def read_chunk(source: Source, extent: Extent) -> tuple[bytes, bytes]:
    """A chunk's payload and its SHA-256, read and hashed in a thread."""

    def work() -> tuple[bytes, bytes]:
        payload = source.read(extent)
        return payload, hashlib.sha256(payload).digest()

    return await asyncio.to_thread(work)


class Hashing:
    """SHA-256 of bytes from the first on, in threads, block by block: cancelling it takes no longer than a block."""

    def __init__(self, read: Callable[[Extent], bytes]) -> None:
        self._read = read
        self._sha = hashlib.sha256()
        self.done = 0  # bytes

    async def up_to(self, end: int) -> bytes:
        """The digest of the bytes below `end`."""
        for block in split(Extent(self.done, end), HASH_BLOCK):
            await asyncio.to_thread(self._update, block)
        return self.so_far()

    def so_far(self) -> bytes:
        """The digest of the bytes that are done."""
        return self._sha.digest()

    def _update(self, block: Extent) -> None:
        self._sha.update(self._read(block))
        self.done = block.end
