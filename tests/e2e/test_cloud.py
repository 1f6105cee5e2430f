"""What object stores in a cloud want beside an address and two keys: on a real MinIO."""

import asyncio
import socket
import ssl
import uuid
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from aiohttp.abc import AbstractResolver, ResolveResult
from minio.credentials.credentials import Credentials
from minio.credentials.providers import AssumeRoleProvider, StaticProvider
from minio.minioadmin import MinioAdmin

from libs.common.settings import Settings
from libs.common.storage import ObjectStore, StoreRefused, StoreUnavailable, Stream, list_all, read
from libs.common.storage.minio import MinioStore
from libs.common.web.serving import load_settings
from libs.common.wiring.resources import new_store
from tests.backends import MinioServer
from tests.certificates import Authority

KEY = "files/car-17/a b+c/ünï.bin"


async def works(store: ObjectStore) -> None:
    """Every kind of request, and nothing left."""
    await store.ensure()

    async def blocks() -> AsyncIterator[bytes]:
        yield b"x" * 1000

    await store.put(KEY, Stream(1000, blocks), metadata={"session": "5"})
    assert await read(store, KEY, 10, 20) == b"x" * 10
    assert (await store.stat(KEY)).metadata == {"session": "5"}
    assert [info.key for info in await list_all(store, "files/")] == [KEY]
    upload = await store.create_multipart("files/parts", part_size=5 * 2**20)
    part = await store.put_part("files/parts", upload, 1, b"y")
    assert [found.number for found in await store.list_parts("files/parts", upload)] == [1]
    await store.complete_multipart("files/parts", upload, [part])
    await store.put("files/copy", store.origin(KEY, 1000))
    await store.delete_many([KEY, "files/parts", "files/copy"])
    assert await list_all(store, "") == []
    await store.close()


class Resolver(AbstractResolver):
    """Every host is this machine."""

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        assert host.endswith(f".{MinioServer.domain}"), host
        return [ResolveResult(hostname=host, host="127.0.0.1", port=port, family=family, proto=0, flags=0)]

    async def close(self) -> None:
        pass


async def test_a_bucket_can_be_a_host(minio: MinioServer) -> None:
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(resolver=Resolver())) as session:
        await works(
            MinioStore(
                endpoint=f"{minio.domain}:{minio.port}",
                access_key=minio.access_key,
                secret_key=minio.secret_key,
                bucket=f"host-{uuid.uuid4().hex[:8]}",
                session=session,
                virtual_host=True,
            )
        )


@pytest.mark.parametrize(
    ("endpoint", "bucket", "addressing", "host"),
    [
        ("s3.eu-central-1.amazonaws.com:443", "plain", "auto", True),
        ("s3.eu-central-1.amazonaws.com", "with.dot", "auto", False),
        ("minio:9000", "plain", "auto", False),
        ("minio:9000", "plain", "virtual-host", True),
        ("s3.eu-central-1.amazonaws.com", "plain", "path", False),
    ],
)
def test_where_the_bucket_goes(endpoint: str, bucket: str, addressing: str, host: bool) -> None:
    from libs.common.wiring.resources import _in_host_name

    settings = Settings.model_validate({"minio_endpoint": endpoint, "minio_addressing": addressing})
    assert _in_host_name(settings, bucket) == host


@pytest.fixture(scope="module")
def lent(minio: MinioServer) -> Iterator[Credentials]:
    """Keys that the store's STS lends to a user for an hour, with their session token."""
    name = f"lender-{uuid.uuid4().hex[:8]}"
    root = StaticProvider(minio.access_key, minio.secret_key)
    admin = MinioAdmin(endpoint=minio.endpoint, credentials=root, secure=False)
    admin.user_add(name, "secret-of-the-lender")
    admin.policy_set("readwrite", user=name)
    yield AssumeRoleProvider(
        sts_endpoint=f"http://{minio.endpoint}", access_key=name, secret_key="secret-of-the-lender", region=minio.region
    ).retrieve()
    admin.user_remove(name)


def settings_of(minio: MinioServer, **changes: Any) -> Settings:
    bucket = f"cloud-{uuid.uuid4().hex[:8]}"
    given = {"object_store": "minio", "minio_endpoint": minio.endpoint, "temp_bucket": bucket, **changes}
    return Settings.model_validate(given)


def keys_of(lent: Credentials) -> dict[str, Any]:
    return {"minio_access_key": lent.access_key, "minio_secret_key": lent.secret_key}


