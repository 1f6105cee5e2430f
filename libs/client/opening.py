"""What can be uploaded: bytes, regular files, and what can only be read once, which is kept in a temporary file."""

import asyncio
import os
import re
import select
import stat
import tempfile
from pathlib import Path
from typing import BinaryIO

from libs.client.errors import HiperError
from libs.client.sources import BytesSource, FileSource, Source

Uploadable = Path | str | bytes | bytearray | memoryview | BinaryIO
BLOCK = 2**20  # bytes read from a pipe at once
LONGEST_POLL = 200  # milliseconds until a thread that waits for a pipe looks whether it is still wanted
SMALL = 2**20  # bytes: what claims to be larger and to take no room on the disk is a sparse file
_INHERITED = re.compile(r"/(?:dev|proc/self)/fd/(\d+)")


async def open_source(source: Uploadable, size: int | None = None) -> Source:
    """A path (as Path or str), a stream with a descriptor, or bytes, as a source.

    Pipes, and the files of /proc and /sys, are read to their end first: their size is not known before. `size` in
    bytes is what the source must have. Raises OSError and HiperError."""
    opened, label = await _open(source)
    try:
        if isinstance(opened, int):
            opened = await _of_descriptor(opened, label, size)
        if size is not None and opened.size != size:
            opened.close()
            more = "more" if opened.size > size else f"only {opened.size} bytes"
            raise HiperError(f"{label} has {more}, not {size} bytes as announced", "nothing was uploaded")
    except BaseException:
        if isinstance(opened, int):
            os.close(opened)
        raise
    return opened


async def _open(source: Uploadable) -> tuple[Source | int, str]:
    """A source, or a descriptor that belongs to us; and what to call it."""
    if isinstance(source, (bytes, bytearray, memoryview)):
        return BytesSource(source), "the data"
    if isinstance(source, (str, Path)):
        return await asyncio.to_thread(_open_path, str(source)), str(source)
    number = source.fileno()
    return os.dup(number), "standard input" if number == 0 else str(getattr(source, "name", "the stream"))


def _open_path(path: str) -> int:
    """Not blocking: the open of a named pipe would wait for a writer, and Ctrl-C for that."""
    if inherited := _INHERITED.fullmatch("/dev/fd/0" if path == "/dev/stdin" else path):
        return os.dup(int(inherited[1]))
    return os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)


async def _of_descriptor(fd: int, label: str, size: int | None) -> Source:
    """Takes over the descriptor, unless it raises."""
    found = os.fstat(fd)
    if stat.S_ISREG(found.st_mode):
        begin = os.lseek(fd, 0, os.SEEK_CUR)  # of a shell's `< FILE` somebody may have read some
        if not (found.st_blocks == 0 and found.st_size <= SMALL):
            return FileSource(fd, label, begin)
        # Nothing on the disk: an empty or sparse file, or one of a file system that makes contents up as they are read.
        spooled = await _spool(fd, label, size)
        if spooled.size == max(0, found.st_size - begin):
            spooled.close()
            return FileSource(fd, label, begin)
    elif stat.S_ISFIFO(found.st_mode) or stat.S_ISSOCK(found.st_mode):
        spooled = await _spool(fd, label, size)
    elif stat.S_ISDIR(found.st_mode):
        raise HiperError(f"{label} is not a regular file, but a directory", f"name its files: {label}/*")
    else:
        hint = "put its bytes into a pipe: ... | hiper upload - --name NAME"
        raise HiperError(f"{label} is not a regular file, but a device or a terminal", hint)
    os.close(fd)
    return spooled


async def _spool(fd: int, label: str, size: int | None) -> FileSource:
    """All bytes of what can be read once, in a temporary file without a name (in TMPDIR).

    Ends early when there are more than `size` bytes. Raises HiperError when there is no room for them."""
    read = 0
    with tempfile.TemporaryFile() as file:
        while (block := await asyncio.to_thread(_next_block, fd, read)) != b"" and (size is None or read <= size):
            read += len(block or b"")
            try:
                await asyncio.to_thread(file.write, block or b"")
            except OSError as error:
                reason = f"no room in {tempfile.gettempdir()} for the bytes of {label}: {error.strerror}"
                raise HiperError(reason, "set TMPDIR to a directory with room") from error
        file.flush()
        return FileSource(os.dup(file.fileno()), label)


def _next_block(fd: int, at: int) -> bytes | None:
    """The next bytes; none at the end; None where nothing came yet.

    `at` counts for files, whose descriptor may be shared with other processes: its position stays."""
    if stat.S_ISREG(os.fstat(fd).st_mode):
        return os.pread(fd, BLOCK, os.lseek(fd, 0, os.SEEK_CUR) + at)
    ready = select.poll()
    ready.register(fd, select.POLLIN)
    if not ready.poll(LONGEST_POLL):
        return None
    try:
        return os.read(fd, BLOCK)
    except BlockingIOError:  # a named pipe that has a writer, but no bytes
        return None
