"""Objects appear and vanish as files. Blocking calls, for threads."""

import json
import os
import stat
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field

from libs.common.storage import LEASE, ConditionFailed, Fence, FenceExpired, KeyTaken, Origin
from libs.common.storage._bodies import Bytes
from libs.common.storage._checks import check_key
from libs.common.storage._fs_files import (
    Lock,
    clone,
    close_to_others,
    link_new,
    make_directories,
    prune,
    remove,
    sync,
    sync_nearest,
    unnamed,
    write_file,
)
from libs.common.storage._fs_folders import TRIES, Folder, Folders
from libs.common.storage._fs_places import Places, original

BATCH = 1000  # keys deleted while the lock is held once; S3 takes as many in one request
LEFTOVER_AGE = 86_400.0  # seconds; no put takes a day


@dataclass(frozen=True, slots=True)
class When:
    """When a write may take effect: within its fence, and where its condition holds."""

    fence: Fence | None = None
    absent: bool = False
    match: str = ""

    def check(self, target: bytes) -> None:
        """Called under the lock. Raises FenceExpired and ConditionFailed."""
        check_fence(self.fence)
        if not (self.absent or self.match):
            return
        there = etag_of(target)
        if there if self.absent else there != self.match:
            raise ConditionFailed("an object is there" if self.absent else "it is another object")


@dataclass(frozen=True, slots=True)
class Attributes:
    """What an object carries beside its bytes."""

    content_type: str = "application/octet-stream"
    metadata: Mapping[str, str] = field(default_factory=dict)


