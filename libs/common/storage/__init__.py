"""The object store port: what every adapter promises, and one bucket of it.

All objects of the protocol are written once and later deleted. An adapter is bound to one bucket.
"""

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import Protocol

LEASE = 2.0  # seconds that a process may act on a look, and that a fence lasts


class StoreError(Exception):
    """Base of everything a store raises."""


class ObjectNotFound(StoreError):
    """No object under that key (or not any more)."""


class UploadNotFound(StoreError):
    """No open multipart upload under that id: completed, aborted, or purged by the store."""


class FenceExpired(StoreError):
    """The write or delete came later than its fence allows; it had no effect and never will."""


class ConditionFailed(StoreError):
    """The condition of a write did not hold, so that it had no effect. A client library that sends a request again can
    get this for a write that did take effect: look whether the object is one's own."""


class KeyTaken(StoreError, ValueError):
    """One key is the folder of the other: `a` and `a/b`. Stores on directories hold only one of them."""


class StoreUnavailable(StoreError):
    """The store is away, full or failing. The call may or may not have taken effect, now or later."""


class StoreFull(StoreUnavailable):
    """The store is there and has no room: it takes somebody to make some."""


class StoreRefused(StoreUnavailable):
    """The store is there and says no: wrong credentials, or no right to do this. Asking again does not help."""


@dataclass(frozen=True, slots=True)
class Fence:
    """The latest moment at which a write or delete may take effect: LEASE seconds after `issued`.

    `issued` is in the store's own time (seconds since the epoch, taken from the answer of a look), so that
    no agreement between clocks is needed.
    """

    issued: float


@dataclass(frozen=True, slots=True)
class ObjectInfo:
    """What the store knows of an object. `modified` is when it became visible, in the store's time, in seconds
    since the epoch (`stat` may round it down to whole ones). Only `stat` fills the rest. The names of metadata come in
    lower case; `etag` is opaque, and another one for other bytes under the same key."""

    key: str
    size: int
    modified: float
    content_type: str = ""
    metadata: Mapping[str, str] = field(default_factory=dict)
    etag: str = ""


@dataclass(frozen=True, slots=True)
class Listing:
    """One page of a listing, keys in ascending order of their UTF-8 bytes.

    `fence.issued` is when the look began, in the store's time: never later than its answer, at most 0.25 s later than
    its beginning, and rounded down by a store that tells whole seconds.
    """

    objects: Sequence[ObjectInfo]
    truncated: bool
    fence: Fence


@dataclass(frozen=True, slots=True)
class Fetched:
    """A small object as `fetch` found it; `info` is None where no object is. `unchanged`: it still has the etag that
    the caller knows, who has the rest too. `fence.issued` is when the look began, as in a Listing."""

    fence: Fence
    info: ObjectInfo | None = None
    data: bytes = b""
    unchanged: bool = False


@dataclass(frozen=True, slots=True)
class PartInfo:
    """A part of an open multipart upload. `number` counts from 1, `size` is in bytes, `etag` is opaque; `list_parts`
    adds when it was stored (`modified`: the store's time in seconds since the epoch)."""

    number: int
    size: int
    etag: str
    modified: float = field(default=0.0, compare=False)


@dataclass(frozen=True, slots=True)
class Stream:
    """A body that is not in memory: its length in bytes, and a function that starts it from the beginning.

    The function may be called more than once (an adapter that tries again starts over)."""

    size: int
    blocks: Callable[[], AsyncIterator[bytes]]


@dataclass(frozen=True, slots=True)
class Origin:
    """A body that the store has already: an object of one of its buckets, of `size` bytes (see `ObjectStore.origin`).
    The store copies it, and no byte of it passes through this process. At most 5 GiB, by the S3 API."""

    place: str
    key: str
    size: int


Body = bytes | bytearray | memoryview | Stream | Origin


