"""The stores and the bus of a process, opened from its settings and closed with it."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

from libs.common.bus import EventBus
from libs.common.bus.memory import MemoryBus
from libs.common.security.tls import broker_trust, trust
from libs.common.settings import GiveUp, Settings
from libs.common.storage import Buckets, ObjectStore
from libs.common.storage.filesystem import FilesystemStore
from libs.common.storage.metered import MeteredStore
from libs.common.wiring.needs import NEEDS, Bucket, Service
from libs.common.wiring.preparing import BucketNeed, Preparation


def new_store(settings: Settings, name: Bucket) -> ObjectStore:
    """One bucket of the deployment, its calls counted; it is not made here, and nothing is connected."""
    return MeteredStore(_adapter(settings, name), name)


def _adapter(settings: Settings, name: Bucket) -> ObjectStore:
    if settings.object_store == "filesystem":
        roots = {"temp": settings.temp_upload_dir, "perm": settings.perm_upload_dir, "auth": settings.auth_dir}
        return FilesystemStore(roots[name])
    from libs.common.storage._s3_sign import aws_keys
    from libs.common.storage.minio import MinioStore, server_side_encryption

    lent = settings.minio_credentials == "aws"
    buckets = {"temp": settings.temp_bucket, "perm": settings.perm_bucket, "auth": settings.auth_bucket}
    return MinioStore(
        endpoint=settings.minio_endpoint,
        access_key=settings.minio_access_key,
        secret_key=settings.minio_secret_key.get_secret_value(),
        bucket=buckets[name],
        region=settings.minio_region,
        secure=settings.minio_secure,
        session_token=settings.minio_session_token.get_secret_value(),
        keys=aws_keys(settings.minio_sts_endpoint, settings.minio_region, trust(settings)) if lent else None,
        virtual_host=_in_host_name(settings, buckets[name]),
        tls=trust(settings) if settings.minio_secure else None,
        encryption=server_side_encryption(settings.minio_sse, settings.minio_sse_kms_key_id),
    )


def _in_host_name(settings: Settings, bucket: str) -> bool:
    """Whether the bucket is addressed as a host. A name with a dot fits no wildcard certificate."""
    if settings.minio_addressing == "auto":
        host = settings.minio_endpoint.partition(":")[0]
        return host.endswith((".amazonaws.com", ".amazonaws.com.cn")) and "." not in bucket
    return settings.minio_addressing == "virtual-host"


@asynccontextmanager
async def open_store(settings: Settings, name: Bucket) -> AsyncIterator[ObjectStore]:
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


def bucket_need(settings: Settings, service: Service, name: Bucket, store: ObjectStore) -> BucketNeed:
    """What the service must be able to do in a bucket that it needs, opened as `store`. The buckets of files need
    conditions too."""
    rights = NEEDS[service].buckets[name]
    return BucketNeed(store, _place(settings, name), rights.reads, rights.writes, conditions=name != "auth")


def _place(settings: Settings, name: Bucket) -> str:
    """The settings that say where a bucket is, as NAME=value."""
    if settings.object_store == "filesystem":
        setting = "auth_dir" if name == "auth" else f"{name}_upload_dir"
        return f"{setting.upper()}={getattr(settings, setting)}"
    return f"{name.upper()}_BUCKET={getattr(settings, f'{name}_bucket')} of MINIO_ENDPOINT={settings.minio_endpoint}"


def new_bus(settings: Settings, give_up: GiveUp | None = None) -> EventBus:
    """The event bus; nothing is connected before its `start`. `give_up` is told of a broker that refuses from the
    start."""
    if settings.event_bus == "memory":
        return MemoryBus()
    from libs.common.bus.rabbitmq import RabbitBus

    url = settings.rabbitmq_url.get_secret_value()
    return RabbitBus(url, give_up=give_up, tls=broker_trust(settings) if url.startswith("amqps:") else None)


@asynccontextmanager
async def open_bus(settings: Settings, give_up: GiveUp | None = None) -> AsyncIterator[EventBus]:
    bus = new_bus(settings, give_up)
    try:
        await bus.start()
        yield bus
    finally:
        await bus.close()


@dataclass(frozen=True)
class Backends:
    """What the services of a process share. `prepared` says whether the buckets are there now."""

    buckets: Buckets
    bus: EventBus
    preparation: Preparation

    @property
    def prepared(self) -> bool:
        return self.preparation.ready


@asynccontextmanager
async def open_backends(
    settings: Settings, service: Service, give_up: GiveUp, auth: ObjectStore | None = None
) -> AsyncIterator[Backends]:
    """The buckets and the bus of a process. `auth`: the auth bucket, where the service needs it too. All are made and
    tried in the background; none needs to be there yet. What refuses from the start goes to `give_up`."""
    async with open_buckets(settings) as buckets, AsyncExitStack() as stack:
        stores: dict[Bucket, ObjectStore | None] = {"temp": buckets.temp, "perm": buckets.perm, "auth": auth}
        needs = [bucket_need(settings, service, name, store) for name, store in stores.items() if store]
        preparation = Preparation(*needs, patience=settings.start_timeout, give_up=give_up)
        stack.push_async_callback(preparation.close)
        await preparation.start()
        yield Backends(buckets, await stack.enter_async_context(open_bus(settings, give_up)), preparation)
