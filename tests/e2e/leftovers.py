"""Looking behind the API: what lies in the buckets and queues."""

import asyncio
import time
from collections.abc import Collection

from libs.common.storage import list_all
from libs.common.storage.minio import MinioStore
from libs.common.uploads.layout import FEED
from tests.backends import MinioServer, RabbitmqServer


def minio_store(env: dict[str, str], minio: MinioServer, bucket: str) -> MinioStore:
    """A bucket of the deployment: TEMP, PERM or AUTH."""
    return MinioStore(
        endpoint=minio.endpoint,
        access_key=minio.access_key,
        secret_key=minio.secret_key,
        bucket=env[f"{bucket}_BUCKET"],
    )


async def keys_in(env: dict[str, str], minio: MinioServer, bucket: str) -> list[str]:
    """But for the feed and the tables of the fleet, which tell of uploads and are no part of them."""
    store = minio_store(env, minio, bucket)
    try:
        return [info.key for info in await list_all(store, "") if not info.key.startswith((FEED, "fleet/"))]
    finally:
        await store.close()


async def nothing_left(
    env: dict[str, str], minio: MinioServer, rabbitmq: RabbitmqServer, within: float = 60, but: Collection[str] = ()
) -> None:
    """The temporary bucket empties, except for some keys, and so does every queue; nothing was dead-lettered."""
    deadline = time.monotonic() + within
    while (keys := set(await keys_in(env, minio, "TEMP"))) != set(but) or any(depths(rabbitmq).values()):
        assert time.monotonic() < deadline, f"left: {keys ^ set(but)}, queues {depths(rabbitmq)}"
        await asyncio.sleep(0.5)


def depths(rabbitmq: RabbitmqServer) -> dict[str, int]:
    return rabbitmq.queue_depths()
