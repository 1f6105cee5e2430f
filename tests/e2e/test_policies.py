"""The policy documents of deploy/policies in force on a real store: each service does its work, and nothing else."""

import asyncio
import json
import os
import time
import uuid
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from minio import Minio
from minio.commonconfig import ENABLED, Filter
from minio.credentials.providers import StaticProvider
from minio.lifecycleconfig import Expiration, LifecycleConfig, Rule
from minio.minioadmin import MinioAdmin

from libs.common.settings import Settings
from libs.common.storage import ObjectNotFound, ObjectStore, StoreRefused, read
from libs.common.uploads.layout import FLEET_DEVICES, FLEET_UPLOADS
from libs.common.wiring.checkup import Check, check_connections
from libs.common.wiring.needs import Bucket, Service
from libs.common.wiring.resources import new_store
from tests.backends import MinioServer, RabbitmqServer
from tests.e2e.conftest import QUICK, backend_env
from tests.e2e.device import new_device
from tests.e2e.processes import ROOT, SECRETS, separate

SERVICES = ("ingest", "assembler", "janitor", "auth")
MIB = 2**20
Env = dict[str, str]


@dataclass
class Users:
    """A user of the store for each service, with its policy and no other right."""

    env: Env  # of the whole deployment, with the keys to everything
    own: dict[str, Env]

    def store(self, service: str, bucket: Bucket) -> ObjectStore:
        """A bucket with the rights of a service."""
        return new_store(self.settings(service), bucket)

    def settings(self, service: str) -> Settings:
        """Those of a process of the service."""
        env = {**SECRETS, **self.env, **self.own.get(service, {})}
        return Settings.model_validate({name.lower(): value for name, value in env.items()})


@pytest.fixture
def users(minio: MinioServer, rabbitmq: RabbitmqServer) -> Iterator[Users]:
    env = backend_env(minio, rabbitmq)
    admin = MinioAdmin(
        endpoint=minio.endpoint, credentials=StaticProvider(minio.access_key, minio.secret_key), secure=False
    )
    plain = Minio(endpoint=minio.endpoint, access_key=minio.access_key, secret_key=minio.secret_key, secure=False)
    names = {service: f"{service}-{uuid.uuid4().hex[:8]}" for service in SERVICES}
    for bucket in ("TEMP_BUCKET", "PERM_BUCKET", "AUTH_BUCKET"):
        plain.make_bucket(env[bucket])
    for service, name in names.items():
        admin.user_add(name, "secret-of-the-service")
        admin.policy_add(name, policy=policy(service, env))
        admin.policy_set(name, user=name)
    yield Users(
        env,
        {s: {"MINIO_ACCESS_KEY": name, "MINIO_SECRET_KEY": "secret-of-the-service"} for s, name in names.items()},
    )
    for name in names.values():
        admin.user_remove(name)
        admin.policy_remove(name)


def policy(service: str, env: Env) -> dict[str, Any]:
    """The document, for the buckets of a test."""
    text = (ROOT / "deploy" / "policies" / f"{service}.json").read_text()
    for bucket in ("temp", "perm", "auth"):
        text = text.replace(f"hiper-{bucket}", env[f"{bucket.upper()}_BUCKET"])
    found: dict[str, Any] = json.loads(text)
    return found


async def test_with_its_own_rights_each_service_does_its_work(tmp_path: Path, users: Users) -> None:
    content = os.urandom(20 * MIB)
    env = {**users.env, **QUICK, "STALE_THRESHOLD": "4", "LOG_LEVEL": "INFO"}
    with separate(tmp_path, env, users.own) as deployment:
        async with new_device(deployment, "car-17") as car:
            await car.send("small.bin", 5, 0, b"small")
            for start in range(0, len(content), MIB):  # chunks, parts, a complete upload
                await car.send("large.bin", len(content), start, content[start : start + MIB])
            await car.send("left.bin", len(content), 0, content[:MIB])
            await car.send("cancelled.bin", 10, 0, b"12345")
            await car.wait_for("large.bin", "complete")
            await car.wait_for("small.bin", "complete")
            assert await car.content("large.bin") == content
            assert (await car.request("DELETE", "/files/cancelled.bin"))[0] == 204
            assert (await car.request("DELETE", "/files/small.bin"))[0] == 204
            await car.wait_for("left.bin", "partial")  # the janitor saw it, the assembler moved it
            for start in (0, *range(MIB, len(content), 4 * MIB)):  # the first bytes again: compared with what is parked
                await car.send("left.bin", len(content), start, content[start : start + (4 * MIB if start else MIB)])
            await car.wait_for("left.bin", "complete")
            assert (await car.request("GET", "/files"))[0] == 200
            query, digest = {"filename": "wrong.bin", "total_size": "4"}, f"sha-256=:{'A' * 43}=:"
            for start, data in ((0, b"ab"), (2, b"cd")):
                wrong = {"Content-Range": f"bytes {start}-{start + 1}/4", "Repr-Digest": digest}
                assert (await car.request("POST", "/upload", params=query, data=data, headers=wrong))[0] == 200
            await _rejected(deployment.logs, car.status)
        assert "AccessDenied" not in deployment.logs()


