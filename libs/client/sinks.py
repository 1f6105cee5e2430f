"""Where a download goes: a file that can be resumed, or a stream that cannot be taken back."""

import asyncio
import hashlib
import os
from pathlib import Path
from typing import BinaryIO, Protocol

from libs.client.errors import HiperError, SourceChangedError

HASH_BLOCK = 4 * 2**20  # bytes


class Sink(Protocol):
    """`offset`: how many bytes it has, gap-free from byte 0; `etag`: of which version ("" before the first)."""

    offset: int
    etag: str

    async def begin(self, etag: str) -> None:
        """Throw away what is there; the bytes from 0 of this version follow."""
        ...

    async def write(self, block: bytes) -> None: ...

    def sha256(self) -> bytes:
        """Of all bytes so far."""
        ...

    async def finish(self) -> None:
        """The bytes are verified: make them durable, under their final name."""
        ...

    async def discard(self) -> None:
        """The bytes are wrong: keep nothing for a later resume."""
        ...

    async def close(self) -> None:
        """Keep what is there for a later resume."""
        ...


class FileSink:
    """`{path}.part`, and beside it `{path}.part.etag` with the version that its bytes are of.

    Renamed to `path` at the end, and only then: what is at `path` is always a whole file."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._part = path.with_name(f"{path.name}.part")
        self._note = path.with_name(f"{path.name}.part.etag")
        self._sha = hashlib.sha256()
        self._file: BinaryIO | None = None
        self.offset = 0
        self.etag = ""

    async def resume(self) -> None:
        """Take up what an earlier download left, if anything. Raises OSError."""
        await asyncio.to_thread(self._open)
        while self._file and (block := await asyncio.to_thread(self._file.read, HASH_BLOCK)):
            self._sha.update(block)
            self.offset += len(block)

    async def begin(self, etag: str) -> None:
        self._sha, self.offset, self.etag = hashlib.sha256(), 0, etag
        await asyncio.to_thread(self._truncate)

    async def write(self, block: bytes) -> None:
        await asyncio.to_thread(self._append, block)
        self.offset += len(block)

    def sha256(self) -> bytes:
        return self._sha.digest()

    async def finish(self) -> None:
        await asyncio.to_thread(self._publish)

    async def discard(self) -> None:
        await self.close()
        await asyncio.to_thread(self._remove, self._note, self._part)

    async def close(self) -> None:
        if self._file:
            await asyncio.to_thread(self._file.close)
            self._file = None

    def _open(self) -> None:
        if self._note.exists() and self._part.exists():
            self.etag = self._note.read_text(encoding="utf-8")
            self._file = self._part.open("r+b")

    def _truncate(self) -> None:
        """Never the new version's note beside the old version's bytes."""
        if self._file:
            self._file.seek(0)
            self._file.truncate()
        else:
            self._file = self._open_new()
        self._note.write_text(self.etag, encoding="utf-8")

    def _open_new(self) -> BinaryIO:
        """Bytes without a note beside them are not of a download: they are somebody's."""
        if not self._note.exists() and self._part.exists() and self._part.stat().st_size:
            raise HiperError(
                f"{self._part} is in the way: no download left it there", "move it, or download to another path"
            )
        return self._part.open("w+b")

    def _append(self, block: bytes) -> None:
        assert self._file is not None  # noqa: S101  # begin() or resume() comes first
        self._file.seek(self.offset)  # a write that failed may have moved it
        self._file.write(block)
        self._sha.update(block)

    def _publish(self) -> None:
        assert self._file is not None  # noqa: S101  # see _append
        self._file.flush()
        os.fsync(self._file.fileno())
        self._part.replace(self._path)
        self._remove(self._note)
        directory = os.open(self._path.parent, os.O_RDONLY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)

    @staticmethod
    def _remove(*paths: Path) -> None:
        for path in paths:
            path.unlink(missing_ok=True)


class StreamSink:
    """A pipe or standard output. It survives broken connections, but not a new version of the file."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._sha = hashlib.sha256()
        self.offset = 0
        self.etag = ""

    async def begin(self, etag: str) -> None:
        if self.offset:
            raise SourceChangedError("the file changed on the server after some of it was written", "download it again")
        self.etag = etag

    async def write(self, block: bytes) -> None:
        await asyncio.to_thread(self._stream.write, block)
        self._sha.update(block)
        self.offset += len(block)

    def sha256(self) -> bytes:
        return self._sha.digest()

    async def finish(self) -> None:
        await asyncio.to_thread(self._stream.flush)

    async def discard(self) -> None:
        """What was written cannot be taken back; the error says so."""

    async def close(self) -> None:
        """The stream belongs to the caller."""
