"""Directories whose names are durable, held open. Blocking calls, for threads."""

import os
import threading
from collections import OrderedDict
from contextlib import suppress

from libs.common.storage import StoreUnavailable
from libs.common.storage._fs_files import FOLDER_MODE

HELD = 512  # directories of one store; each takes a file descriptor
TRIES = 20  # how often deletes of other processes may remove a directory that is being made


class Folder:
    """A directory that is held open: as long as it is, no other directory gets its inode number."""

    def __init__(self, path: bytes) -> None:
        """Raises FileNotFoundError and NotADirectoryError."""
        self.fd = -1
        self.path = path
        self.fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
        found = os.fstat(self.fd)
        self._identity = found.st_dev, found.st_ino

    def is_there(self) -> bool:
        """Whether the path still leads to this directory: another process removes one that is empty."""
        with suppress(FileNotFoundError, NotADirectoryError):
            found = os.stat(self.path)
            return self._identity == (found.st_dev, found.st_ino)
        return False

    def sync(self) -> None:
        """Make the names in it durable."""
        os.fsync(self.fd)

    def __del__(self) -> None:  # when the last thread that uses it lets go
        if self.fd >= 0:
            os.close(self.fd)


class Folders:
    """The directories of one store, as one process knows them.

    What another process made may not be durable yet. So this process syncs every name on the way to a directory itself
    before it builds on that directory, and then remembers it for as long as it is the same directory."""

    def __init__(self, top: bytes) -> None:
        self._top = top
        self._held = OrderedDict[bytes, Folder]()
        self._lock = threading.Lock()

    def durable(self, path: bytes) -> Folder:
        """The directory, which is made where it is missing. Raises NotADirectoryError and StoreUnavailable."""
        for _ in range(TRIES):
            with suppress(FileNotFoundError):  # a delete removed a directory on the way
                return self._reach(path)
        raise StoreUnavailable(f"{os.fsdecode(self._top)} is away, or other processes remove directories all the time")

    def forget(self, path: bytes) -> None:
        with self._lock:
            self._held.pop(path, None)

    def clear(self) -> None:
        with self._lock:
            self._held.clear()

    def _known(self, path: bytes) -> Folder | None:
        with self._lock:
            folder = self._held.get(path)
            if folder:
                self._held.move_to_end(path)
        if not folder and path == self._top:
            return Folder(path)
        if folder and not folder.is_there():
            self.forget(path)
            return None
        return folder

    def _reach(self, path: bytes) -> Folder:
        missing = list[bytes]()
        while not (above := self._known(path)):
            missing.append(path)
            path = os.path.dirname(path)
        for each in reversed(missing):
            with suppress(FileExistsError):
                os.mkdir(each, FOLDER_MODE)
            made = Folder(each)
            above.sync()
            self._remember(made)
            above = made
        return above

    def _remember(self, folder: Folder) -> None:
        with self._lock:
            self._held[folder.path] = folder
            if len(self._held) > HELD:
                self._held.popitem(last=False)
