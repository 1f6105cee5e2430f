"""A store is used only if it keeps conditions, fences and whole bodies: each service tries them when it starts."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from libs.common.storage import Body, ObjectStore, PartInfo, StoreRefused, Stream, list_all
from libs.common.storage._s3_sign import Signer
from libs.common.storage.filesystem import FilesystemStore
from libs.common.wiring.conditions import prove_conditions
from tests.backends import MinioServer, Versitygw
from tests.contract.careless import Carelessness, careless
from tests.contract.conftest import fresh_bucket
from tests.contract.store_buckets import Bucket, S3Bucket, new_name
from tests.contract.test_store_conditions import STORES

SAID: dict[Carelessness, str] = {
    "If-None-Match on PUT": "ignores `If-None-Match: *` on PutObject",
    "If-None-Match on POST": "ignores `If-None-Match: *` on CompleteMultipartUpload",
    "If-Match": "ignores `If-Match` on PutObject",
    "X-Amz-Expires": "ignores when a signed URL expires",
}


@pytest.fixture(params=STORES)
async def bucket(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Bucket]:
    async with fresh_bucket(request, tmp_path) as fresh:
        yield fresh


async def test_a_store_that_keeps_them_passes_and_nothing_is_left_of_the_trial(store: ObjectStore) -> None:
    await prove_conditions(store)


async def test_processes_that_start_at_once_do_not_refuse_each_other(store: ObjectStore, other: ObjectStore) -> None:
    await asyncio.gather(*(prove_conditions(each) for _ in range(5) for each in (store, other)))


class Resurrecting(FilesystemStore):
    """Replaces an object that is gone, as MinIO did before September 2025."""

    async def put(self, key: str, body: Body, **more: Any) -> str:
        if not (await self.fetch(key)).info:
            more["match"] = ""
        return await super().put(key, body, **more)


async def test_a_store_that_replaces_what_is_gone_is_refused_too(tmp_path: Path) -> None:
    async with closing(Resurrecting(tmp_path)) as store:
        await store.ensure()
        with pytest.raises(StoreRefused, match="ignores `If-Match` on PutObject where no object is"):
            await prove_conditions(store)


class HalfObjects(FilesystemStore):
    """Keeps what came of an object whose sender died."""

    async def put(self, key: str, body: Body, **more: Any) -> str:
        try:
            return await super().put(key, body, **more)
        except Exception:
            if isinstance(body, Stream):
                await super().put(key, b"half", **more)
            raise


class HalfParts(FilesystemStore):
    """The same of a part."""

    async def put_part(self, key: str, upload_id: str, number: int, body: Body) -> PartInfo:
        try:
            return await super().put_part(key, upload_id, number, body)
        except Exception:
            await super().put_part(key, upload_id, number, b"half")
            raise


@pytest.mark.parametrize(("careless", "operation"), [(HalfObjects, "PutObject"), (HalfParts, "UploadPart")])
async def test_a_store_that_keeps_half_of_a_body_is_refused(
    tmp_path: Path, careless: type[FilesystemStore], operation: str
) -> None:
    async with closing(careless(tmp_path)) as store:
        await store.ensure()
        with pytest.raises(StoreRefused, match=rf"keeps half of a body whose sender died \({operation}\)"):
            await prove_conditions(store)
        assert await list_all(store, "") == []


async def test_versitygw_keeps_half_and_is_refused_unless_a_proxy_hands_whole_requests_on(
    bare_versitygw: Versitygw, versitygw: Versitygw
) -> None:
    keys = bare_versitygw.access_key, bare_versitygw.secret_key
    async with emptied(S3Bucket(bare_versitygw.endpoint, *keys, new_name())) as bucket:
        async with closing(bucket.open()) as store:
            with pytest.raises(StoreRefused, match=r"put a proxy before it that takes each request whole"):
                await prove_conditions(store)
        async with closing(replace(bucket, endpoint=versitygw.endpoint).open()) as store:
            await prove_conditions(store)


@pytest.fixture(params=[pytest.param("minio", marks=pytest.mark.backends), "versitygw"])
def server(request: pytest.FixtureRequest) -> MinioServer | Versitygw:
    found: MinioServer | Versitygw = request.getfixturevalue(request.param)
    return found


@pytest.mark.parametrize("drops", [None, *SAID])
async def test_a_store_that_ignores_one_is_refused_by_name(
    server: MinioServer | Versitygw, drops: Carelessness | None
) -> None:
    keys = server.access_key, server.secret_key
    async with (
        emptied(S3Bucket(server.endpoint, *keys, new_name())) as direct,
        careless(Signer(server.endpoint, *keys), drops) as endpoint,
        closing(S3Bucket(endpoint, *keys, direct.name).open()) as store,
    ):
        if drops is None:
            await prove_conditions(store)
            return
        with pytest.raises(StoreRefused) as refusal:
            await prove_conditions(store)
    assert SAID[drops] in str(refusal.value)
    assert "MinIO from October 2025 on" in str(refusal.value)


@asynccontextmanager
async def closing(store: ObjectStore) -> AsyncIterator[ObjectStore]:
    try:
        yield store
    finally:
        await store.close()


@asynccontextmanager
async def emptied(bucket: S3Bucket) -> AsyncIterator[S3Bucket]:
    """A new bucket in which the test leaves nothing."""
    async with closing(bucket.open()) as store:
        await store.ensure()
    yield bucket
    assert await bucket.leftovers() == []
    await bucket.destroy()
