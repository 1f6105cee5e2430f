"""Counts and times every call of a store, whatever the adapter."""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from functools import lru_cache
from time import perf_counter

from prometheus_client import Counter, Histogram

from libs.common.storage import (
    Body,
    ConditionFailed,
    Fence,
    FenceExpired,
    Fetched,
    Listing,
    ObjectInfo,
    ObjectNotFound,
    ObjectStore,
    Origin,
    PartInfo,
    StoreUnavailable,
    UploadNotFound,
)

CALLS = Counter(
    "hiper_store_calls",
    "Calls of the object store, by how they ended: ok, missing, refused (a condition), fenced, unavailable, failed.",
    ["bucket", "operation", "outcome"],
)
DURATION = Histogram(
    "hiper_store_call_duration_seconds",
    "Duration of a call of the object store; of a get, until its first byte.",
    ["bucket", "operation"],
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 15),
)
# Finding a series by its labels takes longer than counting in it.
_calls, _duration = lru_cache(512)(CALLS.labels), lru_cache(512)(DURATION.labels)


class _Call:
    """One call under way."""

    __slots__ = ("_began", "_bucket", "_operation")

    def __init__(self, bucket: str, operation: str) -> None:
        self._bucket = bucket
        self._operation = operation

    def __enter__(self) -> None:
        self._began = perf_counter()

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> None:
        _duration(self._bucket, self._operation).observe(perf_counter() - self._began)
        self.count(error)

    def count(self, error: BaseException | None) -> None:
        _calls(self._bucket, self._operation, _outcome(error)).inc()


def _outcome(error: BaseException | None) -> str:
    match error:
        case None:
            return "ok"
        case ObjectNotFound() | UploadNotFound():
            return "missing"
        case ConditionFailed():
            return "refused"
        case FenceExpired():
            return "fenced"
        case StoreUnavailable():
            return "unavailable"
    return "failed"  # cancelled, or what the caller's own Stream raised


class MeteredStore:
    """An ObjectStore around another. `bucket` is what the deployment calls it: temp, perm or auth."""

    def __init__(self, store: ObjectStore, bucket: str) -> None:
        self._store = store
        self._bucket = bucket

    def _call(self, operation: str) -> _Call:
        return _Call(self._bucket, operation)

    async def ensure(self) -> None:
        with self._call("ensure"):
            await self._store.ensure()

    async def close(self) -> None:
        await self._store.close()

    def origin(self, key: str, size: int) -> Origin:
        return self._store.origin(key, size)

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
        with self._call("put"):
            return await self._store.put(
                key, body, absent=absent, match=match, fence=fence, content_type=content_type, metadata=metadata
            )

    async def fetch(self, key: str, *, known: str = "") -> Fetched:
        with self._call("fetch"):
            return await self._store.fetch(key, known=known)

    @asynccontextmanager
    async def get(
        self, key: str, start: int = 0, end: int | None = None, *, etag: str = ""
    ) -> AsyncIterator[AsyncIterator[bytes]]:
        opening, call = self._store.get(key, start, end, etag=etag), self._call("get")
        with call:
            blocks = await opening.__aenter__()
        try:
            yield blocks
        except BaseException as error:
            if isinstance(error, StoreUnavailable):  # in the middle: one more call that ended, and not well
                call.count(error)
            if not await opening.__aexit__(type(error), error, error.__traceback__):
                raise
        else:
            await opening.__aexit__(None, None, None)

    async def stat(self, key: str) -> ObjectInfo:
        with self._call("stat"):
            return await self._store.stat(key)

    async def list(self, prefix: str, *, start_after: str = "", limit: int = 1000) -> Listing:
        with self._call("list"):
            return await self._store.list(prefix, start_after=start_after, limit=limit)

    async def delete_many(self, keys: Sequence[str], *, fence: Fence | None = None) -> None:
        with self._call("delete_many"):
            await self._store.delete_many(keys, fence=fence)

    async def delete(self, key: str, *, match: str = "", fence: Fence | None = None) -> None:
        with self._call("delete"):
            await self._store.delete(key, match=match, fence=fence)

    async def create_multipart(
        self,
        key: str,
        *,
        part_size: int,
        content_type: str = "application/octet-stream",
        metadata: Mapping[str, str] | None = None,
    ) -> str:
        with self._call("create_multipart"):
            return await self._store.create_multipart(
                key, part_size=part_size, content_type=content_type, metadata=metadata
            )

    async def put_part(self, key: str, upload_id: str, number: int, body: Body) -> PartInfo:
        with self._call("put_part"):
            return await self._store.put_part(key, upload_id, number, body)

    async def list_parts(self, key: str, upload_id: str) -> Sequence[PartInfo]:
        with self._call("list_parts"):
            return await self._store.list_parts(key, upload_id)

    async def complete_multipart(
        self,
        key: str,
        upload_id: str,
        parts: Sequence[PartInfo],
        *,
        absent: bool = False,
        fence: Fence | None = None,
    ) -> None:
        with self._call("complete_multipart"):
            await self._store.complete_multipart(key, upload_id, parts, absent=absent, fence=fence)

    async def abort_multipart(self, key: str, upload_id: str) -> None:
        with self._call("abort_multipart"):
            await self._store.abort_multipart(key, upload_id)
