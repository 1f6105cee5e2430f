"""The files below a directory in the order of an S3 listing: ascending UTF-8 bytes of the whole key."""

import os
from collections.abc import Iterator
from typing import NamedTuple

from libs.common.storage._checks import RESERVED, check_prefix


class Found(NamedTuple):
    """A file: its key, and its size in bytes and time of change in seconds as the directory entry tells them."""

    key: str
    size: int
    modified: float


def walk(root: bytes, prefix: str, after: str) -> Iterator[Found]:
    """Files whose key begins with `prefix` and is greater than `after`. Reads only directories that can hold
    one; files that vanish meanwhile are left out, and names that are not UTF-8. Raises ValueError for a prefix
    that would lead out of the root, and OSError (also when the root is not there)."""
    check_prefix(prefix)
    folder = prefix[: prefix.rfind("/") + 1]
    for key, entry in _below(root, folder.encode(), prefix.encode(), after.encode()):
        try:
            stat, name = entry.stat(follow_symlinks=False), key.decode()
        except (FileNotFoundError, UnicodeDecodeError):  # no adapter stores a key that is not UTF-8
            continue
        yield Found(name, stat.st_size, stat.st_mtime_ns / 1e9)


def _below(root: bytes, folder: bytes, prefix: bytes, after: bytes) -> Iterator[tuple[bytes, os.DirEntry[bytes]]]:
    for key, entry in _entries(root, folder):
        if key.endswith(b"/"):
            if _may_hold(key, prefix, after):
                yield from _below(root, key, prefix, after)
        elif key.startswith(prefix) and key > after:
            yield key, entry


def _may_hold(folder: bytes, prefix: bytes, after: bytes) -> bool:
    wanted = folder.startswith(prefix) or prefix.startswith(folder)
    return wanted and (folder > after or after.startswith(folder))


def _entries(root: bytes, folder: bytes) -> list[tuple[bytes, os.DirEntry[bytes]]]:
    """Keys of what a directory holds, sorted. A directory's key ends with a slash: `a-b` < `a/` < `a0`."""
    try:
        with os.scandir(os.path.join(root, folder)) as entries:
            return sorted(_keyed(folder, entries), key=lambda pair: pair[0])
    except (FileNotFoundError, NotADirectoryError):
        if not folder:
            raise
        return []


def _keyed(folder: bytes, entries: Iterator[os.DirEntry[bytes]]) -> Iterator[tuple[bytes, os.DirEntry[bytes]]]:
    for entry in entries:
        if entry.is_dir(follow_symlinks=False):
            if folder or entry.name != RESERVED.encode():
                yield folder + entry.name + b"/", entry
        elif entry.is_file(follow_symlinks=False):
            yield folder + entry.name, entry
