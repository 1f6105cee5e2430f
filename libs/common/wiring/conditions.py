"""Proof that a store keeps the conditions and fences that the protocol rests on, and no half of a body. A service asks
when it starts."""

import asyncio
from collections.abc import AsyncIterator, Awaitable
from contextlib import suppress

from libs.common.storage import (
    ConditionFailed,
    Fence,
    FenceExpired,
    ObjectNotFound,
    ObjectStore,
    StoreRefused,
    StoreUnavailable,
    Stream,
)
from libs.common.uploads.layout import probe_key

_PART = 5 * 2**20  # bytes that the parts of a trial would have, had it more than one
_LONG_AGO = 60.0  # seconds before now: no fence lasts so long
_ADVICE = (
    "Two processes could then overwrite each other's work, so this store cannot be used. Use one that has conditional "
    "writes: AWS S3, MinIO from October 2025 on. If it has them, see that no proxy before it drops the header or signs "
    "requests anew."
)
_HALF = 64 * 2**10  # bytes that are sent of a body of twice as many
_ON_ITS_WAY = 0.05  # seconds until the half is sent: a connection that is cut drops what waits in this process
_SETTLED = 0.2  # seconds until the store has seen that the connection is cut, and has kept the half or not
_WHOLE_ADVICE = (
    "A service that is killed while it sends would then leave a wrong object, so this store cannot be used. Use one "
    "that keeps whole bodies only: AWS S3, MinIO. Or put a proxy before it that takes each request whole before it "
    "hands it on (docs/operations.md, Before the start)."
)


class _SenderDied(Exception):
    """In the middle of a body, as a killed process does."""


async def prove_conditions(store: ObjectStore) -> None:
    """Try each condition, a fence and bodies that break off, on an object that no other process knows, and delete it.
    Raises StoreRefused, which names what the store ignores and what to do; StoreUnavailable."""
    key = probe_key()
    try:
        await _try_halves(store, key)
        await _try_conditions(store, key)
        await _try_completion(store, key)
        await _try_fence(store, key)
    finally:
        with suppress(StoreUnavailable):  # the bucket's lifecycle rule deletes it
            await store.delete_many([key])


async def _try_halves(store: ObjectStore, key: str) -> None:
    half = Stream(2 * _HALF, _half_of_a_body)
    upload = await store.create_multipart(key, part_size=_PART)
    try:
        for write in (store.put(key, half), store.put_part(key, upload, 1, half)):
            with suppress(_SenderDied):
                await write
        await asyncio.sleep(_SETTLED)
        with suppress(ObjectNotFound):
            await store.stat(key)
            raise _keeps_half("PutObject")
        if await store.list_parts(key, upload):
            raise _keeps_half("UploadPart")
    finally:
        with suppress(StoreUnavailable):
            await store.abort_multipart(key, upload)


async def _half_of_a_body() -> AsyncIterator[bytes]:
    yield bytes(_HALF)
    await asyncio.sleep(_ON_ITS_WAY)
    raise _SenderDied


def _keeps_half(operation: str) -> StoreRefused:
    return StoreRefused(f"the store keeps half of a body whose sender died ({operation}). {_WHOLE_ADVICE}")


async def _try_conditions(store: ObjectStore, key: str) -> None:
    try:
        first = await store.put(key, b"1", absent=True)
    except ConditionFailed:
        raise StoreUnavailable(f"{key}: an answer was lost, and the request sent again") from None
    await _must_fail("`If-None-Match: *` on PutObject", store.put(key, b"2", absent=True))
    second = await store.put(key, b"3", match=first)
    await _must_fail("`If-Match` on PutObject", store.put(key, b"4", match=first))
    await store.delete_many([key])
    # MinIO before September 2025 (minio/minio#21526).
    await _must_fail("`If-Match` on PutObject where no object is", store.put(key, b"5", match=second))


async def _try_completion(store: ObjectStore, key: str) -> None:
    await store.put(key, b"6")
    upload = await store.create_multipart(key, part_size=_PART)
    try:
        part = await store.put_part(key, upload, 1, b"7")
        completed = store.complete_multipart(key, upload, [part], absent=True)
        await _must_fail("`If-None-Match: *` on CompleteMultipartUpload", completed)
    finally:
        with suppress(StoreUnavailable):
            await store.abort_multipart(key, upload)


async def _try_fence(store: ObjectStore, key: str) -> None:
    expired = Fence((await store.fetch(key)).fence.issued - _LONG_AGO)
    await _must_fail("when a signed URL expires (X-Amz-Expires)", store.put(key, b"", fence=expired))


async def _must_fail(condition: str, write: Awaitable[object]) -> None:
    try:
        await write
    except (ConditionFailed, FenceExpired):
        return
    raise StoreRefused(f"the store ignores {condition}. {_ADVICE}")