class ObjectStore(Protocol):
    """One bucket.

    Every method raises StoreUnavailable when the store is away, refuses, is full or does not answer in time.
    A write that returned is durable and visible to every later call of every process. A write that raised
    StoreUnavailable may take effect at any later time. No object is ever visible half-written.

    A key is segments joined by `/`, at most 1,024 bytes of UTF-8, each segment 1 to 255. ValueError refuses what no
    adapter takes, before anything is done: a segment `.` or `..` (spaces around it or not), NUL, and `.hiper` as the
    first. No key may be the folder of another (`a` beside `a/b`): the filesystem refuses it, MinIO hides one of them.
    """

    async def ensure(self) -> None:
        """Make the bucket if it is missing. Raises StoreUnavailable."""
        ...

    async def close(self) -> None:
        """Give back connections and files. No call may follow."""
        ...

    def origin(self, key: str, size: int) -> Origin:
        """An object of this bucket as a body for any bucket of the same store. It need not be there yet."""
        ...

    async def put(
        self,
        key: str,
        body: Body,
        *,
        absent: bool = False,
        match: str = "",
        fence: Fence | None = None,
        content_type: str = "application/octet-stream",
        metadata: Mapping[str, str] | None = None,
    ) -> str:
        """Store an object, replacing what is under its key; its etag. Metadata is printable ASCII.

        `absent`: only where no object is under the key. `match`: only where the object there has this etag. Of any
        number of such writes at once exactly one takes effect. No Origin goes with a condition: stores ignore
        conditions on copies. A fence on a body that takes long counts when the store begins to take it.

        Raises ConditionFailed, FenceExpired, KeyTaken, and ObjectNotFound for an Origin that is not there; what a
        Stream raises comes through. Nothing is stored then."""
        ...

    async def fetch(self, key: str, *, known: str = "") -> Fetched:
        """A small object whole, or that it is not there, and the store's time. `known`: the etag that the caller has
        the bytes of already."""
        ...

    def get(
        self, key: str, start: int = 0, end: int | None = None, *, etag: str = ""
    ) -> AbstractAsyncContextManager[AsyncIterator[bytes]]:
        """Stream bytes [start, end) of an object, in blocks of at most 1 MiB; to its end if `end` is None.

        Raises ObjectNotFound on entering, also where the object is not any more the one that had `etag`. A connection
        that breaks in the middle raises StoreUnavailable from the iterator; the blocks before it are good. An empty
        range of an object that exists yields nothing.
        """
        ...

    async def stat(self, key: str) -> ObjectInfo:
        """Raises ObjectNotFound."""
        ...

    async def list(self, prefix: str, *, start_after: str = "", limit: int = 1000) -> Listing:
        """One page of the objects whose key begins with `prefix` and is greater than `start_after`, at most
        `limit` (1 to 1000) of them. A prefix need not end at a slash, but its last segment may not be `.` or `..`.
        Uploads in progress are not objects."""
        ...

    async def delete_many(self, keys: Sequence[str], *, fence: Fence | None = None) -> None:
        """Delete objects; those that are not there count as deleted. Any number of keys. Raises FenceExpired
        (keys before the first refused batch of 1,000 may be deleted) or StoreUnavailable (any may be)."""
        ...

    async def delete(self, key: str, *, match: str = "", fence: Fence | None = None) -> None:
        """Delete one object by a request that is sent once and never again, by no library either. `match`: only if it
        has this etag, where the store knows conditions on deletes (MinIO ignores them). Raises FenceExpired, and
        StoreUnavailable: then the request may still take effect, for as long as its fence and the store allow."""
        ...

    async def create_multipart(
        self,
        key: str,
        *,
        part_size: int,
        content_type: str = "application/octet-stream",
        metadata: Mapping[str, str] | None = None,
    ) -> str:
        """Open a multipart upload and return its id. Every part but the last has `part_size` bytes (>= 5 MiB)."""
        ...

    async def put_part(self, key: str, upload_id: str, number: int, body: Body) -> PartInfo:
        """Store part `number` (1 to 10,000), replacing it if it is there. Two processes may put the same bytes at
        once; other bytes, only one after the other. Raises UploadNotFound, ObjectNotFound for an Origin that is not
        there, and what a Stream raises."""
        ...

    async def list_parts(self, key: str, upload_id: str) -> Sequence[PartInfo]:
        """Every part that is durable, by ascending number. Raises UploadNotFound."""
        ...

    async def complete_multipart(
        self,
        key: str,
        upload_id: str,
        parts: Sequence[PartInfo],
        *,
        absent: bool = False,
        fence: Fence | None = None,
    ) -> None:
        """Make the parts, numbered 1, 2, 3..., one object, atomically. `absent`: only where no object is under the
        key. Raises UploadNotFound (also when another process completed it a moment ago), ConditionFailed,
        FenceExpired, KeyTaken, and ValueError for parts that are not the upload's. May
        take 15 s to say that the store is away: stores join the parts before they answer."""
        ...

    async def abort_multipart(self, key: str, upload_id: str) -> None:
        """Throw an open upload and its parts away. One that is not there counts as aborted."""
        ...


@dataclass(frozen=True, slots=True)
class Buckets:
    """The stores of one deployment."""

    temp: ObjectStore
    perm: ObjectStore


async def walk(store: ObjectStore, prefix: str, start_after: str = "") -> AsyncIterator[ObjectInfo]:
    """Every object below a prefix, page after page."""
    while True:
        page = await store.list(prefix, start_after=start_after)
        for info in page.objects:
            yield info
        if not page.truncated:
            return
        if not page.objects:
            raise StoreUnavailable(f"{prefix}: a page of a listing is empty, and not the last")
        start_after = page.objects[-1].key


async def list_all(store: ObjectStore, prefix: str, start_after: str = "") -> list[ObjectInfo]:
    return [info async for info in walk(store, prefix, start_after)]


async def read(store: ObjectStore, key: str, start: int = 0, end: int | None = None) -> bytes:
    """Bytes [start, end) of an object, in memory."""
    async with store.get(key, start, end) as blocks:
        return b"".join([block async for block in blocks])
