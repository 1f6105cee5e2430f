"""Tokens, devices, listing and deleting, on a real server."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import jwt
import pytest

from libs.client import HiperClient
from libs.client import files as files_module
from libs.client.errors import AnswerError, NotFoundError, ServerAwayError, UnauthorizedError
from services.embedded.app import build_app
from tests.unit.client.conftest import ADMIN_SECRET, make_settings
from tests.unit.client.live import CuttingProxy, LiveServer

DELETE_ANSWER = 7  # of the admin's first deletion: before it, a token, the status and a DELETE are each asked for twice


@pytest.fixture
def short_lived(tmp_path: Path) -> Iterator[LiveServer]:
    """A server whose tokens live for 3 seconds."""
    live = LiveServer(lambda: build_app(make_settings(tmp_path / "data", token_life=3)))
    live.start()
    yield live
    live.stop()


class Watched:
    """Another provider's tokens, and those that the server refused."""

    def __init__(self, client: HiperClient) -> None:
        assert client.tokens is not None
        self._inner = client.tokens
        self.refused: list[str] = []
        self.used: set[str] = set()

    async def token(self) -> str:
        token = await self._inner.token()
        self.used.add(token)
        return token

    def expire(self, token: str) -> None:
        self.refused.append(token)
        self._inner.expire(token)


async def test_a_token_is_renewed_before_it_ends(short_lived: LiveServer) -> None:
    async with HiperClient(short_lived.url, "admin", ADMIN_SECRET) as admin:
        secret = (await admin.devices.register("car-7")).client_secret
    async with HiperClient(short_lived.url, "car-7", secret) as owner:
        tokens = Watched(owner)
        async with HiperClient(short_lived.url, tokens=tokens, retry_for=0) as client:
            await client.upload(b"x", "f")
            for _ in range(9):
                await asyncio.sleep(0.5)
                await client.status("f")
    assert len(tokens.used) >= 2
    assert tokens.refused == []


async def test_a_server_with_a_new_key_makes_the_client_fetch_a_new_token(tmp_path: Path) -> None:
    keys = iter(("a" * 32, "b" * 32))
    live = LiveServer(lambda: build_app(make_settings(tmp_path / "data", secret_key=next(keys))))
    live.start()
    try:
        async with HiperClient(live.url, "admin", ADMIN_SECRET, retry_for=10) as client:
            await client.upload(b"x", "f")
            await asyncio.to_thread(live.restart)
            assert (await client.status("f")).status == "complete"
    finally:
        live.stop()


class OneBadToken:
    """Hands out a token that no server accepts, and after it was refused those of another provider."""

    def __init__(self, good: HiperClient) -> None:
        self._good = good
        self.refused: list[str] = []

    async def token(self) -> str:
        assert self._good.tokens is not None
        return await self._good.tokens.token() if self.refused else "bad"

    def expire(self, token: str) -> None:
        self.refused.append(token)


async def test_a_refused_token_is_renewed_and_the_request_repeated(server: LiveServer, client: HiperClient) -> None:
    secret = (await client.devices.register("car-7")).client_secret
    async with HiperClient(server.url, "car-7", secret) as car:
        tokens = OneBadToken(car)
        async with HiperClient(server.url, tokens=tokens, retry_for=0) as other:
            assert (await other.upload(b"x" * 2**20, "f")).status == "complete"
    assert tokens.refused == ["bad"]


async def test_a_token_that_is_refused_twice_is_an_error(server: LiveServer, client: HiperClient) -> None:
    class BadTokens(OneBadToken):
        async def token(self) -> str:
            return "bad"

    tokens = BadTokens(client)
    async with HiperClient(server.url, tokens=tokens, retry_for=30) as other:
        with pytest.raises(UnauthorizedError):
            await other.status("f")
    assert tokens.refused == ["bad"]


@pytest.mark.parametrize(("device", "secret"), [("admin", "wrong"), ("nobody", ADMIN_SECRET), ("a:b", "c d")])
async def test_a_wrong_id_or_secret_is_told_at_once(server: LiveServer, device: str, secret: str) -> None:
    async with HiperClient(server.url, device, secret, retry_for=30) as client:
        with pytest.raises(UnauthorizedError, match=f"does not accept the id or the secret of '{device}'"):
            await client.verify()


async def test_a_registered_device_works_until_it_is_revoked(server: LiveServer, client: HiperClient) -> None:
    new = await client.devices.register("car-7")
    assert new.scopes == ["files:read", "files:write"]
    async with HiperClient(server.url, "car-7", new.client_secret, retry_for=10) as car:
        assert (await car.upload(b"x", "f")).owner == "car-7"
    assert [device.device_id async for device in client.devices.list()] == ["car-7"]
    await client.devices.revoke("car-7")
    assert [device async for device in client.devices.list()] == []
    async with HiperClient(server.url, "car-7", new.client_secret, retry_for=10) as car:
        with pytest.raises(UnauthorizedError):
            await car.verify()


