"""Where a download goes: a file that can be resumed, or a stream that cannot be taken back."""

import asyncio
import hashlib
from pathlib import Path
from typing import BinaryIO, Protocol

from libs.client.errors import SourceChangedError
from libs.client.partfile import PartFile
from libs.client.versions import Version


class Sink(Protocol):
    """`offset`: how many bytes it has, gap-free from byte 0; `version`: what is known of the version that they are of;
    `replaces`: whether it takes the place of a file. Functions that touch the disk raise OSError."""

    offset: int
    version: Version
    replaces: bool

    async def begin(self, version: Version) -> None:
        """Throw away what is there; the bytes from 0 of this version follow."""
        ...

    async def write(self, block: bytes) -> None: ...

    async def sha256(self) -> bytes:
        """Of all bytes so far."""
        ...

    async def finish(self) -> None:
        """The bytes are verified: make them durable, under their final name."""
        ...

    async def discard(self) -> str:
        """The bytes are wrong: keep nothing for a later resume. Returns what the user is to do."""
        ...

    async def close(self) -> None:
        """Keep what is there for a later resume."""
        ...


class FileSink:
    """Gathers beside `path` (`PartFile`) and is renamed to it at the end, and only then: what is at `path` is always a
    whole file. With replace=False nothing that is at `path` is replaced."""

    def __init__(self, path: Path, *, replace: bool = True) -> None:
        self.path = path
        self.replace = replace
        self.replaces = path.exists()
        self._part = PartFile(path)
        self.offset = 0
        self.version = Version()

    async def resume(self) -> None:
        """Take up what an earlier download left, if anything. Raises HiperError where another process is at it."""
        self.offset, self.version = await asyncio.to_thread(self._part.take_up)

    async def begin(self, version: Version) -> None:
        self.offset, self.version = 0, version
        await asyncio.to_thread(self._part.begin, version)

    async def write(self, block: bytes) -> None:
        await asyncio.to_thread(self._part.write, block, self.offset)
        self.offset += len(block)

    async def sha256(self) -> bytes:
        return await asyncio.to_thread(self._part.sha256)

    async def finish(self) -> None:
        # What came to the name during the download is no file that somebody asked to replace.
        await asyncio.to_thread(self._part.publish, replace=self.replace and self.replaces)

    async def discard(self) -> str:
        await asyncio.to_thread(self._part.remove)
        return "nothing was kept; download it again"

    async def close(self) -> None:
        await asyncio.to_thread(self._part.close)


class StreamSink:
    """A pipe, a device or standard output. It survives broken connections, but not a new version of the file.
    `owned`: whether the stream is closed in the end."""

    replaces = False

    def __init__(self, stream: BinaryIO, *, owned: bool = False) -> None:
        self._stream = stream
        self._owned = owned
        self._sha = hashlib.sha256()
        self.offset = 0
        self.version = Version()

    async def begin(self, version: Version) -> None:
        if self.offset:
            raise SourceChangedError(
                "the file changed on the server, or cannot be recognized, after some of it was written",
                "download it again",
            )
        self.version = version

    async def write(self, block: bytes) -> None:
        await asyncio.to_thread(_write_all, self._stream, block)
        self._sha.update(block)
        self.offset += len(block)

    async def sha256(self) -> bytes:
        return self._sha.digest()

    async def finish(self) -> None:
        await asyncio.to_thread(self._stream.flush)

    async def discard(self) -> str:
        return "do not use what was written, it cannot be taken back; download it again"

    async def close(self) -> None:
        if self._owned:
            await asyncio.to_thread(self._stream.close)


def _write_all(stream: BinaryIO, block: bytes) -> None:
    """A raw stream may take less than it is given."""
    view = memoryview(block)
    while view:
        view = view[stream.write(view) :]
