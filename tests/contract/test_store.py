"""What every object store promises (libs/common/storage)."""

import asyncio
import time
import traceback
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from libs.common.storage import (
    LEASE,
    Fence,
    FenceExpired,
    ObjectInfo,
    ObjectNotFound,
    ObjectStore,
    PartInfo,
    StoreUnavailable,
    Stream,
    UploadNotFound,
    list_all,
    read,
)
from tests.contract.store_buckets import SECRET, UPLOADED
from tests.contract.store_keys import HOSTILE_KEYS, REFUSED_KEYS, key_sets, prefixes, utf8

MIB = 2**20
PART = 5 * MIB  # bytes, the least that S3 takes for any part but the last
PAST_THE_LEASE = LEASE + 1.1  # seconds

settings.register_profile("store", max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])


async def keys_of(store: ObjectStore, prefix: str = "") -> list[str]:
    return [info.key for info in await list_all(store, prefix)]


async def clear(store: ObjectStore) -> None:
    await store.delete_many(await keys_of(store))


def streamed(data: bytes, block: int = 64 * 1024) -> Stream:
    async def blocks() -> AsyncIterator[bytes]:
        for at in range(0, len(data), block):
            yield data[at : at + block]

    return Stream(len(data), blocks)


def breaking(size: int, error: Exception) -> Stream:
    """A body that raises in the middle."""

    async def blocks() -> AsyncIterator[bytes]:
        yield bytes(size // 2)
        raise error

    return Stream(size, blocks)


class TestPutAndGet:
    @pytest.mark.parametrize("wrap", [bytes, bytearray, memoryview, streamed])
    async def test_an_object_reads_as_it_was_put(self, store: ObjectStore, wrap: Callable[[bytes], Any]) -> None:
        data = bytes(range(256)) * 1024
        await store.put("a/b.bin", wrap(data))
        assert await read(store, "a/b.bin") == data
        await clear(store)

    @pytest.mark.parametrize("wrap", [bytes, streamed])
    async def test_an_empty_object_is_an_object(self, store: ObjectStore, wrap: Callable[[bytes], Any]) -> None:
        await store.put("empty", wrap(b""))
        assert await read(store, "empty") == b""
        assert (await store.stat("empty")).size == 0
        assert await keys_of(store) == ["empty"]
        await clear(store)

    async def test_a_put_replaces_what_was_there(self, store: ObjectStore, other: ObjectStore) -> None:
        await store.put("k", b"old and long", content_type="text/plain", metadata={"a": "1"})
        await store.put("k", b"new")
        assert await read(other, "k") == b"new"
        assert (await other.stat("k")).metadata == {}
        await clear(store)

    @pytest.mark.parametrize(
        ("start", "end", "expected"),
        [
            (0, 4, b"0123"),
            (3, None, b"3456789"),
            (9, 10, b"9"),
            (7, 100, b"789"),
            (4, 4, b""),
            (0, 0, b""),
            (10, None, b""),
            (50, 60, b""),
        ],
    )
    async def test_a_range_includes_its_start_and_not_its_end(
        self, store: ObjectStore, start: int, end: int | None, expected: bytes
    ) -> None:
        await store.put("digits", b"0123456789")
        assert await read(store, "digits", start, end) == expected
        await clear(store)

    async def test_a_range_of_an_empty_object_is_empty(self, store: ObjectStore) -> None:
        await store.put("empty", b"")
        assert await read(store, "empty", 0, 10) == b""
        await clear(store)

    @pytest.mark.parametrize("end", [None, 5, 0])
    async def test_what_is_not_there_is_not_found(self, store: ObjectStore, end: int | None) -> None:
        await store.put("a/b", b"a is not an object")
        for key in ("missing", "a", "a/b/c"):
            with pytest.raises(ObjectNotFound):
                await read(store, key, 0, end)
            with pytest.raises(ObjectNotFound):
                await store.stat(key)
        await clear(store)

    async def test_what_was_replaced_is_not_found_under_its_etag(self, store: ObjectStore, other: ObjectStore) -> None:
        await store.put("k", b"first")
        first = (await store.stat("k")).etag
        async with store.get("k", 1, 3, etag=first) as blocks:
            assert b"".join([block async for block in blocks]) == b"ir"
        await other.put("k", b"other")
        assert (await store.stat("k")).etag != first
        for start, end in ((1, 3), (0, None), (2, 2)):
            with pytest.raises(ObjectNotFound):
                async with store.get("k", start, end, etag=first):
                    raise AssertionError
        await clear(store)

    async def test_a_big_object_streams_in_blocks_of_at_most_1_mib(self, store: ObjectStore) -> None:
        data = bytes(8 * MIB)
        await store.put("big", streamed(data))
        async with store.get("big") as blocks:
            sizes = [len(block) async for block in blocks]
        assert sum(sizes) == len(data)
        assert max(sizes) <= MIB
        assert min(sizes) > 0
        await clear(store)

    async def test_an_object_being_read_stays_readable_while_it_is_deleted(self, store: ObjectStore) -> None:
        data = bytes(3 * MIB)
        await store.put("k", data)
        async with store.get("k") as blocks:
            first = await anext(aiter(blocks))
            await store.delete_many(["k"])
            rest = b"".join([block async for block in blocks])
        assert first + rest == data

    async def test_a_reader_may_stop_in_the_middle(self, store: ObjectStore) -> None:
        await store.put("k", bytes(4 * MIB))
        for _ in range(3):
            async with store.get("k") as blocks:
                await anext(aiter(blocks))
        assert await read(store, "k", 0, 1) == b"\0"
        await clear(store)

    async def test_what_the_reader_raises_goes_through(self, store: ObjectStore) -> None:
        await store.put("k", b"x")
        for end in (None, 0):
            with pytest.raises(KeyError):
                async with store.get("k", 0, end):
                    raise KeyError
        await clear(store)


class TestStreamedBodies:
    async def test_a_body_is_taken_block_by_block_and_never_held_whole(self, store: ObjectStore) -> None:
        """Of 64 MiB in blocks of 64 KiB, those still alive are few whenever another is asked for."""
        alive: set[int] = set()
        most = 0

        class Block(bytes):
            def __init__(self, *_: object) -> None:
                alive.add(id(self))

            def __del__(self) -> None:
                alive.discard(id(self))

        async def blocks() -> AsyncIterator[bytes]:
            nonlocal most
            for _ in range(1024):
                most = max(most, len(alive))
                yield Block(64 * 1024)

        await store.put("big", Stream(64 * MIB, blocks))
        assert most * 64 * 1024 <= 8 * MIB
        await clear(store)

    @pytest.mark.parametrize("size", [8, 3 * MIB])
    async def test_a_body_that_raises_leaves_nothing_and_its_error_comes_through(
        self, store: ObjectStore, size: int
    ) -> None:
        with pytest.raises(ObjectNotFound, match="the body's own"):
            await store.put("k", breaking(size, ObjectNotFound("the body's own")))
        assert await keys_of(store) == []

    async def test_a_body_that_raises_leaves_the_old_object(self, store: ObjectStore) -> None:
        await store.put("k", b"old")
        with pytest.raises(OSError, match="broken"):
            await store.put("k", breaking(3 * MIB, OSError("broken")))
        assert await read(store, "k") == b"old"
        await clear(store)

    @pytest.mark.parametrize("claimed", [MIB - 1, MIB + 1])
    async def test_a_body_of_another_length_than_claimed_is_refused(self, store: ObjectStore, claimed: int) -> None:
        body = Stream(claimed, streamed(bytes(MIB)).blocks)
        with pytest.raises(ValueError, match="stream"):
            await store.put("k", body)
        assert "k" not in await keys_of(store) or claimed < MIB
        await clear(store)

    async def test_an_object_can_be_copied_from_a_get_to_a_put(self, store: ObjectStore) -> None:
        data = bytes(range(256)) * 8 * 1024
        await store.put("from", data)

        async def blocks() -> AsyncIterator[bytes]:
            async with store.get("from") as source:
                async for block in source:
                    yield block

        await store.put("to", Stream(len(data), blocks))
        assert await read(store, "to") == data
        await clear(store)

    async def test_nobody_sees_an_object_before_it_is_whole(self, store: ObjectStore, other: ObjectStore) -> None:
        half, go_on = asyncio.Event(), asyncio.Event()

        async def blocks() -> AsyncIterator[bytes]:
            yield bytes(2 * MIB)
            half.set()
            await go_on.wait()
            yield bytes(2 * MIB)

        put = asyncio.create_task(store.put("k", Stream(4 * MIB, blocks)))
        await half.wait()
        assert await keys_of(other) == []
        with pytest.raises(ObjectNotFound):
            await other.stat("k")
        go_on.set()
        await put
        assert (await other.stat("k")).size == 4 * MIB
        await clear(store)

    async def test_a_put_that_is_cancelled_in_its_body_leaves_nothing(self, store: ObjectStore) -> None:
        half = asyncio.Event()

        async def blocks() -> AsyncIterator[bytes]:
            yield bytes(2 * MIB)
            half.set()
            await asyncio.Event().wait()

        put = asyncio.create_task(store.put("k", Stream(4 * MIB, blocks)))
        await half.wait()
        put.cancel()
        with pytest.raises(asyncio.CancelledError):
            await put
        assert await keys_of(store) == []


class TestOrigins:
    """Bodies that the store has already, in this bucket or in another one."""

    async def test_a_copy_reads_as_its_origin_and_has_attributes_of_its_own(
        self, store: ObjectStore, sibling: ObjectStore
    ) -> None:
        data = bytes(range(256)) * 1024
        await sibling.put("a/ü b+%.bin", data, content_type="text/plain", metadata={"a": "1"})
        await store.put("copy", sibling.origin("a/ü b+%.bin", len(data)), metadata={"b": "2"})
        assert await read(store, "copy") == data
        info = await store.stat("copy")
        assert (info.size, info.content_type, info.metadata) == (len(data), "application/octet-stream", {"b": "2"})
        assert (await sibling.stat("a/ü b+%.bin")).metadata == {"a": "1"}
        await clear(store)
        await clear(sibling)

    async def test_a_copy_does_not_depend_on_its_origin(self, store: ObjectStore, sibling: ObjectStore) -> None:
        await sibling.put("origin", b"as it was")
        await store.put("replaced", sibling.origin("origin", 9))
        await sibling.put("origin", b"something else")
        assert await read(store, "replaced") == b"as it was"
        await store.put("replaced", sibling.origin("origin", 14))
        await store.put("replaced", sibling.origin("origin", 14))
        await clear(sibling)
        assert await read(store, "replaced") == b"something else"
        await clear(store)

    async def test_the_store_copies_within_a_bucket_too(self, store: ObjectStore) -> None:
        await store.put("a", b"1")
        await store.put("b/c", store.origin("a", 1))
        assert await read(store, "b/c") == b"1"
        await clear(store)

    @pytest.mark.parametrize("key", ["missing", "a", "a/b/c"])
    async def test_an_origin_that_is_not_there_is_not_found_and_nothing_is_stored(
        self, store: ObjectStore, sibling: ObjectStore, key: str
    ) -> None:
        await sibling.put("a/b", b"a is not an object")
        upload = await store.create_multipart(UPLOADED, part_size=PART)
        with pytest.raises(ObjectNotFound):
            await store.put("copy", sibling.origin(key, 1))
        with pytest.raises(ObjectNotFound):
            await store.put_part(UPLOADED, upload, 1, sibling.origin(key, 1))
        assert list(await store.list_parts(UPLOADED, upload)) == []
        await store.abort_multipart(UPLOADED, upload)
        assert await keys_of(store) == []
        await clear(sibling)

    async def test_parts_can_be_copies(self, store: ObjectStore, sibling: ObjectStore) -> None:
        first, last = b"1" * PART, b"3" * 1000
        await sibling.put("first", first)
        await sibling.put("last", last)
        upload = await store.create_multipart(UPLOADED, part_size=PART)
        parts = [
            await store.put_part(UPLOADED, upload, 1, sibling.origin("first", PART)),
            await store.put_part(UPLOADED, upload, 2, b"2" * PART),
            await store.put_part(UPLOADED, upload, 3, sibling.origin("last", 1000)),
        ]
        assert [part.size for part in parts] == [PART, PART, 1000]
        assert list(await store.list_parts(UPLOADED, upload)) == parts
        assert await store.put_part(UPLOADED, upload, 1, sibling.origin("first", PART)) == parts[0]
        await store.complete_multipart(UPLOADED, upload, parts)
        assert await read(store, UPLOADED) == first + b"2" * PART + last
        await clear(store)
        await clear(sibling)

    async def test_no_part_is_copied_into_an_upload_that_is_over(
        self, store: ObjectStore, sibling: ObjectStore
    ) -> None:
        await sibling.put("origin", b"1")
        upload = await store.create_multipart(UPLOADED, part_size=PART)
        await store.abort_multipart(UPLOADED, upload)
        with pytest.raises(UploadNotFound):
            await store.put_part(UPLOADED, upload, 1, sibling.origin("origin", 1))
        await clear(sibling)


class TestAttributes:
    async def test_content_type_and_metadata_come_back_from_stat(self, store: ObjectStore) -> None:
        before = time.time()
        metadata = {"Filename": "a%20b.txt", "spaces": "two  in  a row", "empty": ""}
        await store.put("k", b"123", content_type="text/plain", metadata=metadata)
        info = await store.stat("k")
        lowered = {"filename": "a%20b.txt", "spaces": "two  in  a row", "empty": ""}
        assert (info.key, info.size, info.content_type, info.metadata) == ("k", 3, "text/plain", lowered)
        assert before - 2 < info.modified < time.time() + 2
        await clear(store)

    async def test_the_default_is_a_plain_stream_of_bytes(self, store: ObjectStore) -> None:
        await store.put("k", b"123")
        info = await store.stat("k")
        assert (info.content_type, info.metadata) == ("application/octet-stream", {})
        await clear(store)

    async def test_a_deleted_object_leaves_no_attributes_to_the_next(self, store: ObjectStore) -> None:
        await store.put("k", b"1", metadata={"a": "b"})
        await store.delete_many(["k"])
        await store.put("k", b"2")
        assert (await store.stat("k")).metadata == {}
        await clear(store)

    @pytest.mark.parametrize("value", ["ümlaut", "two\nlines", " outer", "nul\0"])
    async def test_metadata_that_no_header_can_carry_is_refused(self, store: ObjectStore, value: str) -> None:
        with pytest.raises(ValueError, match="metadata"):
            await store.put("k", b"", metadata={"a": value})
        with pytest.raises(ValueError, match="metadata"):
            await store.create_multipart(UPLOADED, part_size=PART, metadata={"a": value})

    async def test_of_two_objects_the_earlier_is_not_the_younger(self, store: ObjectStore) -> None:
        for n in range(5):
            await store.put(f"{n}", b"")
        times = [info.modified for info in await list_all(store, "")]
        assert times == sorted(times)
        await clear(store)


class TestKeys:
    @pytest.mark.parametrize("key", HOSTILE_KEYS)
    async def test_any_name_works_everywhere(self, store: ObjectStore, key: str) -> None:
        await store.put(key, b"hostile")
        await store.put(f"{key}!", b"the next key")
        assert await read(store, key) == b"hostile"
        assert (await store.stat(key)).key == key
        assert await keys_of(store, key) == [key, f"{key}!"]
        assert await keys_of(store, prefixes(key)[-2]) == [key, f"{key}!"]
        page = await store.list("", start_after=key)
        assert [info.key for info in page.objects] == [f"{key}!"]
        await store.delete_many([key])
        assert await keys_of(store) == [f"{key}!"]
        await clear(store)

    @pytest.mark.parametrize("key", REFUSED_KEYS)
    async def test_a_key_that_some_adapter_cannot_take_is_refused_by_all(self, store: ObjectStore, key: str) -> None:
        calls: list[Coroutine[Any, Any, object]] = [
            store.put(key, b""),
            read(store, key),
            store.stat(key),
            store.delete_many([key]),
            store.create_multipart(key, part_size=PART),
        ]
        for call in calls:
            with pytest.raises(ValueError, match=r"key|surrogates"):
                await call


class TestList:
    async def test_the_order_is_that_of_the_keys_bytes(self, store: ObjectStore) -> None:
        keys = ["a/b", "a-b", "a0", "a.b/c", "a/b!", "B", "é", "z", "\uffff", "😀", "a b"]
        for key in keys:
            await store.put(key, b"")
        assert await keys_of(store) == sorted(keys, key=utf8)
        await clear(store)

    @given(keys=key_sets(), data=st.data())
    @settings(settings.get_profile("store"))
    async def test_every_page_is_what_sorting_says(
        self, store: ObjectStore, keys: list[str], data: st.DataObject
    ) -> None:
        in_order = sorted(keys, key=utf8)
        prefix = data.draw(st.sampled_from(in_order).flatmap(lambda key: st.sampled_from(prefixes(key))), "prefix")
        after = data.draw(st.sampled_from(["", *in_order, "a", "a/", "b0"]), "start_after")
        limit = data.draw(st.integers(1, 5), "limit")
        await asyncio.gather(*(store.put(key, b"") for key in keys))
        page = await store.list(prefix, start_after=after, limit=limit)
        await clear(store)
        expected = [key for key in in_order if key.startswith(prefix) and utf8(key) > utf8(after)]
        assert [info.key for info in page.objects] == expected[:limit]
        assert page.truncated == (len(expected) > limit)

    @pytest.mark.parametrize("prefix", ["../", "a/../", "a/..", "./", ".", "/", "a//", "/etc/", "a/ . "])
    async def test_a_prefix_that_no_key_can_have_is_refused(self, store: ObjectStore, prefix: str) -> None:
        with pytest.raises(ValueError, match="prefix"):
            await store.list(prefix)

    async def test_pages_follow_each_other_without_gap_or_repeat(self, store: ObjectStore) -> None:
        keys = sorted(f"k/{n % 3}/{n:02d}" for n in range(20))
        await asyncio.gather(*(store.put(key, b"x") for key in keys))
        seen: list[str] = []
        truncated = True
        while truncated:
            page = await store.list("k/", start_after=seen[-1] if seen else "", limit=5)
            seen += [info.key for info in page.objects]
            truncated = page.truncated
        assert seen == keys
        assert len(seen) == 20
        await clear(store)

    async def test_a_prefix_need_not_end_at_a_slash(self, store: ObjectStore) -> None:
        for key in ("files/ab", "files/abc", "files/b", "filesystem"):
            await store.put(key, b"")
        assert await keys_of(store, "files/ab") == ["files/ab", "files/abc"]
        assert await keys_of(store, "files") == ["files/ab", "files/abc", "files/b", "filesystem"]
        assert await keys_of(store, "files/") == ["files/ab", "files/abc", "files/b"]
        assert await keys_of(store, "nothing/here/") == []
        assert await keys_of(store, "files/ab/") == []
        await clear(store)

    async def test_a_page_tells_size_and_time(self, store: ObjectStore) -> None:
        await store.put("k", b"12345")
        [info] = (await store.list("")).objects
        assert info == ObjectInfo("k", 5, info.modified)
        assert abs(info.modified - time.time()) < 5
        await clear(store)

    async def test_a_thousand_keys_come_in_one_page(self, store: ObjectStore) -> None:
        keys = [f"k{n:04d}" for n in range(1001)]
        for at in range(0, len(keys), 100):
            await asyncio.gather(*(store.put(key, b"") for key in keys[at : at + 100]))
        page = await store.list("")
        assert [info.key for info in page.objects] == keys[:1000]
        assert page.truncated
        await store.delete_many([*keys, "not-there"])
        assert await keys_of(store) == []


class TestDelete:
    async def test_deleting_is_seen_by_everybody(self, store: ObjectStore, other: ObjectStore) -> None:
        for key in ("a/b/c", "a/b/d", "e"):
            await store.put(key, b"")
        await store.delete_many(["a/b/c", "e"])
        assert await keys_of(other) == ["a/b/d"]
        with pytest.raises(ObjectNotFound):
            await read(other, "e")
        await clear(store)

    async def test_what_is_not_there_counts_as_deleted(self, store: ObjectStore) -> None:
        await store.put("a/b", b"")
        await store.delete_many([])
        await store.delete_many(["nope", "a", "a/b/c", "x/y/z", "a/b"])
        await store.delete_many(["a/b"])
        assert await keys_of(store) == []

    async def test_puts_and_deletes_in_one_folder_do_not_disturb_each_other(
        self, store: ObjectStore, other: ObjectStore
    ) -> None:
        """Folders come and go with their objects."""

        async def come_and_go(which: ObjectStore, name: str) -> None:
            for _ in range(25):
                await which.put(f"deep/folder/{name}", name.encode())
                assert await read(which, f"deep/folder/{name}") == name.encode()
                await which.delete_many([f"deep/folder/{name}"])

        await asyncio.gather(*(come_and_go(which, f"{n}-{id(which)}") for n in range(4) for which in (store, other)))
        assert await keys_of(store) == []


class TestMultipart:
    async def test_parts_become_one_object_when_completed_and_not_before(
        self, store: ObjectStore, other: ObjectStore
    ) -> None:
        parts = [b"1" * PART, b"2" * PART, b"3" * 1000]
        upload = await store.create_multipart(
            UPLOADED, part_size=PART, content_type="video/mp4", metadata={"Owner": "vin-1"}
        )
        third = await other.put_part(UPLOADED, upload, 3, parts[2])
        first = await store.put_part(UPLOADED, upload, 1, streamed(parts[0]))
        second = await store.put_part(UPLOADED, upload, 2, parts[1])
        assert list(await other.list_parts(UPLOADED, upload)) == [first, second, third]
        assert [part.size for part in (first, second, third)] == [PART, PART, 1000]
        assert await keys_of(store) == []
        await other.complete_multipart(UPLOADED, upload, [first, second, third])
        assert await read(store, UPLOADED) == b"".join(parts)
        assert await read(store, UPLOADED, PART - 1, PART + 1) == b"12"
        info = await store.stat(UPLOADED)
        assert (info.content_type, info.metadata) == ("video/mp4", {"owner": "vin-1"})
        await clear(store)

    async def test_completing_replaces_the_object_at_once(self, store: ObjectStore) -> None:
        await store.put(UPLOADED, b"old")
        upload = await store.create_multipart(UPLOADED, part_size=PART)
        part = await store.put_part(UPLOADED, upload, 1, b"new")
        assert await read(store, UPLOADED) == b"old"
        await store.complete_multipart(UPLOADED, upload, [part])
        assert await read(store, UPLOADED) == b"new"
        await clear(store)

    @pytest.mark.parametrize("wrap", [bytes, streamed])
    async def test_a_part_can_be_put_again_with_other_bytes(
        self, store: ObjectStore, wrap: Callable[[bytes], Any]
    ) -> None:
        upload = await store.create_multipart(UPLOADED, part_size=PART)
        old = await store.put_part(UPLOADED, upload, 1, wrap(b"long and old"))
        new = await store.put_part(UPLOADED, upload, 1, wrap(b"new"))
        assert old.etag != new.etag
        assert list(await store.list_parts(UPLOADED, upload)) == [new]
        with pytest.raises(ValueError, match="parts"):
            await store.complete_multipart(UPLOADED, upload, [old])
        await store.complete_multipart(UPLOADED, upload, [new])
        assert await read(store, UPLOADED) == b"new"
        await clear(store)

    @pytest.mark.parametrize("wrap", [bytes, streamed])
    async def test_two_processes_may_put_the_same_part_at_once(
        self, store: ObjectStore, other: ObjectStore, wrap: Callable[[bytes], Any]
    ) -> None:
        data = bytes(range(256)) * (PART // 256)
        upload = await store.create_multipart(UPLOADED, part_size=PART)
        puts = (which.put_part(UPLOADED, upload, 1, wrap(data)) for which in (store, other, store, other))
        parts = set(await asyncio.gather(*puts))
        assert len(parts) == 1
        again = await other.put_part(UPLOADED, upload, 1, wrap(data))
        await store.complete_multipart(UPLOADED, upload, [again])
        assert await read(store, UPLOADED) == data
        await clear(store)

    async def test_an_upload_is_over_once_it_is_completed(self, store: ObjectStore, other: ObjectStore) -> None:
        upload = await store.create_multipart(UPLOADED, part_size=PART)
        part = await store.put_part(UPLOADED, upload, 1, b"x")
        await store.complete_multipart(UPLOADED, upload, [part])
        await self.expect_over(other, upload, part)
        assert await read(other, UPLOADED) == b"x"
        await clear(store)

    async def test_an_upload_is_over_once_it_is_aborted(self, store: ObjectStore, other: ObjectStore) -> None:
        upload = await store.create_multipart(UPLOADED, part_size=PART)
        part = await store.put_part(UPLOADED, upload, 1, b"x")
        await store.abort_multipart(UPLOADED, upload)
        await store.abort_multipart(UPLOADED, upload)
        await self.expect_over(other, upload, part)
        assert await keys_of(store) == []

    async def test_an_upload_belongs_to_its_key(self, store: ObjectStore) -> None:
        upload = await store.create_multipart(UPLOADED, part_size=PART)
        with pytest.raises(UploadNotFound):
            await store.list_parts("files/vin-2/log.bin", upload)
        with pytest.raises(UploadNotFound):
            await store.list_parts(UPLOADED, "0" * 32)
        await store.abort_multipart(UPLOADED, upload)

    async def test_of_two_processes_that_complete_one_upload_at_once_one_is_told(
        self, store: ObjectStore, other: ObjectStore
    ) -> None:
        upload = await store.create_multipart(UPLOADED, part_size=PART)
        part = await store.put_part(UPLOADED, upload, 1, b"x")
        completions = (which.complete_multipart(UPLOADED, upload, [part]) for which in (store, other))
        results = await asyncio.gather(*completions, return_exceptions=True)
        assert None in results
        assert all(result is None or isinstance(result, UploadNotFound) for result in results)
        assert await read(store, UPLOADED) == b"x"
        await clear(store)

    async def test_parts_that_do_not_make_one_object_are_refused(self, store: ObjectStore) -> None:
        upload = await store.create_multipart(UPLOADED, part_size=PART)
        first = await store.put_part(UPLOADED, upload, 1, b"1" * PART)
        second = await store.put_part(UPLOADED, upload, 2, b"2")
        forged = PartInfo(1, PART, "0" * len(first.etag))
        for parts in ([], [second], [second, first], [first, first], [forged, second]):
            with pytest.raises(ValueError, match="part"):
                await store.complete_multipart(UPLOADED, upload, parts)
        for number in (0, 10_001):
            with pytest.raises(ValueError, match="part number"):
                await store.put_part(UPLOADED, upload, number, b"")
        assert await keys_of(store) == []
        await store.abort_multipart(UPLOADED, upload)

    async def test_a_part_whose_body_raises_is_not_there(self, store: ObjectStore) -> None:
        upload = await store.create_multipart(UPLOADED, part_size=PART)
        with pytest.raises(ObjectNotFound, match="the chunk is gone"):
            await store.put_part(UPLOADED, upload, 1, breaking(PART, ObjectNotFound("the chunk is gone")))
        assert list(await store.list_parts(UPLOADED, upload)) == []
        await store.abort_multipart(UPLOADED, upload)

    @staticmethod
    async def expect_over(store: ObjectStore, upload: str, part: PartInfo) -> None:
        with pytest.raises(UploadNotFound):
            await store.list_parts(UPLOADED, upload)
        with pytest.raises(UploadNotFound):
            await store.put_part(UPLOADED, upload, 2, b"late")
        with pytest.raises(UploadNotFound):
            await store.put_part(UPLOADED, upload, 2, streamed(b"late"))
        with pytest.raises(UploadNotFound):
            await store.complete_multipart(UPLOADED, upload, [part])
        await store.abort_multipart(UPLOADED, upload)


async def fresh_fence(store: ObjectStore) -> Fence:
    return (await store.list("")).fence


class TestFences:
    async def test_what_follows_a_look_at_once_is_done(self, store: ObjectStore) -> None:
        await store.put("small", b"1", fence=await fresh_fence(store), metadata={"a": "b"})
        await store.put("big", bytes(8 * MIB), fence=await fresh_fence(store))
        await store.put("streamed", streamed(bytes(MIB)), fence=await fresh_fence(store))
        upload = await store.create_multipart(UPLOADED, part_size=PART)
        part = await store.put_part(UPLOADED, upload, 1, b"x")
        await store.complete_multipart(UPLOADED, upload, [part], fence=await fresh_fence(store))
        await store.put("copied", store.origin("small", 1), fence=await fresh_fence(store))
        assert await keys_of(store) == ["big", "copied", UPLOADED, "small", "streamed"]
        await store.delete_many(await keys_of(store), fence=await fresh_fence(store))
        assert await keys_of(store) == []

    async def test_what_comes_later_than_a_lease_is_refused_and_has_no_effect(self, store: ObjectStore) -> None:
        await store.put("old", b"old", metadata={"a": "b"})
        upload = await store.create_multipart(UPLOADED, part_size=PART)
        part = await store.put_part(UPLOADED, upload, 1, b"x")
        fence = await fresh_fence(store)
        await asyncio.sleep(PAST_THE_LEASE)
        late: list[Coroutine[Any, Any, object]] = [
            store.put("new", b"1", fence=fence),
            store.put("old", b"1", fence=fence, metadata={"a": "c"}),
            store.put("big", bytes(8 * MIB), fence=fence),
            store.put("streamed", streamed(bytes(8 * MIB)), fence=fence),
            store.put("copied", store.origin("old", 3), fence=fence),
            store.delete_many(["old"], fence=fence),
            store.delete_many(["old\x01"], fence=fence),
            store.complete_multipart(UPLOADED, upload, [part], fence=fence),
        ]
        results = await asyncio.gather(*late, return_exceptions=True)
        assert [type(result) for result in results] == [FenceExpired] * len(late)
        assert await keys_of(store) == ["old"]
        assert await read(store, "old") == b"old"
        assert (await store.stat("old")).metadata == {"a": "b"}
        await store.complete_multipart(UPLOADED, upload, [part], fence=await fresh_fence(store))
        await clear(store)

    async def test_a_body_that_comes_too_late_has_no_effect_though_it_began_in_time(self, store: ObjectStore) -> None:
        async def dawdling() -> AsyncIterator[bytes]:
            yield b"1" * 1000
            await asyncio.sleep(LEASE + 1.1)
            yield b"2" * 1000

        with pytest.raises(FenceExpired):
            await store.put("late", Stream(2000, dawdling), fence=await fresh_fence(store))
        assert await keys_of(store) == []

    async def test_a_fence_is_issued_when_the_look_began_in_the_stores_time(self, store: ObjectStore) -> None:
        before = time.time()
        fence = await fresh_fence(store)
        assert before - 1.5 < fence.issued <= time.time() + 0.5


class TestEnsure:
    async def test_it_may_be_asked_for_again_and_by_two_at_once(self, store: ObjectStore, other: ObjectStore) -> None:
        await store.put("k", b"x")
        await asyncio.gather(store.ensure(), other.ensure())
        assert await keys_of(store) == ["k"]
        await clear(store)


class TestAway:
    """Stores that are not there: see `away` in conftest.py."""

    async def test_every_call_says_so_within_5_seconds_and_tells_no_secret(self, away: ObjectStore) -> None:
        upload = "0" * 32
        calls: list[Coroutine[Any, Any, object]] = [
            away.ensure(),
            away.put("k", b"x"),
            away.put("k", b"x", metadata={"a": "b"}),
            away.put("k", bytes(8 * MIB), fence=Fence(time.time())),
            away.put("k", streamed(bytes(32 * MIB))),
            read(away, "k"),
            read(away, "k", 1, 2),
            away.stat("k"),
            away.list(""),
            away.delete_many(["k"]),
            away.create_multipart(UPLOADED, part_size=PART),
            away.put_part(UPLOADED, upload, 1, bytes(8 * MIB)),
            away.put_part(UPLOADED, upload, 1, streamed(bytes(8 * MIB))),
            away.list_parts(UPLOADED, upload),
            away.abort_multipart(UPLOADED, upload),
        ]
        async with asyncio.timeout(5):
            results = await asyncio.gather(*calls, return_exceptions=True)
        for result in results:
            assert isinstance(result, StoreUnavailable)
            text = "".join(traceback.format_exception(result))
            assert "X-Amz" not in text
            assert SECRET not in text
            assert str(result)