async def test_keys_that_were_lent_work_with_their_token_and_not_without(minio: MinioServer, lent: Credentials) -> None:
    await works(new_store(settings_of(minio, **keys_of(lent), minio_session_token=lent.session_token), "temp"))
    without = new_store(settings_of(minio, **keys_of(lent)), "temp")
    with pytest.raises(StoreRefused):
        await without.ensure()
    await without.close()


async def test_keys_from_the_environment_and_from_the_shared_file_of_aws(
    minio: MinioServer, lent: Credentials, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    (tmp_path / "credentials").write_text(
        f"[fleet]\naws_access_key_id = {lent.access_key}\naws_secret_access_key = {lent.secret_key}\n"
        f"aws_session_token = {lent.session_token}\n"
    )
    with monkeypatch.context() as environment:
        environment.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
        environment.setenv("AWS_PROFILE", "fleet")
        await works(new_store(settings_of(minio, minio_credentials="aws"), "temp"))
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", lent.access_key)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", lent.secret_key)
    monkeypatch.setenv("AWS_SESSION_TOKEN", str(lent.session_token))
    await works(new_store(settings_of(minio, minio_credentials="aws"), "temp"))


async def test_keys_for_a_web_identity_are_fetched_and_renewed_before_they_end(
    minio: MinioServer, lent: Credentials, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The STS here is ours: it takes the identity, and hands on keys of the store's, good for a moment."""
    asked: list[str] = []

    async def answer(request: web.Request) -> web.Response:
        form = {**request.query, **(await request.post())}
        asked.append(" ".join(str(form[name]) for name in ("Action", "WebIdentityToken", "RoleArn")))
        return web.Response(text=_LENT.format(lent), content_type="text/xml")

    app = web.Application()
    app.router.add_route("*", "/", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=_tls_of_the_sts(tmp_path))
    await site.start()
    address = runner.addresses[0]
    (tmp_path / "token").write_text("the-identity-of-a-pod")
    monkeypatch.setenv("AWS_WEB_IDENTITY_TOKEN_FILE", str(tmp_path / "token"))
    monkeypatch.setenv("AWS_ROLE_ARN", "arn:aws:iam::1:role/hiper")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SHARED_CREDENTIALS_FILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    changes = {"minio_credentials": "aws", "minio_sts_endpoint": f"https://{address[0]}:{address[1]}"}
    stranger = new_store(settings_of(minio, **changes), "temp")
    with pytest.raises(StoreUnavailable, match="nobody lends keys"):
        await stranger.ensure()
    await stranger.close()
    assert not asked  # an STS of an unknown CA is told nothing
    await works(new_store(settings_of(minio, **changes, tls_ca_file=tmp_path / "ca.pem"), "temp"))
    assert set(asked) == {"AssumeRoleWithWebIdentity the-identity-of-a-pod arn:aws:iam::1:role/hiper"}
    assert len(asked) > 1  # what it lends ends within the margin, so each request asks again
    await runner.cleanup()


def _tls_of_the_sts(directory: Path) -> ssl.SSLContext:
    ca = Authority("ours")
    ca.write(directory / "ca.pem")
    ca.issue("sts", directory / "sts.pem", directory / "sts-key.pem")
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(directory / "sts.pem", directory / "sts-key.pem")
    return context


_LENT = """<AssumeRoleWithWebIdentityResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/">
<AssumeRoleWithWebIdentityResult><Credentials><AccessKeyId>{0.access_key}</AccessKeyId>
<SecretAccessKey>{0.secret_key}</SecretAccessKey><SessionToken>{0.session_token}</SessionToken>
<Expiration>2020-01-01T00:00:00Z</Expiration></Credentials></AssumeRoleWithWebIdentityResult>
</AssumeRoleWithWebIdentityResponse>"""


async def test_a_store_without_keys_is_one_that_is_away(
    minio: MinioServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", "http://127.0.0.1:1/")
    store = new_store(settings_of(minio, minio_credentials="aws"), "temp")
    with pytest.raises(StoreUnavailable, match="MINIO_CREDENTIALS=aws: nobody lends keys"):
        async with asyncio.timeout(60):
            await store.ensure()
    await store.close()


def test_secrets_can_be_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "minio_secret_key").write_text("from-a-file\n")
    monkeypatch.setenv("SECRETS_DIR", str(tmp_path))
    monkeypatch.delenv("MINIO_SECRET_KEY", raising=False)
    assert load_settings().minio_secret_key.get_secret_value() == "from-a-file"