async def _rejected(logs: Callable[[], str], status: Callable[[str], Awaitable[tuple[int, Any]]]) -> None:
    deadline = time.monotonic() + 60
    while (await status("wrong.bin"))[0] != 410:
        assert time.monotonic() < deadline, logs()[-4000:]
        await asyncio.sleep(0.2)


RECORD = "uploads/ab/car-17/log/=record"
CHUNK = "chunks/ab/car-17/log/=0123456789abcdef/00000/0000000000000000-00000005-0123456789abcdef"
FILE = "files/car-17/log"
RUN = "partials/car-17/log/=0123456789abcdef/0000000000000000-5-01234567"
REJECTED = "rejected/car-17/log/=0123456789abcdef/0000000000000000-5-01234567"
ENTRY = "feed/2026-12-01/0800/1796112000000-complete-0123456789abcdef-car-17"
WEBHOOK = "webhooks/0123456789abcdef.json"
SEEN = "fleet/seen/0123456789abcdef.jsonl.gz"
FORBIDDEN: list[tuple[str, Bucket, str, str]] = [
    ("ingest", "auth", "get", "devices/car-17.json"),
    ("ingest", "auth", "put", "revoked.json"),
    ("ingest", "perm", "put", RUN),
    ("ingest", "perm", "delete", RUN),
    ("ingest", "perm", "get", REJECTED),
    ("ingest", "perm", "put", REJECTED),
    ("ingest", "perm", "delete", REJECTED),
    ("ingest", "temp", "delete", RECORD),
    ("ingest", "temp", "delete", CHUNK),
    ("ingest", "temp", "put", "elsewhere/x"),
    ("ingest", "perm", "put", "elsewhere/x"),
    ("assembler", "auth", "get", "revoked.json"),
    ("assembler", "auth", "list", ""),
    ("assembler", "temp", "put", CHUNK),
    ("assembler", "perm", "get", REJECTED),
    ("janitor", "temp", "get", CHUNK),
    ("janitor", "temp", "put", CHUNK),
    ("janitor", "perm", "put", FILE),
    ("janitor", "perm", "get", RUN),
    ("janitor", "perm", "put", RUN),
    ("janitor", "perm", "get", REJECTED),
    ("janitor", "auth", "list", ""),
    ("auth", "temp", "list", ""),
    ("auth", "perm", "list", ""),
    ("auth", "temp", "get", CHUNK),
    ("auth", "temp", "put", RECORD),
    ("auth", "temp", "delete", RECORD),
    ("auth", "perm", "get", FILE),
    ("auth", "auth", "put", "elsewhere"),
    *[(service, "perm", "delete", ENTRY) for service in ("ingest", "assembler", "auth")],
    *[("auth", "perm", operation, ENTRY) for operation in ("get", "put")],
    *[
        (service, "perm", operation, WEBHOOK)
        for service in ("assembler", "auth")
        for operation in ("get", "put", "delete")
    ],
    *[(service, "perm", "put", FLEET_UPLOADS) for service in ("ingest", "assembler", "auth")],
    *[(service, "perm", "delete", FLEET_UPLOADS) for service in ("ingest", "assembler", "auth")],
    *[(service, "perm", "put", FLEET_DEVICES) for service in ("ingest", "assembler", "auth")],
    *[(service, "perm", "get", FLEET_DEVICES) for service in ("ingest", "assembler")],
    *[(service, "perm", "get", FLEET_UPLOADS) for service in ("assembler", "auth")],
    *[("ingest", "perm", operation, SEEN) for operation in ("get", "delete")],
    *[("assembler", "perm", operation, SEEN) for operation in ("get", "put", "delete")],
    *[("auth", "perm", operation, SEEN) for operation in ("get", "put", "delete")],
]


