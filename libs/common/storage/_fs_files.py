"""Durable files: what each call has done is on the disk when it returns, unless it says otherwise.

Paths are bytes, because keys are UTF-8 whatever the locale says.
"""

import errno
import fcntl
import os
import shutil
import stat
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import structlog

from libs.common.storage import StoreFull, StoreRefused, StoreUnavailable
from libs.common.storage._bodies import Bytes

log: structlog.stdlib.BoundLogger = structlog.stdlib.get_logger(__name__)

FILE_MODE, FOLDER_MODE = 0o600, 0o700  # files of devices are for the user that runs the server, whatever its umask
LOCK_WAIT = 4.0  # seconds: another process holds a lock for milliseconds, unless it was stopped
_LOCK_POLL = 0.002  # seconds
# Bytes that only small writes may take: a DELETE writes a record before it makes room.
RESERVE = 4 * 2**20
SMALL = 4096  # bytes
_NO_COPIES = (errno.EXDEV, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL)
_NO_LINKS = (errno.EXDEV, errno.EPERM, errno.EMLINK, errno.EOPNOTSUPP)

_KINDS = {
    **dict.fromkeys((errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR), StoreRefused),
    **dict.fromkeys((errno.ENOSPC, errno.EDQUOT), StoreFull),
}


@contextmanager
def store_errors() -> Iterator[None]:
    """What the operating system refuses is a store that is away (broken), that is full, or that refuses (read-only)."""
    try:
        yield
    except OSError as error:
        name = errno.errorcode.get(error.errno or 0, "OSError")
        kind = _KINDS.get(error.errno or 0, StoreUnavailable)
        raise kind(f"{name}: {error.strerror}") from error


class Lock:
    """Excludes the threads of this process and every other process that uses the same file. Not reentrant."""

    def __init__(self, path: bytes) -> None:
        self._path = path
        self._threads = threading.Lock()

    @contextmanager
    def held(self) -> Iterator[None]:
        """Raises StoreUnavailable if another holder does not let go in time."""
        deadline = time.monotonic() + LOCK_WAIT
        if not self._threads.acquire(timeout=LOCK_WAIT):
            raise StoreUnavailable("the store is locked by another thread")
        try:
            with opened(self._path, os.O_RDWR | os.O_CREAT) as fd:  # closing it lets go of the lock, too
                _flock(fd, deadline)
                yield
        finally:
            self._threads.release()


def _flock(fd: int, deadline: float) -> None:
    while True:
        try:
            return fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > deadline:
                raise StoreUnavailable("the store is locked by another process") from None
            time.sleep(_LOCK_POLL)


def write_all(fd: int, data: Bytes, offset: int | None = None) -> None:
    """Write bytes at an offset, or where the file stands: the system may take fewer than it is given at a time.
    Not durable yet. Raises OSError where a write that is not small would leave less than RESERVE free."""
    with memoryview(data) as view:
        _keep_reserve(fd, len(view))
        done = 0
        while done < len(view):
            left = view[done:]
            done += os.write(fd, left) if offset is None else os.pwrite(fd, left, offset + done)


def copy_bytes(source: int, target: int, size: int, offset: int) -> None:
    """Copy the first `size` bytes of one file to an offset of another. None comes into this process where the file
    system can copy them, or share them. Not durable yet. Raises OSError as `write_all`, and where the file is
    shorter."""
    _keep_reserve(target, size)
    done = 0
    with suppress(AttributeError):  # no such call but on Linux
        try:
            while done < size and (copied := os.copy_file_range(source, target, size - done, done, offset + done)):
                done += copied
        except OSError as error:
            if error.errno not in _NO_COPIES:
                raise
    for block in blocks(source, size, done):
        write_all(target, block, offset + done)
        done += len(block)


def blocks(fd: int, size: int, at: int = 0) -> Iterator[bytes]:
    """Bytes [at, size) of a file. Raises OSError where it is shorter."""
    while at < size:
        block = os.pread(fd, min(size - at, 2**20), at)
        if not block:
            raise OSError(errno.EIO, "the object is shorter than it was")
        yield block
        at += len(block)


def _keep_reserve(fd: int, size: int) -> None:
    if size > SMALL:
        disk = os.fstatvfs(fd)
        if disk.f_bavail * disk.f_frsize - size < RESERVE:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def write_file(path: bytes, data: Bytes) -> None:
    """Write a new file, or none. Its name is durable after `sync` of its directory only."""
    try:
        with opened(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL) as fd:
            write_all(fd, data)
            os.fsync(fd)
    except BaseException:
        remove(path)
        raise


