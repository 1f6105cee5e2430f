"""The file in which a download gathers: it belongs to one process at a time, and outlives a crash.

`NAME.part` has the bytes, `NAME.part.etag` names their version. All functions block.
"""

import errno
import fcntl
import hashlib
import os
import stat
from contextlib import suppress
from pathlib import Path

from libs.client.errors import HiperError, TargetExistsError
from libs.client.versions import Version

HASH_BLOCK = 4 * 2**20  # bytes
LONGEST_NAME = 255  # bytes, where the file system does not say
_ENDINGS = (".part", ".part.etag")


class PartFile:
    """The helpers of the file that will be at `path`."""

    def __init__(self, path: Path) -> None:
        self._path = path
        stem = _stem(path)
        self.part, self._note = (path.with_name(stem + ending) for ending in _ENDINGS)
        self._fd: int | None = None

    def take_up(self) -> tuple[int, Version]:
        """How many bytes an earlier download left, and their version. Raises HiperError where another process has the
        file, and OSError."""
        if not self._note.exists() or not self._open(create=False):
            return 0, Version()
        return self._stat().st_size, Version.from_note(self._note.read_text(encoding="utf-8", errors="replace"))

    def begin(self, version: Version) -> None:
        """Make the file, or empty it; write the new version's note only when the old version's bytes are gone."""
        if self._fd is None:
            self._open(create=True)
            if self._stat().st_size and not self._note.exists():
                self.close()
                raise _in_the_way(self.part)
        if self._stat().st_size:
            os.ftruncate(self._descriptor, 0)
            os.fsync(self._descriptor)
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW
        with os.fdopen(os.open(self._note, flags, 0o666), "w", encoding="utf-8") as note:
            note.write(version.to_note())

    def write(self, block: bytes, offset: int) -> None:
        """Raises OSError with the path in it."""
        view = memoryview(block)
        try:
            while view:
                written = os.pwrite(self._descriptor, view, offset)
                view, offset = view[written:], offset + written
        except OSError as error:
            error.filename = str(self.part)
            raise

    def sha256(self) -> bytes:
        """Of the bytes on the disk, which may differ from those that this process wrote."""
        os.fsync(self._descriptor)
        with suppress(OSError, AttributeError):  # only advice: read the disk, not the memory that was written from
            os.posix_fadvise(self._descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        sha, at = hashlib.sha256(), 0
        while block := os.pread(self._descriptor, HASH_BLOCK, at):
            sha.update(block)
            at += len(block)
        return sha.digest()

    def publish(self, *, replace: bool) -> None:
        """Give the file its name; call `sha256` first. Raises TargetExistsError."""
        if not _is_file(self.part, self._stat()):
            raise HiperError(f"somebody moved {self.part} during the download", "download it again")
        if replace and (there := _lstat(self._path)):
            if not stat.S_ISREG(there.st_mode):
                raise TargetExistsError(f"{self._path} is not a file", "choose another place with -o")
            self._inherit(there)
            self.part.replace(self._path)
        else:
            self._publish_new()
        self._note.unlink(missing_ok=True)
        with suppress(OSError):  # not every file system can make a directory durable
            _sync_directory(self._path.parent)

    def remove(self) -> None:
        self._note.unlink(missing_ok=True)
        self.part.unlink(missing_ok=True)

    def close(self) -> None:
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None

    def _open(self, *, create: bool) -> bool:
        """Whether the file is there, open, and this process's alone."""
        flags = os.O_RDWR | os.O_NOFOLLOW | (os.O_CREAT if create else 0)
        there = _lstat(self._path)
        while True:
            try:
                fd = os.open(self.part, flags, stat.S_IMODE(there.st_mode) & 0o777 if there else 0o666)
            except FileNotFoundError:
                if create:
                    raise
                return False
            except OSError as error:
                raise _in_the_way(self.part) if error.errno == errno.ELOOP else error from error
            if self._owns(fd):
                self._fd = fd
                return True
            os.close(fd)

    def _owns(self, fd: int) -> bool:
        """Lock it. False: another process published the file after this one opened it."""
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(fd)
            if error.errno in {errno.EWOULDBLOCK, errno.EACCES}:
                raise HiperError(
                    f"another process downloads to {self._path}", "wait for it, or choose another place with -o"
                ) from error
            error.filename = str(self.part)
            raise
        held = os.fstat(fd)
        if not stat.S_ISREG(held.st_mode):
            os.close(fd)
            raise _in_the_way(self.part)
        if not _is_file(self.part, held):
            return False
        if held.st_nlink > 1:  # a crash came in the middle of _publish_new: this is a published file by another name
            self.part.unlink()
            return False
        return True

    def _publish_new(self) -> None:
        """Atomically, unless something has the name by now."""
        try:
            os.link(self.part, self._path, follow_symlinks=False)
        except FileExistsError:
            raise exists(self._path) from None
        except OSError:  # a file system without links
            if _lstat(self._path):
                raise exists(self._path) from None
            self.part.replace(self._path)
        else:
            self.part.unlink()

    def _inherit(self, there: os.stat_result) -> None:
        """Take rights and owner of the file that is replaced: only readers of the old one can read the new one."""
        with suppress(OSError):  # only root may give a file away
            os.fchown(self._descriptor, there.st_uid, there.st_gid)
        os.fchmod(self._descriptor, stat.S_IMODE(there.st_mode) & 0o777)

    def _stat(self) -> os.stat_result:
        return os.fstat(self._descriptor)

    @property
    def _descriptor(self) -> int:
        assert self._fd is not None  # noqa: S101  # begin() or take_up() comes first
        return self._fd


def exists(path: Path) -> TargetExistsError:
    return TargetExistsError(f"{path} exists", "replace it with --force, or choose another place with -o")


def _in_the_way(part: Path) -> HiperError:
    return HiperError(f"{part} is in the way: no download left it there", "move it, or download to another path")


def _stem(path: Path) -> str:
    """The file's name; of a name that is too long for the endings, its begin and a hash of the whole."""
    try:
        longest = os.pathconf(path.parent, "PC_NAME_MAX")
    except (OSError, ValueError):
        longest = LONGEST_NAME
    name = os.fsencode(path.name)
    room = longest - max(map(len, _ENDINGS))
    if len(name) <= room:
        return path.name
    digest = hashlib.sha256(name).hexdigest()[:16]
    begin = name[: max(0, room - len(digest) - 1)].decode(errors="ignore")
    return f"{begin}~{digest}"


def _lstat(path: Path) -> os.stat_result | None:
    try:
        return path.lstat()
    except FileNotFoundError:
        return None


def _is_file(path: Path, held: os.stat_result) -> bool:
    there = _lstat(path)
    return there is not None and os.path.samestat(there, held)


def _sync_directory(path: Path) -> None:
    directory = os.open(path, os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)
