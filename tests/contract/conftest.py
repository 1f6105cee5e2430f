"""The store fixtures of the contract suite."""

import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from libs.common.storage import ObjectStore
from libs.common.storage.filesystem import FilesystemStore
from tests.backends import MinioServer, Versitygw
from tests.contract.store_buckets import SECRET, Bucket, Directory, MeteredDirectory, S3Bucket, new_name


@pytest.fixture(params=["filesystem", "metered", pytest.param("minio", marks=pytest.mark.backends)])
async def bucket(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Bucket]:
    """A fresh bucket. The test fails if it leaves anything in it."""
    async with fresh_bucket(request, tmp_path) as fresh:
        yield fresh


@asynccontextmanager
async def fresh_bucket(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Bucket]:
    """A bucket of the store that the parameter names."""
    fresh: Bucket = Directory(tmp_path / "bucket")
    if request.param == "metered":
        fresh = MeteredDirectory(tmp_path / "bucket")
    if request.param == "minio":
        address: MinioServer = request.getfixturevalue("minio")
        fresh = S3Bucket(address.endpoint, address.access_key, address.secret_key, new_name())
    if request.param == "versitygw":
        gateway: Versitygw = request.getfixturevalue("versitygw")
        fresh = S3Bucket(gateway.endpoint, gateway.access_key, gateway.secret_key, new_name())
    async with _made(fresh):
        yield fresh


@asynccontextmanager
async def _made(fresh: Bucket) -> AsyncIterator[None]:
    store = fresh.open()
    await store.ensure()
    await store.close()
    yield
    leftovers = await fresh.leftovers()
    assert leftovers == [], "the test must delete what it made"
    await fresh.destroy()


@pytest.fixture
async def store(bucket: Bucket) -> AsyncIterator[ObjectStore]:
    opened = bucket.open()
    yield opened
    await opened.close()


@pytest.fixture
async def other(bucket: Bucket) -> AsyncIterator[ObjectStore]:
    """The same bucket, as another process sees it."""
    opened = bucket.open()
    yield opened
    await opened.close()


@pytest.fixture
async def sibling(bucket: Bucket) -> AsyncIterator[ObjectStore]:
    """Another bucket of the same store."""
    beside = bucket.sibling()
    async with _made(beside):
        opened = beside.open()
        yield opened
        await opened.close()


@pytest.fixture(
    params=[
        "a directory that is gone",
        "a port that nobody listens on",
        "a port that never answers",
        pytest.param("a wrong secret", marks=pytest.mark.backends),
    ]
)
async def away(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[ObjectStore]:
    """A store that does not do its work."""
    with socket.create_server(("127.0.0.1", 0), backlog=100) as silent:
        endpoint = f"127.0.0.1:{silent.getsockname()[1]}"
        if request.param == "a directory that is gone":
            (tmp_path / "bucket").write_bytes(b"not a directory")
            store: ObjectStore = FilesystemStore(tmp_path / "bucket")
        else:
            if request.param == "a port that nobody listens on":
                silent.close()
            if request.param == "a wrong secret":
                endpoint = request.getfixturevalue("minio").endpoint
            store = S3Bucket(endpoint, "minioadmin", SECRET, new_name()).open()
        yield store
        await store.close()
