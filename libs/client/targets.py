"""What a download may write to: a new file, a file to replace, a stream. Nothing else is replaced."""

import asyncio
import errno
import hashlib
import os
import re
import stat
from pathlib import Path
from typing import BinaryIO, NamedTuple

from libs.client.errors import TargetExistsError
from libs.client.files import Files
from libs.client.names import RemoteFile
from libs.client.partfile import exists
from libs.client.retry import Patience
from libs.client.sinks import FileSink, Sink, StreamSink

LOOK_EVERY = 0.1  # seconds: whether a named pipe has a reader
_DESCRIPTOR = re.compile(r"/(?:dev|proc/self)/fd/(\d+)")
_STANDARD = {"/dev/stdout": "/dev/fd/1", "/dev/stderr": "/dev/fd/2"}


async def open_sink(dest: Path | str | BinaryIO, *, replace: bool) -> Sink:
    """A regular file is replaced in the end, through a link to it too; a named pipe and a character device are written
    into. Raises HiperError for everything else, and OSError."""
    if not isinstance(dest, (str, Path)):
        return StreamSink(dest)
    sink = _sink_at(Path(dest), replace)
    if sink is None:
        return StreamSink(await _open_pipe(Path(dest)), owned=True)
    if isinstance(sink, FileSink):
        await sink.resume()
    return sink


def _sink_at(path: Path, replace: bool) -> Sink | None:
    """None for a named pipe."""
    if match := _DESCRIPTOR.fullmatch(_STANDARD.get(str(path), str(path))):
        return StreamSink(os.fdopen(os.dup(int(match[1])), "wb", buffering=0), owned=True)
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        if path.is_symlink():
            raise TargetExistsError(f"{path} is a link to nothing", "remove it, or name the file itself") from None
        return FileSink(path, replace=replace)
    if stat.S_ISREG(mode):
        return FileSink(path.resolve() if path.is_symlink() else path, replace=replace)
    if stat.S_ISFIFO(mode):
        return None
    if stat.S_ISCHR(mode):
        return StreamSink(path.open("wb", buffering=0), owned=True)
    kind = "a directory" if stat.S_ISDIR(mode) else "neither a file nor a pipe"
    raise TargetExistsError(f"{path} is {kind}", "choose another place, or write to standard output with -o -")


class There(NamedTuple):
    """A file that has the bytes already: its size in bytes."""

    size: int
    sha256: bytes


async def already_there(files: Files, file: RemoteFile, sink: FileSink, patience: Patience) -> There | None:
    """The file at the path, if it is equal to the server's by size and digest; None if there is none, or if it is to be
    replaced. Raises TargetExistsError."""
    if not sink.replaces:
        return None
    head = await files.head(file, patience)
    if head.sha256 and head.sha256 == await asyncio.to_thread(_sha256_of, sink.path, head.size):
        return There(head.size, head.sha256)
    if not sink.replace:
        raise exists(sink.path)
    return None


def _sha256_of(path: Path, size: int) -> bytes | None:
    """None unless the file has this size in bytes and can be read."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").digest() if os.fstat(file.fileno()).st_size == size else None
    except OSError:
        return None


async def _open_pipe(path: Path) -> BinaryIO:
    """Opened without blocking: a thread that waits for a reader could not be interrupted."""
    while True:
        try:
            descriptor = os.open(path, os.O_WRONLY | os.O_NONBLOCK)
        except OSError as error:
            if error.errno != errno.ENXIO:  # nobody reads it yet
                raise
            await asyncio.sleep(LOOK_EVERY)
        else:
            os.set_blocking(descriptor, True)
            return os.fdopen(descriptor, "wb", buffering=0)