async def test_and_nothing_else(users: Users) -> None:
    for service, bucket, operation, key in FORBIDDEN:
        everything, own = users.store("", bucket), users.store(service, bucket)
        if key:
            await everything.put(key, b"there")
        calls: dict[str, Callable[[], Awaitable[Any]]] = {
            "get": lambda: read(own, key),  # noqa: B023  # called before the next turn
            "put": lambda: own.put(key, b"x"),  # noqa: B023  # as above
            "delete": lambda: own.delete_many([key]),  # noqa: B023  # as above
            "list": lambda: own.list(""),  # noqa: B023  # as above
        }
        try:
            with pytest.raises(StoreRefused, match="AccessDenied"):
                await calls[operation]()
        except BaseException as error:
            error.add_note(f"{service} may {operation} {bucket}/{key}")
            raise
        if key:
            assert await read(everything, key) == b"there"
        await everything.close()
        await own.close()


async def test_what_happens_too_seldom_to_wait_for_it_is_allowed_too(users: Users) -> None:
    """A janitor meets a file that no acknowledgement speaks for, a run that no record names, and a record that is
    done: each a minute or an hour after it was made."""
    everything = {"temp": users.store("", "temp"), "perm": users.store("", "perm")}
    own = {"temp": users.store("janitor", "temp"), "perm": users.store("janitor", "perm")}
    for bucket, key in (
        ("perm", FILE),
        ("perm", RUN),
        ("perm", REJECTED),
        ("perm", ENTRY),
        ("perm", SEEN),
        ("perm", WEBHOOK),
        ("temp", RECORD),
        ("temp", CHUNK),
    ):
        await everything[bucket].put(key, b"there")
        if key in (FILE, RECORD):
            await own[bucket].stat(key)
        await own[bucket].delete_many([key])
        with pytest.raises(ObjectNotFound):
            await everything[bucket].stat(key)
    for store in (*everything.values(), *own.values()):
        await store.close()


async def test_config_check_for_a_service_asks_for_no_right_that_it_does_not_have(users: Users) -> None:
    for service in SERVICES:
        assert await troubles(users, service, Service(service)) == []
        assert await troubles(users, service, Service.SERVE), "no service has the rights of all"


async def troubles(users: Users, user: str, service: Service) -> list[Check]:
    """What `hiper config check` finds for the service with the rights of the user."""
    found = check_connections(users.settings(user), service, make=False)
    return [check async for check in found if check.trouble]


@pytest.mark.parametrize("bucket", ["temp", "perm", "auth"])
def test_the_store_takes_the_lifecycle_document_and_no_rule_touches_an_upload(minio: MinioServer, bucket: str) -> None:
    rules = lifecycle(bucket)
    plain, name = _client(minio), f"lifecycle-{uuid.uuid4().hex[:8]}"
    plain.make_bucket(name)
    plain.set_bucket_lifecycle(name, LifecycleConfig([_rule(rule) for rule in rules]))
    kept = plain.get_bucket_lifecycle(name)
    assert kept is not None
    assert {rule.rule_id for rule in kept.rules} == {rule["ID"] for rule in rules}
    plain.delete_bucket_lifecycle(name)
    plain.remove_bucket(name)
    live = ("uploads/", "chunks/", "files/", "partials/", "devices/", "revoked.json")
    assert not any(key.startswith(rule["Filter"]["Prefix"]) for rule in rules for key in live)


def test_the_one_for_aws_also_ends_assemblies_that_nobody_recorded() -> None:
    """MinIO takes no such rule, and ends them after a day by itself."""
    more = [rule for rule in lifecycle("perm-aws") if rule not in lifecycle("perm")]
    assert [rule.get("AbortIncompleteMultipartUpload") for rule in more] == [{"DaysAfterInitiation": 7}]


def lifecycle(bucket: str) -> list[dict[str, Any]]:
    rules: list[dict[str, Any]] = json.loads((ROOT / "deploy" / "lifecycle" / f"{bucket}.json").read_text())["Rules"]
    return rules


def _client(minio: MinioServer) -> Minio:
    return Minio(endpoint=minio.endpoint, access_key=minio.access_key, secret_key=minio.secret_key, secure=False)


def _rule(document: dict[str, Any]) -> Rule:
    return Rule(
        status=ENABLED,
        rule_id=document["ID"],
        rule_filter=Filter(prefix=document["Filter"]["Prefix"]),
        expiration=Expiration(days=document["Expiration"]["Days"]),
    )
