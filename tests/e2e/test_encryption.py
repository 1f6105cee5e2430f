"""TLS to the store and to the broker, and objects that the store keeps encrypted: on real ones."""

import asyncio
import base64
import os
import uuid
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import pytest

from libs.common.settings import Settings
from libs.common.storage import StoreRefused, Stream, read
from libs.common.wiring.resources import new_bus, new_store
from tests.backends import TlsMinioServer, TlsRabbitmqServer, tls_minio_server, tls_rabbitmq_server
from tests.certificates import Authority
from tests.e2e.conftest import QUICK
from tests.e2e.device import new_device
from tests.e2e.processes import separate
from tests.e2e.test_configuration import ended, reason

KMS_KEY = "fleet-key"
PLAIN = b"what a thief of the disk must not read "
MIB = 2**20


@dataclass
class Secured:
    """A store and a broker that speak TLS alone, and what it takes to talk to them."""

    directory: Path
    minio: TlsMinioServer
    rabbitmq: TlsRabbitmqServer

    def env(self, **changes: str) -> dict[str, str]:
        unique = uuid.uuid4().hex[:8]
        return {
            "OBJECT_STORE": "minio",
            "MINIO_ENDPOINT": self.minio.endpoint,
            "MINIO_ACCESS_KEY": self.minio.access_key,
            "MINIO_SECRET_KEY": self.minio.secret_key,
            "MINIO_SECURE": "true",
            "TEMP_BUCKET": f"temp-{unique}",
            "PERM_BUCKET": f"perm-{unique}",
            "AUTH_BUCKET": f"auth-{unique}",
            "EVENT_BUS": "rabbitmq",
            "RABBITMQ_URL": self.rabbitmq.url,
            "TLS_CA_FILE": str(self.directory / "ca.crt"),
            "RABBITMQ_CERT_FILE": str(self.directory / "client.crt"),
            "RABBITMQ_KEY_FILE": str(self.directory / "client.key"),
            **changes,
        }

    def settings(self, **changes: str) -> Settings:
        return Settings.model_validate({name.lower(): value for name, value in self.env(**changes).items() if value})


@pytest.fixture(scope="module")
def secured(engine: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Secured]:
    directory = tmp_path_factory.mktemp("certs")
    directory.chmod(0o755)
    authority = Authority("the fleet's own CA")
    authority.write(directory / "ca.crt")
    authority.issue("localhost", directory / "public.crt", directory / "private.key")
    authority.issue("hiper", directory / "client.crt", directory / "client.key")
    Authority("somebody else's CA").write(directory / "other-ca.crt")
    key = f"{KMS_KEY}:{base64.b64encode(os.urandom(32)).decode()}"
    with tls_minio_server(directory, key) as minio, tls_rabbitmq_server(directory) as rabbitmq:
        yield Secured(directory, minio, rabbitmq)


@pytest.mark.parametrize("kind", ["s3", "kms"])
async def test_objects_are_encrypted_by_the_store_and_read_back_equal(secured: Secured, kind: str) -> None:
    key_id = {"MINIO_SSE_KMS_KEY_ID": KMS_KEY} if kind == "kms" else {}
    store = new_store(secured.settings(MINIO_SSE=kind, **key_id), "perm")
    mark = PLAIN + uuid.uuid4().hex.encode()
    await store.ensure()
    await store.put("files/a/small", mark)
    parts = [mark * (8 * MIB // len(mark)), mark]
    upload = await store.create_multipart("files/a/large", part_size=len(parts[0]))
    stored = [await store.put_part("files/a/large", upload, n, body) for n, body in enumerate(parts, 1)]
    await store.complete_multipart("files/a/large", upload, stored)
    assert await read(store, "files/a/small") == mark
    assert await read(store, "files/a/large", len(parts[0]) - 10, len(parts[0]) + 10) == parts[0][-10:] + mark[:10]
    assert not secured.minio.holds(mark)
    await store.close()


async def test_without_it_the_disk_would_show_them(secured: Secured) -> None:
    """So that the test above can fail."""
    store = new_store(secured.settings(), "perm")
    mark = PLAIN + uuid.uuid4().hex.encode()
    await store.ensure()
    await store.put("files/a/small", mark)
    assert secured.minio.holds(mark)
    await store.close()


async def test_a_body_that_is_streamed_goes_through_tls(secured: Secured) -> None:
    store = new_store(secured.settings(), "temp")
    await store.ensure()

    async def blocks() -> AsyncIterator[bytes]:
        for _ in range(20):
            yield b"x" * MIB

    await store.put("chunks/a", Stream(20 * MIB, blocks))
    assert (await store.stat("chunks/a")).size == 20 * MIB
    await store.close()


async def test_a_store_of_another_ca_is_refused_and_the_setting_named(secured: Secured, tmp_path: Path) -> None:
    other = str(secured.directory / "other-ca.crt")
    store = new_store(secured.settings(TLS_CA_FILE=other), "temp")
    with pytest.raises(StoreRefused, match=r"certificate is not trusted .*check TLS_CA_FILE"):
        await store.ensure()
    await store.close()
    said = await asyncio.to_thread(ended, tmp_path, "auth", secured.env(TLS_CA_FILE=other))
    assert "TLS_CA_FILE" in reason(said)


async def test_the_broker_is_reached_with_a_certificate_and_not_without(secured: Secured) -> None:
    for changes, connected in (
        ({}, True),
        ({"RABBITMQ_CERT_FILE": "", "RABBITMQ_KEY_FILE": ""}, False),
        ({"TLS_CA_FILE": str(secured.directory / "other-ca.crt")}, False),
    ):
        bus = new_bus(secured.settings(**changes))
        await bus.start()
        assert bus.connected == connected, (changes, bus.trouble)
        if "TLS_CA_FILE" in changes:
            assert "TLS_CA_FILE" in bus.trouble
        await bus.close(grace=0)


async def test_certificates_that_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "empty.pem").write_text("")
    rows = list(product(("TLS_CA_FILE", "RABBITMQ_CERT_FILE"), ("/no/such.pem", str(tmp_path / "empty.pem"))))
    said = await asyncio.gather(*(asyncio.to_thread(ended, tmp_path, "assembler", dict([row])) for row in rows))
    assert [name for (name, _), words in zip(rows, said, strict=True) if name not in reason(words)] == []


async def test_four_services_on_tls_alone_bring_a_file_to_an_encrypted_bucket(secured: Secured, tmp_path: Path) -> None:
    mark = PLAIN + uuid.uuid4().hex.encode()
    content = mark * (20 * MIB // len(mark))
    env = {**secured.env(MINIO_SSE="s3"), **QUICK}
    with separate(tmp_path, env) as deployment:
        async with new_device(deployment, "car-17") as car:
            for start in range(0, len(content), MIB):
                await car.send("drive.log", len(content), start, content[start : start + MIB])
            await car.send("note.txt", len(mark), 0, mark)
            await car.wait_for("note.txt", "complete")
            await car.wait_for("drive.log", "complete")
            assert await car.content("note.txt") == mark
            assert await car.content("drive.log") == content
        await asyncio.gather(*(asyncio.to_thread(process.stop) for process in deployment.processes.values()))
    assert not secured.minio.holds(mark)
