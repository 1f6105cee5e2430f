"""Bodies that are not in memory."""

from collections.abc import AsyncGenerator, AsyncIterator

from libs.common.storage import Stream

Bytes = bytes | bytearray | memoryview


async def exactly(stream: Stream) -> AsyncGenerator[bytes, None]:
    """The blocks of a stream. Raises ValueError when they hold more or fewer bytes than the stream's size.

    Closes the stream's own iterator when it is closed itself: use it with `contextlib.aclosing`."""
    left = stream.size
    blocks = stream.blocks()
    try:
        async for block in blocks:
            left -= len(block)
            if left < 0:
                break
            yield block
        if left:
            raise ValueError(f"a stream of {stream.size} bytes gave {'more' if left < 0 else 'fewer'}")
    finally:
        close = getattr(blocks, "aclose", None)  # generators have one; an AsyncIterator need not
        if close:
            await close()


async def gathered(blocks: AsyncIterator[bytes], size: int) -> AsyncIterator[bytes]:
    """The same bytes in blocks of at least `size` bytes (but the last), so that a thread is worth its hop."""
    waiting: list[bytes] = []
    length = 0
    async for block in blocks:
        waiting.append(block)
        length += len(block)
        if length >= size:
            yield b"".join(waiting)
            waiting, length = [], 0
    if waiting:
        yield b"".join(waiting)
