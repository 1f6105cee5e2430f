"""Looking at objects that are files. Blocking calls, for threads."""

import json
import os
import stat
import time
from contextlib import suppress
from itertools import islice

from libs.common.storage import Fence, Fetched, Listing, ObjectInfo, ObjectNotFound
from libs.common.storage._fs_places import Places
from libs.common.storage._fs_tree import Attributes, etag
from libs.common.storage._fs_walk import walk


def list_objects(places: Places, prefix: str, start_after: str, limit: int) -> Listing:
    issued = time.time()
    places.check_there()
    found = list(islice(walk(places.root, prefix, start_after), limit + 1))
    return Listing([ObjectInfo(*each) for each in found[:limit]], len(found) > limit, Fence(issued))


def stat_object(places: Places, key: str) -> ObjectInfo:
    """Raises ObjectNotFound."""
    found = _look(places, key)
    attributes = Attributes()
    with suppress(FileNotFoundError, NotADirectoryError), open(places.sidecar(key), "rb") as file:
        attributes = Attributes(**json.load(file))
    modified = found.st_mtime_ns / 1e9
    return ObjectInfo(key, found.st_size, modified, attributes.content_type, attributes.metadata, etag(found))


def fetch_object(places: Places, key: str, known: str) -> Fetched:
    """Bytes and etag are of one file: it is opened once, and files are replaced, never written to."""
    fence = Fence(time.time())
    try:
        fd = os.open(places.object(key), os.O_RDONLY | os.O_NOFOLLOW)
    except (FileNotFoundError, NotADirectoryError):
        places.check_there()
        return Fetched(fence)
    try:
        found = os.fstat(fd)
        if not stat.S_ISREG(found.st_mode):
            return Fetched(fence)
        info = ObjectInfo(key, found.st_size, found.st_mtime_ns / 1e9, etag=etag(found))
        if info.etag == known:
            return Fetched(fence, unchanged=True)
        return Fetched(fence, info, os.pread(fd, found.st_size, 0))
    finally:
        os.close(fd)


def _look(places: Places, key: str) -> os.stat_result:
    with suppress(FileNotFoundError, NotADirectoryError):
        found = os.stat(places.object(key), follow_symlinks=False)
        if stat.S_ISREG(found.st_mode):
            return found
    places.check_there()
    raise ObjectNotFound(key)


class Reader:
    """Reads bytes [start, end) of an object, or to its end, a block at a time; b"" is the end."""

    def __init__(self, places: Places, key: str, start: int, end: int | None, block: int, etag: str = "") -> None:
        self._places = places
        self._key = key
        self._at = start
        self._end = end
        self._block = block
        self._etag = etag
        self._fd = -1

    def open(self) -> bytes:
        """Open it and read the first block. Raises ObjectNotFound. It stays readable while it is deleted."""
        _look(self._places, self._key)
        try:
            self._fd = os.open(self._places.object(self._key), os.O_RDONLY | os.O_NOFOLLOW)
        except FileNotFoundError:
            raise ObjectNotFound(self._key) from None
        if self._etag and self._etag != etag(os.fstat(self._fd)):
            raise ObjectNotFound(self._key)
        return self.read()

    def read(self) -> bytes:
        size = self._block if self._end is None else min(self._block, max(0, self._end - self._at))
        block = os.pread(self._fd, size, self._at)
        self._at += len(block)
        return block

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