@contextmanager
def unnamed(folder: bytes, data: Bytes) -> Iterator[bytes]:
    """A durable file without a name, which nothing has to remove if the process dies; a path that leads to it, empty
    where the system has no such files (open(2), O_TMPFILE)."""
    try:
        fd = os.open(folder, os.O_WRONLY | os.O_TMPFILE, FILE_MODE)
    except (AttributeError, OSError):  # no such flag here; another fault is met again by the open that follows
        yield b""
        return
    try:
        write_all(fd, data)
        os.fsync(fd)
        path = b"/proc/self/fd/%d" % fd
        yield path if os.path.exists(path) else b""
    finally:
        os.close(fd)


def clone(source: bytes, target: bytes) -> None:
    """Give a file that is never written to any more a second name; a copy of it where that is on another disk.

    Raises FileNotFoundError. The bytes are as durable as they were; the name is after `sync` of its directory only."""
    try:
        os.link(source, target, follow_symlinks=False)
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        with opened(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL):
            shutil.copyfile(source, target)
        sync(target)


def link_new(source: bytes, folder: int, name: bytes) -> bool:
    """Give a file one more name, which nothing has: of any number of calls at once one succeeds. `folder`: the
    descriptor of the name's directory. False where the file system knows no hard links. Raises FileExistsError, and
    FileNotFoundError where the directory was removed. Not durable before the directory is synced."""
    try:
        os.link(source, name, dst_dir_fd=folder, follow_symlinks=True)  # followed: an unnamed file is a link in /proc
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        return False
    return True


@contextmanager
def opened(path: bytes, flags: int) -> Iterator[int]:
    fd = os.open(path, flags, FILE_MODE)
    try:
        yield fd
    finally:
        os.close(fd)


def sync(path: bytes) -> None:
    """Make a file's bytes durable, or the names in a directory."""
    with opened(path, os.O_RDONLY) as fd:
        os.fsync(fd)


def sync_nearest(path: bytes) -> None:
    """Make the names in a directory durable, or that it is not there any more."""
    try:
        sync(path)
    except (FileNotFoundError, NotADirectoryError):
        sync_nearest(os.path.dirname(path))


def make_directories(path: bytes) -> None:
    """Make a directory and its missing parents."""
    with suppress(FileExistsError):
        if not os.path.isdir(path):
            parent = os.path.dirname(path)
            make_directories(parent)
            os.mkdir(path, FOLDER_MODE)
            sync(parent)


def close_to_others(path: bytes) -> None:
    """Keep other users out of a directory, and so out of all below it: earlier versions made files that everybody may
    read. Of a directory that is not this user's own, or that is shared (sticky, as /tmp is), only say so."""
    found = os.stat(path)
    if not stat.S_IMODE(found.st_mode) & 0o077:
        return
    if found.st_uid == os.geteuid() and not found.st_mode & stat.S_ISVTX:
        os.chmod(path, FOLDER_MODE)
    elif found.st_mode & 0o007:
        log.warning("directory_exposed", path=os.fsdecode(path), remedy="give it to the server's user, with mode 0700")


def prune(path: bytes, top: bytes) -> bytes:
    """Remove a directory and those above it, below `top`, for as long as they are empty; the one that is left. Not
    durable before that one is synced."""
    while len(path) > len(top):
        try:
            os.rmdir(path)
        except FileNotFoundError:
            pass  # somebody else was faster
        except OSError:
            break
        path = os.path.dirname(path)
    return path


def remove(path: bytes) -> None:
    """Remove a file if there is one. Not durable."""
    with suppress(FileNotFoundError, NotADirectoryError, IsADirectoryError):
        os.unlink(path)


class TempFile:
    """A file that is written in several steps."""

    def __init__(self, path: bytes) -> None:
        self.path = path
        self._fd = -1

    def open(self) -> None:
        self._fd = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, FILE_MODE)

    def write(self, block: Bytes) -> None:
        write_all(self._fd, block)

    def sync(self) -> None:
        os.fsync(self._fd)

    def discard(self) -> None:
        """Close it, and remove it unless it got another name."""
        if self._fd >= 0:
            os.close(self._fd)
            remove(self.path)
