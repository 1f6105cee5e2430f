"""Conditions and fences of writes. The record of a name rests on them (libs/common/storage)."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Sequence
from pathlib import Path

import pytest

from libs.common.storage import (
    ConditionFailed,
    Fence,
    FenceExpired,
    ObjectStore,
    PartInfo,
    StoreUnavailable,
    read,
)
from tests.contract.conftest import fresh_bucket
from tests.contract.store_buckets import UPLOADED, Bucket
from tests.contract.test_store import PAST_THE_LEASE, clear, streamed

MIB = 2**20
STORES = ["filesystem", "metered", pytest.param("minio", marks=pytest.mark.backends), "versitygw"]
AT_ONCE = 50


@pytest.fixture(params=STORES)
async def bucket(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Bucket]:
    """Here of a second S3-compatible store too: the protocol asks of a store what these tests show, and no more."""
    async with fresh_bucket(request, tmp_path) as fresh:
        yield fresh


async def outcomes(writes: Sequence[Awaitable[object]]) -> list[object]:
    """What each write returned or raised."""
    return list(await asyncio.gather(*writes, return_exceptions=True))


def winners(results: Sequence[object]) -> int:
    """How many of the writes took effect; the others must have been refused by their condition."""
    refused = [result for result in results if isinstance(result, ConditionFailed)]
    won = [result for result in results if not isinstance(result, BaseException)]
    assert len(refused) + len(won) == len(results), results
    return len(won)


class TestAbsent:
    async def test_it_creates_what_is_not_there(self, store: ObjectStore, other: ObjectStore) -> None:
        etag = await store.put("a/b", b"first", absent=True)
        assert (await other.fetch("a/b")).data == b"first"
        assert (await other.stat("a/b")).etag == etag
        await clear(store)

    @pytest.mark.parametrize("wrap", [bytes, streamed])
    async def test_it_replaces_nothing(self, store: ObjectStore, wrap: type[bytes]) -> None:
        await store.put("k", b"first", metadata={"a": "1"})
        with pytest.raises(ConditionFailed):
            await store.put("k", wrap(b"second"), absent=True, metadata={"a": "2"})
        assert await read(store, "k") == b"first"
        assert (await store.stat("k")).metadata == {"a": "1"}
        await clear(store)

    async def test_of_fifty_at_once_one_wins(self, store: ObjectStore, other: ObjectStore) -> None:
        writes = [each.put("k", f"{n}".encode(), absent=True) for n in range(AT_ONCE // 2) for each in (store, other)]
        assert winners(await outcomes(writes)) == 1
        await clear(store)

    async def test_it_may_be_created_again_when_it_was_deleted(self, store: ObjectStore) -> None:
        await store.put("k", b"first", absent=True)
        await store.delete("k")
        await store.put("k", b"second", absent=True)
        assert await read(store, "k") == b"second"
        await clear(store)


class TestMatch:
    async def test_it_replaces_the_object_that_it_names(self, store: ObjectStore) -> None:
        first = await store.put("k", b"first")
        second = await store.put("k", b"second", match=first)
        assert first != second
        fetched = await store.fetch("k")
        assert fetched.info
        assert (fetched.data, fetched.info.etag) == (b"second", second)
        await clear(store)

    async def test_it_replaces_no_other(self, store: ObjectStore) -> None:
        old = await store.put("k", b"first")
        await store.put("k", b"second")
        with pytest.raises(ConditionFailed):
            await store.put("k", b"third", match=old)
        assert await read(store, "k") == b"second"
        await clear(store)

    async def test_it_creates_nothing(self, store: ObjectStore) -> None:
        old = await store.put("k", b"first")
        await store.delete("k")
        with pytest.raises(ConditionFailed):
            await store.put("k", b"second", match=old)
        assert not (await store.fetch("k")).info

    async def test_of_fifty_at_once_one_wins(self, store: ObjectStore, other: ObjectStore) -> None:
        etag = await store.put("k", b"before")
        writes = [each.put("k", f"{n}{each}".encode(), match=etag) for n in range(25) for each in (store, other)]
        assert winners(await outcomes(writes)) == 1
        await clear(store)

    async def test_a_counter_that_many_raise_loses_no_step(self, store: ObjectStore, other: ObjectStore) -> None:
        await store.put("count", b"0 start")

        async def step(process: ObjectStore, name: str) -> None:
            while True:
                seen = await process.fetch("count")
                assert seen.info
                # The writer's name makes each version other bytes: etags of S3 are digests of the content.
                new = f"{int(seen.data.split()[0]) + 1} {name}".encode()
                try:
                    await process.put("count", new, match=seen.info.etag, fence=seen.fence)
                except (ConditionFailed, FenceExpired):
                    continue
                return

        await asyncio.gather(*(step(each, f"{n}-{id(each)}") for n in range(10) for each in (store, other)))
        assert (await store.fetch("count")).data.split()[0] == b"20"
        await clear(store)


class TestFetch:
    async def test_it_tells_that_nothing_is_there_and_the_time(self, store: ObjectStore) -> None:
        await store.put("here", b"")
        seen, there = await store.fetch("missing"), (await store.stat("here")).modified
        assert (seen.info, seen.data, seen.unchanged) == (None, b"", False)
        assert abs(seen.fence.issued - there) < 3
        await clear(store)

    async def test_what_is_known_is_not_sent_again(self, store: ObjectStore) -> None:
        etag = await store.put("k", b"known")
        seen = await store.fetch("k", known=etag)
        assert (seen.unchanged, seen.info, seen.data) == (True, None, b"")
        changed = await store.put("k", b"changed")
        seen = await store.fetch("k", known=etag)
        assert seen.info
        assert (seen.unchanged, seen.data, seen.info.etag) == (False, b"changed", changed)
        await store.delete("k")
        seen = await store.fetch("k", known=etag)
        assert (seen.unchanged, seen.info) == (False, None)

    async def test_a_folder_is_no_object(self, store: ObjectStore) -> None:
        await store.put("a/b", b"x")
        assert (await store.fetch("a")).info is None
        await clear(store)


class TestFences:
    async def fresh(self, store: ObjectStore) -> Fence:
        return (await store.fetch("nothing")).fence

    async def test_a_fresh_one_lets_conditional_writes_through(self, store: ObjectStore) -> None:
        etag = await store.put("k", b"1", absent=True, fence=await self.fresh(store))
        await store.put("k", b"2", match=etag, fence=await self.fresh(store))
        await store.delete("k", fence=await self.fresh(store))
        assert not (await store.fetch("k")).info

    async def test_after_a_lease_they_have_no_effect(self, store: ObjectStore) -> None:
        etag = await store.put("old", b"old")
        upload, part = await begun(store)
        fence = await self.fresh(store)
        await asyncio.sleep(PAST_THE_LEASE)
        results = await outcomes(
            [
                store.put("new", bytes(MIB), absent=True, fence=fence),
                store.put("old", b"new", match=etag, fence=fence),
                store.complete_multipart(UPLOADED, upload, [part], absent=True, fence=fence),
                store.delete("old", fence=fence),
            ]
        )
        long, *short = [type(result) for result in results]
        # A store may refuse a request by its head and close the connection, so that its answer is lost on the way.
        assert long in (FenceExpired, StoreUnavailable)
        assert short == [FenceExpired] * 3
        assert (await store.fetch("old")).data == b"old"
        assert not (await store.fetch("new")).info
        await store.abort_multipart(UPLOADED, upload)
        await clear(store)


class TestMultipart:
    async def test_completing_replaces_nothing(self, store: ObjectStore) -> None:
        await store.put(UPLOADED, b"first")
        upload, part = await begun(store)
        with pytest.raises(ConditionFailed):
            await store.complete_multipart(UPLOADED, upload, [part], absent=True)
        assert await read(store, UPLOADED) == b"first"
        await store.abort_multipart(UPLOADED, upload)
        await clear(store)

    async def test_of_many_uploads_completed_at_once_one_becomes_the_object(
        self, store: ObjectStore, other: ObjectStore
    ) -> None:
        uploads = [await begun(store) for _ in range(6)]
        puts = [other.put(UPLOADED, b"put", absent=True) for _ in range(6)]
        writes = [store.complete_multipart(UPLOADED, upload, [part], absent=True) for upload, part in uploads]
        assert winners(await outcomes([*writes, *puts])) == 1
        for upload, _ in uploads:
            await store.abort_multipart(UPLOADED, upload)
        await clear(store)


class TestDelete:
    async def test_it_deletes_one_object(self, store: ObjectStore) -> None:
        await store.put("a", b"1")
        await store.put("b", b"2")
        await store.delete("a")
        await store.delete("a")
        assert not (await store.fetch("a")).info
        assert (await store.fetch("b")).data == b"2"
        await clear(store)

    async def test_with_its_etag_it_is_deleted(self, store: ObjectStore) -> None:
        etag = await store.put("a", b"1")
        await store.delete("a", match=etag)
        assert not (await store.fetch("a")).info


async def begun(store: ObjectStore) -> tuple[str, PartInfo]:
    """A multipart upload with its only part."""
    upload = await store.create_multipart(UPLOADED, part_size=5 * MIB)
    return upload, await store.put_part(UPLOADED, upload, 1, b"part")
