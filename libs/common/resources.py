"""The stores and the bus of a process, opened from its settings and closed with it."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Literal

from libs.common.bus import EventBus
from libs.common.bus.memory import MemoryBus
from libs.common.preparing import Preparation
from libs.common.settings import Settings
from libs.common.store import Buckets, ObjectStore
from libs.common.store.filesystem import FilesystemStore
from libs.common.store.metered import MeteredStore

Name = Literal["temp", "perm", "auth"]


def new_store(settings: Settings, name: Name) -> ObjectStore:
    """One bucket of the deployment, its calls counted; it is not made here, and nothing is connected."""
    return MeteredStore(_adapter(settings, name), name)


def _adapter(settings: Settings, name: Name) -> ObjectStore:
    if settings.object_store == "filesystem":
        roots = {"temp": settings.temp_upload_dir, "perm": settings.perm_upload_dir, "auth": settings.auth_dir}
        return FilesystemStore(roots[name])
    from libs.common.store.minio import MinioStore

    buckets = {"temp": settings.temp_bucket, "perm": settings.perm_bucket, "auth": settings.auth_bucket}
    return MinioStore(
        endpoint=settings.minio_endpoint,
        access_key=settings.minio_access_key,
        secret_key=settings.minio_secret_key.get_secret_value(),
        bucket=buckets[name],
        region=settings.minio_region,
        secure=settings.minio_secure,
    )


@asynccontextmanager
async def open_store(settings: Settings, name: Name) -> AsyncIterator[ObjectStore]:
    """One bucket, closed at the end. It is not made if it is missing: `ensure` does that."""
    store = new_store(settings, name)
    try:
        yield store
    finally:
        await store.close()


@asynccontextmanager
async def open_buckets(settings: Settings) -> AsyncIterator[Buckets]:
    """The buckets that hold files."""
    async with AsyncExitStack() as stack:
        temp = await stack.enter_async_context(open_store(settings, "temp"))
        perm = await stack.enter_async_context(open_store(settings, "perm"))
        yield Buckets(temp, perm)


def new_bus(settings: Settings) -> EventBus:
    """The event bus; nothing is connected before its `start`."""
    if settings.event_bus == "memory":
        return MemoryBus()
    from libs.common.bus.rabbitmq import RabbitBus

    return RabbitBus(settings.rabbitmq_url.get_secret_value())


@asynccontextmanager
async def open_bus(settings: Settings) -> AsyncIterator[EventBus]:
    bus = new_bus(settings)
    try:
        await bus.start()
        yield bus
    finally:
        await bus.close()


@dataclass(frozen=True)
class Backends:
    """What the services of a process share. `prepared` says whether the buckets are there."""

    buckets: Buckets
    bus: EventBus
    preparation: Preparation

    @property
    def prepared(self) -> bool:
        return self.preparation.done


@asynccontextmanager
async def open_backends(settings: Settings, *more: ObjectStore) -> AsyncIterator[Backends]:
    """The buckets and the bus of a process. They, and the buckets in `more`, are made in the background where they
    are missing; neither needs to be there yet."""
    async with open_buckets(settings) as buckets, AsyncExitStack() as stack:
        preparation = Preparation(buckets.temp, buckets.perm, *more)
        stack.push_async_callback(preparation.close)
        await preparation.start()
        yield Backends(buckets, await stack.enter_async_context(open_bus(settings)), preparation)
