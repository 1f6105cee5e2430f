"""Where the bytes of an upload come from. They must not change while the upload goes on."""

import asyncio
import hashlib
import os
import stat
from pathlib import Path
from typing import Protocol

from libs.client.errors import HiperError, SourceChangedError
from libs.common.extents import Extent, split

HASH_BLOCK = 8 * 2**20  # bytes


class Source(Protocol):
    """Bytes of a known size that can be read in any order, from threads."""

    @property
    def size(self) -> int: ...

    def read(self, extent: Extent) -> bytes:
        """Exactly these bytes; blocks. Raises SourceChangedError (and OSError)."""
        ...

    def close(self) -> None: ...


class BytesSource:
    """Bytes in memory."""

    def __init__(self, data: bytes | bytearray | memoryview) -> None:
        self._data = bytes(data)
        self.size = len(self._data)

    def read(self, extent: Extent) -> bytes:
        return self._data[extent.start : extent.end]

    def close(self) -> None:
        pass


class FileSource:
    """A regular file. That it changed is seen by its size and modification time, at every read."""

    def __init__(self, path: Path) -> None:
        self._path = path
        # Not blocking: the open of a FIFO would wait for a writer.
        self._fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        self._then = os.fstat(self._fd)
        self.size = self._then.st_size
        if not stat.S_ISREG(self._then.st_mode):
            self.close()
            raise HiperError(f"{path} is not a regular file", "put its bytes into a file first")

    def read(self, extent: Extent) -> bytes:
        blocks, at = [], extent.start
        while at < extent.end and (block := os.pread(self._fd, extent.end - at, at)):
            blocks.append(block)
            at += len(block)
        now = os.fstat(self._fd)
        if at < extent.end or (now.st_size, now.st_mtime_ns) != (self.size, self._then.st_mtime_ns):
            raise SourceChangedError(
                f"{self._path} changed during its upload", "upload it again when nobody writes to it"
            )
        return blocks[0] if len(blocks) == 1 else b"".join(blocks)

    def close(self) -> None:
        os.close(self._fd)


async def open_source(source: Path | str | bytes | bytearray | memoryview) -> Source:
    """A path (as Path or str) or bytes as a source. Raises OSError and HiperError."""
    if isinstance(source, (bytes, bytearray, memoryview)):
        return BytesSource(source)
    return await asyncio.to_thread(FileSource, Path(source))


async def read_chunk(source: Source, extent: Extent) -> tuple[bytes, bytes]:
    """A chunk's payload and its SHA-256, read and hashed in a thread."""

    def work() -> tuple[bytes, bytes]:
        payload = source.read(extent)
        return payload, hashlib.sha256(payload).digest()

    return await asyncio.to_thread(work)


def _update(sha: "hashlib._Hash", source: Source, block: Extent) -> None:
    sha.update(source.read(block))


async def sha256_of(source: Source) -> bytes:
    """The SHA-256 of all bytes, in threads block by block, so that cancelling it takes no longer than a block."""
    sha = hashlib.sha256()
    for block in split(Extent(0, source.size), HASH_BLOCK):
        await asyncio.to_thread(_update, sha, source, block)
    return sha.digest()