async def test_a_device_gets_the_class_asked_for_and_can_change_it(client: HiperClient) -> None:
    assert (await client.devices.register("car-7", device_class="default")).device_class == "default"
    assert (await client.devices.classify("car-7", "default")).device_class == "default"
    with pytest.raises(AnswerError, match="no device class 'truck'"):
        await client.devices.classify("car-7", "truck")


async def test_a_device_gets_the_scopes_asked_for_and_no_others(server: LiveServer, client: HiperClient) -> None:
    new = await client.devices.register("reader", ["fleet:read"])
    assert new.scopes == ["fleet:read"]
    async with HiperClient(server.url, "reader", new.client_secret, retry_for=10) as reader:
        with pytest.raises(AnswerError) as caught:
            await reader.devices.register("car-8")
    assert (caught.value.status, caught.value.slug) == (403, "forbidden")


async def test_a_device_cannot_be_registered_twice_nor_revoked_when_unknown(client: HiperClient) -> None:
    await client.devices.register("car-7")
    with pytest.raises(AnswerError, match="registered already"):
        await client.devices.register("car-7")
    with pytest.raises(NotFoundError):
        await client.devices.revoke("car-8")


async def test_a_listing_goes_over_all_pages(client: HiperClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files_module, "PAGE", 2)
    wanted = [f"f{i}" for i in range(5)]
    for name in wanted:
        await client.upload(name.encode(), name)
    entries = [entry async for entry in client.list()]
    assert [entry.filename for entry in entries] == wanted
    assert {(entry.owner, entry.status, entry.size) for entry in entries} == {("admin", "complete", 2)}


async def test_files_of_others_are_named_by_their_owner(client: HiperClient) -> None:
    await client.upload(b"x", "map.bin", owner="fleet")
    assert [entry.filename async for entry in client.list(owner="fleet", status="complete")] == ["map.bin"]
    assert [entry async for entry in client.list()] == []
    assert (await client.status("map.bin", owner="fleet")).owner == "fleet"
    await client.delete("map.bin", owner="fleet")
    with pytest.raises(NotFoundError):
        await client.status("map.bin", owner="fleet")


async def test_a_deletion_whose_answer_was_lost_is_not_an_error(client: HiperClient, proxy: CuttingProxy) -> None:
    await client.upload(b"x", "f")
    proxy.lose_answer, proxy.away_then = DELETE_ANSWER, True
    async with HiperClient(proxy.url, "admin", ADMIN_SECRET, retry_for=30) as far:
        deletion = asyncio.create_task(far.delete("f"))
        await proxy.away.wait()
        await client.upload(b"x", "f")  # as soon as the name is free
        await client.delete("f")
        proxy.away.clear()
        await deletion
    with pytest.raises(NotFoundError):
        await client.status("f")


async def test_a_late_deletion_does_not_hit_the_next_upload_of_that_name(
    client: HiperClient, proxy: CuttingProxy
) -> None:
    await client.upload(b"old", "f")
    proxy.lose_answer, proxy.away_then = DELETE_ANSWER, True
    async with HiperClient(proxy.url, "admin", ADMIN_SECRET, retry_for=30) as far:
        deletion = asyncio.create_task(far.delete("f"))
        await proxy.away.wait()
        await client.upload(b"new", "f")
        proxy.away.clear()
        await deletion
    assert (await client.status("f")).status == "complete"


async def test_deleting_what_is_not_there_is_an_error(client: HiperClient) -> None:
    with pytest.raises(NotFoundError):
        await client.delete("f")


async def test_an_address_where_nothing_listens_is_named(proxy: CuttingProxy) -> None:
    proxy.cuts, proxy.after = 100, 0
    async with HiperClient(proxy.url, "admin", ADMIN_SECRET, retry_for=1) as client:
        with pytest.raises(ServerAwayError, match=proxy.url):
            await client.verify()


async def test_the_admin_gets_the_scopes_that_a_call_needs_and_no_others(server: LiveServer) -> None:
    async with HiperClient(server.url, "admin", ADMIN_SECRET, retry_for=0) as admin:
        assert admin.tokens
        await admin.devices.register("car-7")
        assert scopes(await admin.tokens.token()) == {"admin"}
        await admin.upload(b"x", "f")
        assert scopes(await admin.tokens.token()) == {"admin", "files:read", "files:write"}


async def test_a_device_that_lacks_a_scope_is_told_so_and_goes_on_with_those_it_has(
    server: LiveServer, client: HiperClient
) -> None:
    secret = (await client.devices.register("car-7")).client_secret
    async with HiperClient(server.url, "car-7", secret, retry_for=0) as car:
        with pytest.raises(AnswerError, match="fleet:write") as refused:
            await car.upload(b"x", "f", owner="fleet")
        assert refused.value.status == 403
        assert (await car.upload(b"x", "f")).status == "complete"


def scopes(token: str) -> set[str]:
    claims = jwt.decode(token, options={"verify_signature": False})
    return set(claims["scope"].split())
