"""Both ways to run: everything in one process, and separate processes on real MinIO and RabbitMQ."""

import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.backends import MinioServer, RabbitmqServer
from tests.e2e.processes import Deployment, embedded, separate

QUICK = {"RECOVERY_INTERVAL": "2", "CLEANUP_INTERVAL": "2", "STALE_THRESHOLD": "600"}


def backend_env(minio: MinioServer, rabbitmq: RabbitmqServer) -> dict[str, str]:
    """Settings for buckets of their own on the shared servers."""
    unique = uuid.uuid4().hex[:8]
    return {
        "OBJECT_STORE": "minio",
        "MINIO_ENDPOINT": minio.endpoint,
        "MINIO_ACCESS_KEY": minio.access_key,
        "MINIO_SECRET_KEY": minio.secret_key,
        "TEMP_BUCKET": f"temp-{unique}",
        "PERM_BUCKET": f"perm-{unique}",
        "AUTH_BUCKET": f"auth-{unique}",
        "EVENT_BUS": "rabbitmq",
        "RABBITMQ_URL": rabbitmq.url,
    }


@pytest.fixture
def one_process(tmp_path: Path) -> Iterator[Deployment]:
    with embedded(tmp_path, **QUICK) as deployment:
        yield deployment


@pytest.fixture
def four_services(tmp_path: Path, minio: MinioServer, rabbitmq: RabbitmqServer) -> Iterator[Deployment]:
    with separate(tmp_path, {**backend_env(minio, rabbitmq), **QUICK}) as deployment:
        yield deployment


@pytest.fixture(params=["one_process", "four_services"])
def deployment(request: pytest.FixtureRequest) -> Deployment:
    """Each test with it runs both ways."""
    found: Deployment = request.getfixturevalue(request.param)
    return found
