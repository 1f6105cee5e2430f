"""Where things are below a root directory."""

import os
import stat
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from libs.common.storage import ObjectNotFound, Origin, StoreUnavailable
from libs.common.storage._checks import RESERVED, check_key


class Places:
    """An object is the file `{root}/{key}`. What belongs to the store itself lies below `{root}/.hiper`::

    lock                      held while names change by a condition, are replaced, and vanish
    tmp/                      files on their way to a name
    meta/{key}                attributes of an object, where they are not the defaults
    multipart/{upload_id}/    see _fs_uploads
    """

    def __init__(self, root: Path) -> None:
        self.root = os.fsencode(root.absolute())
        own = os.path.join(self.root, RESERVED.encode())
        self.meta = os.path.join(own, b"meta")
        self.temp = os.path.join(own, b"tmp")
        self.uploads = os.path.join(own, b"multipart")
        self.lock = os.path.join(own, b"lock")

    def object(self, key: str) -> bytes:
        """Raises ValueError for what is not a key, and so for what would lead out of the root."""
        check_key(key)
        return os.path.join(self.root, key.encode())

    def sidecar(self, key: str) -> bytes:
        check_key(key)
        return os.path.join(self.meta, key.encode())

    def new_temp(self) -> bytes:
        """A path that nobody else has."""
        return os.path.join(self.temp, uuid.uuid4().hex.encode())

    def check_there(self) -> None:
        """A disk that is not mounted is a store that is away, not one that is empty. Raises StoreUnavailable."""
        if not os.path.isdir(self.temp):
            raise StoreUnavailable(f"{os.fsdecode(self.root)} is not (or no longer) a store: see ensure()")


@contextmanager
def original(origin: Origin) -> Iterator[bytes]:
    """The path of an object that is being copied. Raises ObjectNotFound where it is not there."""
    places = Places(Path(origin.place))
    try:
        path = places.object(origin.key)
        if not stat.S_ISREG(os.lstat(path).st_mode):
            raise ObjectNotFound(origin.key)
        yield path
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
        places.check_there()
        raise ObjectNotFound(origin.key) from None
