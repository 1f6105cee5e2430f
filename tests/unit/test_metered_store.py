"""Every call of a store is counted by how it ended. That nothing else changes, the contract suite says."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from libs.common.storage import Fence, FenceExpired, ObjectNotFound, StoreUnavailable, Stream, UploadNotFound, read
from libs.common.storage.filesystem import FilesystemStore
from libs.common.storage.metered import MeteredStore
from tests.unit.metrics import growth

CALLS, DURATION = "hiper_store_calls_total", "hiper_store_call_duration_seconds_count"


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[MeteredStore]:
    metered = MeteredStore(FilesystemStore(tmp_path), "perm")
    await metered.ensure()
    yield metered
    await metered.close()


async def test_a_call_that_went_well_is_counted_and_timed(store: MeteredStore) -> None:
    with (
        growth(CALLS, bucket="perm", operation="put", outcome="ok") as puts,
        growth(DURATION, bucket="perm", operation="put") as timed,
        growth(CALLS, bucket="perm", operation="get", outcome="ok") as gets,
    ):
        await store.put("a", b"bytes")
        assert await read(store, "a") == b"bytes"
    assert (puts.by, timed.by, gets.by) == (1, 1, 1)


async def test_what_is_missing_is_no_failure_of_the_store(store: MeteredStore) -> None:
    with growth(CALLS, bucket="perm", operation="get", outcome="missing") as gets, pytest.raises(ObjectNotFound):
        await read(store, "a")
    missing = growth(CALLS, bucket="perm", operation="list_parts", outcome="missing")
    with missing as lists, pytest.raises(UploadNotFound):
        await store.list_parts("a", "never")
    assert (gets.by, lists.by) == (1, 1)


async def test_a_write_that_its_fence_refused_is_told_apart(store: MeteredStore) -> None:
    with growth(CALLS, bucket="perm", operation="put", outcome="fenced") as fenced, pytest.raises(FenceExpired):
        await store.put("a", b"", fence=Fence(0.0))
    assert fenced.by == 1


async def test_a_store_that_is_away_is_counted(tmp_path: Path) -> None:
    store = MeteredStore(FilesystemStore(tmp_path / "gone"), "temp")
    with growth(CALLS, bucket="temp", operation="put", outcome="unavailable") as away, pytest.raises(StoreUnavailable):
        await store.put("a", b"")
    await store.close()
    assert away.by == 1


async def test_a_download_that_breaks_in_the_middle_is_counted(store: MeteredStore) -> None:
    await store.put("a", b"bytes")

    async def download() -> None:
        async with store.get("a") as blocks:
            await anext(blocks)
            raise StoreUnavailable("the connection is gone")

    unavailable = growth(CALLS, bucket="perm", operation="get", outcome="unavailable")
    with unavailable as broken, pytest.raises(StoreUnavailable):
        await download()
    assert broken.by == 1


async def test_what_the_body_raises_comes_through_and_is_not_the_stores_fault(store: MeteredStore) -> None:
    async def blocks() -> AsyncIterator[bytes]:
        yield b"b"
        raise ObjectNotFound("a source")

    with growth(CALLS, bucket="perm", operation="put", outcome="unavailable") as away, pytest.raises(ObjectNotFound):
        await store.put("a", Stream(5, blocks))
    assert away.by == 0
