"""The store of `dev.enabled`: its three buckets, and for each service a user with the policy of that service alone.

Runs beside MinIO, in its pod, where alone the root's secret is. It ends with the pod: a MinIO that lost its disk comes
back with this script.
"""

import json
import os
import signal
import time
from pathlib import Path

from minio import Minio
from minio.credentials.providers import StaticProvider
from minio.error import MinioException
from minio.minioadmin import MinioAdmin
from urllib3.exceptions import HTTPError

ROOT, SECRETS, POLICIES = Path("/etc/hiper/root"), Path("/etc/hiper/users"), Path("/etc/hiper/policies")
ENDPOINT, REGION, BUCKETS = "localhost:9000", os.environ["MINIO_REGION"], os.environ["BUCKETS"].split()
PAUSE = 1.0  # seconds between two attempts


def make_all() -> None:
    """Can be repeated: what is there stays, and gets the secrets and policies of now."""
    access, secret = ((ROOT / name).read_text() for name in ("MINIO_ACCESS_KEY", "MINIO_SECRET_KEY"))
    store = Minio(endpoint=ENDPOINT, access_key=access, secret_key=secret, secure=False, region=REGION)
    for bucket in BUCKETS:
        if not store.bucket_exists(bucket):
            store.make_bucket(bucket)
    admin = MinioAdmin(endpoint=ENDPOINT, credentials=StaticProvider(access, secret), region=REGION, secure=False)
    for file in POLICIES.glob("*.json"):
        service = file.stem
        admin.user_add(*((SECRETS / service / name).read_text() for name in ("MINIO_ACCESS_KEY", "MINIO_SECRET_KEY")))
        admin.policy_add(service, policy=json.loads(file.read_text()))
        admin.policy_set(service, user=service)


signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
while True:
    try:
        make_all()
        break
    except (MinioException, HTTPError, OSError) as error:
        print("not yet:", error, flush=True)
        time.sleep(PAUSE)
Path("/tmp/ready").touch()  # noqa: S108  # a volume of this container alone
print("three buckets, and a user for each service", flush=True)
signal.pause()