class Tree:
    """Gives names to files, and takes them away."""

    def __init__(self, places: Places) -> None:
        self._places = places
        self._names = Lock(places.lock)
        self._folders = Folders(places.root)

    def ensure(self) -> None:
        """Make what is missing, keep other users out, and remove temporary files that a killed process left behind."""
        for path in (self._places.meta, self._places.uploads, self._places.temp):
            make_directories(path)
        close_to_others(self._places.root)
        with os.scandir(self._places.temp) as entries:
            for entry in entries:
                with suppress(FileNotFoundError):
                    if time.time() - entry.stat().st_mtime > LEFTOVER_AGE:
                        remove(entry.path)

    def close(self) -> None:
        self._folders.clear()

    def put(self, key: str, body: Bytes, attributes: Attributes, when: When) -> str:
        if self._is_plain(key, attributes, when):
            with unnamed(self._places.temp, body) as path:
                if path and (etag := self._create(path, key)):
                    return etag
        temp = self._places.new_temp()
        try:
            write_file(temp, body)
            return self.name(temp, key, attributes, when)
        finally:
            remove(temp)

    def copy(self, origin: Origin, key: str, attributes: Attributes, when: When) -> str:
        """Raises ObjectNotFound."""
        temp = self._places.new_temp()
        try:
            with original(origin) as path:
                clone(path, temp)
            return self.name(temp, key, attributes, when, keep_date=True)
        finally:
            remove(temp)

    def name(
        self,
        source: bytes,
        key: str,
        attributes: Attributes,
        when: When,
        size: int | None = None,
        *,
        keep_date: bool = False,
    ) -> str:
        """Make a durable file, cut to `size` bytes if given, the object under a key; its etag. `keep_date`: it is the
        file of another object too, whose date is not to change.

        Raises FenceExpired, ConditionFailed, KeyTaken, and FileNotFoundError if the file is not there (any more)."""
        plain = size is None and self._is_plain(key, attributes, when)
        if plain and (etag := self._create(source, key, keep_date=keep_date)):
            return etag
        described = self._describe(attributes)
        try:
            with self._taken(key):
                return self._place(source, key, described, when, size, keep_date=keep_date)
        finally:
            if described:
                remove(described)

    def _is_plain(self, key: str, attributes: Attributes, when: When) -> bool:
        """Whether a put may try to do without the lock."""
        asks = when.match or when.fence or attributes != Attributes()
        return not asks and not os.path.lexists(self._places.sidecar(key))

    def _create(self, source: bytes, key: str, *, keep_date: bool = False) -> str:
        """Give the file a name that nothing has yet, without the lock; empty where only the lock can tell what to do.
        The name appears by link(2), which replaces nothing: so no write that looked under the lock is undone."""
        path, name = os.path.split(self._places.object(key))
        for _ in range(TRIES):
            with self._taken(key):
                folder = self._folders.durable(path)
            etag = _dated(source, keep_date=keep_date)
            try:
                if not link_new(source, folder.fd, name):
                    return ""
            except FileExistsError:
                return ""
            except FileNotFoundError:  # a delete removed the directory
                continue
            folder.sync()
            return etag
        return ""

    @contextmanager
    def _taken(self, key: str) -> Iterator[None]:
        try:
            yield
        except (NotADirectoryError, IsADirectoryError):
            self._places.check_there()
            raise KeyTaken(f"part of this key is another object's key, or the reverse: {key!r}") from None

    def _place(
        self, source: bytes, key: str, described: bytes | None, when: When, size: int | None, *, keep_date: bool
    ) -> str:
        """Give the file its name under the lock, whatever has it now."""
        target, sidecar = self._places.object(key), self._places.sidecar(key)
        paths = [os.path.dirname(path) for path in ((sidecar, target) if described else (target,))]
        for path in paths:
            self._folders.durable(path)
        with self._names.held():
            # again, because a delete may have pruned them in the meantime; it cannot while the lock is held
            folders = [self._folders.durable(path) for path in paths]
            if size is not None:
                os.truncate(source, size)
            try:
                when.check(target)  # last: from here on nothing waits for a lock or for the disk
                etag = _dated(source, keep_date=keep_date)  # under the lock: objects are as old as they are visible
                self._appear(source, target, described, sidecar, folders[-1] if when.absent else None)
            except (FenceExpired, ConditionFailed):
                self._prune([key])
                raise
        if size is not None:
            with suppress(FileNotFoundError):  # deleted since
                sync(target)
        for folder in folders:
            folder.sync()
        return etag

    @staticmethod
    def _appear(source: bytes, target: bytes, described: bytes | None, sidecar: bytes, new: Folder | None) -> None:
        """`new`: the directory of a name that is to be new. Raises ConditionFailed where a put without the lock was
        faster."""
        if os.path.isdir(target):  # before its attributes would take the place of those below it
            raise IsADirectoryError
        if described:
            os.replace(described, sidecar)
        else:
            remove(sidecar)
        try:
            if new and link_new(source, new.fd, os.path.basename(target)):
                remove(source)
            else:
                os.replace(source, target)
        except FileExistsError:
            remove(sidecar)
            raise ConditionFailed("an object is there") from None

    def _describe(self, attributes: Attributes) -> bytes | None:
        if attributes == Attributes():
            return None
        temp = self._places.new_temp()
        write_file(temp, json.dumps(asdict(attributes)).encode())
        return temp

    def delete(self, keys: Sequence[str], fence: Fence | None) -> None:
        for key in keys:
            check_key(key)
        for at in range(0, len(keys), BATCH):
            with self._names.held():
                check_fence(fence)
                left = self._delete(keys[at : at + BATCH])
            if fence:  # else it could come back in a power cut, when what was concluded from it is durable elsewhere
                for folder in left:
                    sync_nearest(folder)

    def delete_one(self, key: str, when: When) -> None:
        target = self._places.object(key)
        with self._names.held():
            check_fence(when.fence)
            if when.match and etag_of(target) != when.match:
                return
            left = self._delete([key])
        for folder in left:
            sync_nearest(folder)

    def _delete(self, keys: Sequence[str]) -> set[bytes]:
        """The directories to sync so that it is durable."""
        for key in keys:
            remove(self._places.object(key))
            remove(self._places.sidecar(key))
        return self._prune(keys)

    def _prune(self, keys: Sequence[str]) -> set[bytes]:
        """Remove the directories of objects that are empty; those that are left."""
        folders = {os.path.dirname(self._places.object(key)): self._places.root for key in keys}
        folders |= {os.path.dirname(self._places.sidecar(key)): self._places.meta for key in keys}
        left = set[bytes]()
        for folder, top in folders.items():
            left.add(prune(folder, top))
            if folder not in left:
                self._folders.forget(folder)
        return left


def _dated(source: bytes, *, keep_date: bool) -> str:
    """The etag of the object that a file is about to become."""
    if not keep_date:
        now = time.time_ns()
        os.utime(source, ns=(now, now))
    return etag(os.stat(source))


def etag_of(path: bytes) -> str:
    """The etag of the object that is this file; empty where none is."""
    with suppress(FileNotFoundError, NotADirectoryError):
        found = os.stat(path, follow_symlinks=False)
        if stat.S_ISREG(found.st_mode):
            return etag(found)
    return ""


def etag(found: os.stat_result) -> str:
    return f"{found.st_ino:x}-{found.st_mtime_ns:x}"


def check_fence(fence: Fence | None) -> None:
    if fence and time.time() > fence.issued + LEASE:
        raise FenceExpired(f"{LEASE} s have passed since the look")
