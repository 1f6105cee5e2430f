"""Request bodies for aiohttp: streamed with a length, started over when the request is, and given up when stuck."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing

from aiohttp.abc import AbstractStreamWriter
from aiohttp.http import StreamWriter
from aiohttp.payload import Payload

from libs.common.storage import Stream
from libs.common.storage._bodies import Bytes, exactly

SLICE = 256 * 1024  # bytes of a body in memory that are handed to the socket at a time
STUCK = 4.0  # seconds that the store may take to read a block


class Upload(Payload):
    """A body with its length. `failure` is what its stream raised, which aiohttp would wrap."""

    _autoclose = True  # nothing to close: a stream is open only while it is written

    def __init__(self, body: Bytes | Stream) -> None:
        super().__init__(body)
        self._body = body
        self._size = body.size if isinstance(body, Stream) else memoryview(body).nbytes
        self.failure: Exception | None = None

    def decode(self, encoding: str = "utf-8", errors: str = "strict") -> str:
        raise TypeError("a body is bytes")

    async def write(self, writer: AbstractStreamWriter) -> None:
        await self.write_with_length(writer, None)

    async def write_with_length(self, writer: AbstractStreamWriter, content_length: int | None) -> None:
        self.failure = None
        transport = writer.transport if isinstance(writer, StreamWriter) else None  # gone when it is needed
        try:
            async with aclosing(self._blocks()) as blocks:
                async for block in blocks:
                    async with asyncio.timeout(STUCK):
                        await writer.write(block)
        except BaseException:
            if transport:
                transport.abort()  # closing would first send what is in its buffer, for as long as it takes
            raise

    async def _blocks(self) -> AsyncGenerator[bytes | memoryview, None]:
        if not isinstance(self._body, Stream):
            view = memoryview(self._body)
            for at in range(0, len(view), SLICE):
                yield view[at : at + SLICE]
            return
        try:
            async with aclosing(exactly(self._body)) as blocks:
                async for block in blocks:
                    yield block
        except Exception as error:
            self.failure = error
            raise
