"""Keys fetched from the issuer."""

import asyncio
import gzip
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import jwt
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from structlog.testing import capture_logs

from libs.common.security.jwks import COOLDOWN, MOST_BYTES, REFRESH_INTERVAL, KeysUnavailable, RemoteKeys, parse_jwks
from libs.common.security.tokens import InvalidToken, TokenIssuer, TokenVerifier
from tests.unit.clocks import ManualClock
from tests.unit.damage import DAMAGED
from tests.unit.keyrings import SECRET, plain_settings, private_key, settings_for


class Publisher:
    """An issuer's HTTP endpoint."""

    def __init__(self) -> None:
        self.document: Any = {"keys": []}
        self.body: bytes | None = None  # instead of the document
        self.status = 200
        self.fetches = 0
        self.url = ""

    async def answer(self, _request: web.Request) -> web.Response:
        self.fetches += 1
        if self.body is not None:
            encoding = {"Content-Encoding": "gzip"} if self.body.startswith(b"\x1f\x8b") else {}
            return web.Response(body=self.body, headers=encoding)
        headers = {"Location": "/moved"} if self.status == 302 else {}
        return web.json_response(self.document, status=self.status, headers=headers)

    async def answer_moved(self, _request: web.Request) -> web.Response:
        return web.json_response(self.document)


@pytest.fixture
async def publisher() -> AsyncIterator[Publisher]:
    publisher = Publisher()
    app = web.Application()
    app.router.add_get("/keys", publisher.answer)
    app.router.add_get("/moved", publisher.answer_moved)
    async with TestServer(app) as server:
        publisher.url = str(server.make_url("/keys"))
        yield publisher


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


def jwk(kid: str, directory: Path, algorithm: str = "ES256") -> dict[str, Any]:
    return TokenIssuer(settings_for(algorithm, directory)).jwks()["keys"][0] | {"kid": kid}


async def test_a_verifier_accepts_what_the_published_keys_signed(publisher: Publisher, tmp_path: Path) -> None:
    issuer = TokenIssuer(settings_for("ES256", tmp_path))
    publisher.document = issuer.jwks()
    verifier = TokenVerifier(plain_settings(algorithm="ES256", jwks_url=publisher.url))
    assert not verifier.ready
    await verifier.start()
    try:
        assert verifier.ready
        token = issuer.issue("car-7", ["files:read"]).encoded
        assert (await verifier.verify(token)).subject == "car-7"
        stranger = TokenIssuer(settings_for("ES384", tmp_path)).issue("car-7", []).encoded
        with pytest.raises(InvalidToken, match="unknown key"):
            await verifier.verify(stranger)
    finally:
        await verifier.close()
    assert publisher.fetches == 1


async def test_an_unknown_key_fetches_again_but_not_more_than_once_per_cooldown(
    publisher: Publisher, clock: ManualClock, tmp_path: Path
) -> None:
    publisher.document = {"keys": [jwk("one", tmp_path)]}
    keys = RemoteKeys(publisher.url, "ES256", clock)
    assert await keys.find("one")
    publisher.document["keys"].append(jwk("two", tmp_path))
    for _ in range(5):
        assert await keys.find("two") is None
    assert publisher.fetches == 1
    clock.advance(COOLDOWN)
    assert await keys.find("two")
    assert publisher.fetches == 2


async def test_an_issuer_that_is_away_leaves_the_known_keys_in_force(
    publisher: Publisher, clock: ManualClock, tmp_path: Path
) -> None:
    publisher.document = {"keys": [jwk("one", tmp_path)]}
    keys = RemoteKeys(publisher.url, "ES256", clock)
    assert await keys.find("one")
    for failure in (500, 302, 200):
        publisher.status, publisher.document = failure, "not a key set"
        clock.advance(COOLDOWN)
        with pytest.raises(KeysUnavailable):
            await keys.find("other")
        assert await keys.find("one")
    assert publisher.fetches == 4


async def test_a_new_key_is_not_called_unknown_while_the_issuer_is_away(
    publisher: Publisher, clock: ManualClock, tmp_path: Path
) -> None:
    """In the middle of a rotation: 503, so that devices try again, and not 401."""
    publisher.document = {"keys": [jwk("old", tmp_path)]}
    keys = RemoteKeys(publisher.url, "ES256", clock)
    await keys.start()
    try:
        publisher.status = 503
        clock.advance(COOLDOWN)
        with pytest.raises(KeysUnavailable):
            await keys.find("new")
        assert await keys.find("old") is not None
        publisher.status, publisher.document = 200, {"keys": [jwk("new", tmp_path)]}
        clock.advance(COOLDOWN)
        assert await keys.find("new") is not None
        assert await keys.find("old") is None
    finally:
        await keys.close()


async def test_a_redirect_is_not_followed(publisher: Publisher, tmp_path: Path) -> None:
    publisher.status, publisher.document = 302, {"keys": [jwk("one", tmp_path)]}
    with pytest.raises(KeysUnavailable):
        await RemoteKeys(publisher.url, "ES256").find("one")


ODD_KEYS: list[Any] = [
    {"kty": "EC", "crv": "P-256", "x": 5, "y": []},
    {"kty": ["EC"], "crv": {}, "x": None, "y": None},
    {"kty": "RSA", "n": "", "e": ""},
    {"kty": "OKP", "crv": "Ed25519", "x": "\ud800"},
    {"kty": None},
    {"use": []},
    {"alg": {}},
]
ODD_DOCUMENTS = [
    *DAMAGED.values(),
    b'{"keys": Infinity}',
    b'{"keys": [' + b"[" * 100_000,
    *(json.dumps({"keys": [key | {"kid": "odd"}]}).encode() for key in ODD_KEYS),
    b'{"keys": []' + b" " * MOST_BYTES + b"}",
    gzip.compress(b" " * 10 * MOST_BYTES),
]


@pytest.mark.parametrize("body", ODD_DOCUMENTS, ids=range(len(ODD_DOCUMENTS)))
async def test_whatever_the_issuer_answers_the_known_keys_stay_and_the_following_goes_on(
    publisher: Publisher, clock: ManualClock, tmp_path: Path, body: bytes
) -> None:
    publisher.document = {"keys": [jwk("one", tmp_path)]}
    keys = RemoteKeys(publisher.url, "ES256", clock)
    await keys.start()
    with capture_logs() as logs:
        publisher.body = body
        await clock.wake(REFRESH_INTERVAL, lambda: bool(logs))
    (line,) = logs
    assert line["event"] == "jwks_fetch_failed"
    assert len(line["error"]) < 300
    assert await keys.find("one")
    publisher.body, publisher.document = None, {"keys": [jwk("two", tmp_path)]}
    await clock.wake(REFRESH_INTERVAL, lambda: publisher.fetches == 3)
    async with asyncio.timeout(5):
        while await keys.find("two") is None:  # noqa: ASYNC110  # until the answer has been read
            await asyncio.sleep(0.01)
    await keys.close()


async def test_odd_keys_do_not_hide_good_ones(tmp_path: Path) -> None:
    listed = [key | {"kid": "odd"} if isinstance(key, dict) else key for key in ODD_KEYS]
    assert set(parse_jwks({"keys": [*listed, jwk("good", tmp_path)]}, "ES256")) == {"good"}


async def test_before_the_first_fetch_nothing_can_be_said(publisher: Publisher) -> None:
    publisher.status = 503
    keys = RemoteKeys(publisher.url, "ES256")
    with pytest.raises(KeysUnavailable):
        await keys.find("one")
    with pytest.raises(KeysUnavailable):
        await keys.find("two")
    assert publisher.fetches == 1


async def test_a_key_that_the_issuer_took_back_is_forgotten(
    publisher: Publisher, clock: ManualClock, tmp_path: Path
) -> None:
    publisher.document = {"keys": [jwk("one", tmp_path), jwk("two", tmp_path)]}
    keys = RemoteKeys(publisher.url, "ES256", clock)
    await keys.start()
    assert await keys.find("one")
    publisher.document = {"keys": [jwk("two", tmp_path)]}
    await clock.wake(REFRESH_INTERVAL, lambda: publisher.fetches == 2)
    async with asyncio.timeout(5):
        while await keys.find("one"):  # noqa: ASYNC110  # until the answer has been read
            await asyncio.sleep(0.01)
    await keys.close()


async def test_the_first_fetch_is_tried_again_until_it_works(
    publisher: Publisher, clock: ManualClock, tmp_path: Path
) -> None:
    publisher.status = 503
    keys = RemoteKeys(publisher.url, "ES256", clock)
    await keys.start()
    assert not keys.ready
    publisher.status, publisher.document = 200, {"keys": [jwk("one", tmp_path)]}
    await clock.wake(COOLDOWN, lambda: keys.ready)
    await keys.close()


async def test_closing_what_was_not_started_does_nothing() -> None:
    await RemoteKeys("http://127.0.0.1:9/keys", "ES256").close()


def test_only_public_signature_keys_of_the_algorithm_are_taken(tmp_path: Path) -> None:
    good = jwk("good", tmp_path)
    private = jwt.get_algorithm_by_name("ES256").to_jwk(private_key("ES256"), as_dict=True)
    assert "d" in private
    others = [
        good | {"kid": "encrypts", "use": "enc"},
        private | {"kid": "private"},
        good | {"kid": "another", "alg": "ES384"},
        good | {"kid": "broken", "x": "AA"},
        jwk("rsa", tmp_path, "RS256") | {"alg": "ES256"},
        {"kid": "shared", "kty": "oct", "k": SECRET, "alg": "ES256"},
        {key: value for key, value in good.items() if key != "kid"},
        "no key",
    ]
    assert set(parse_jwks({"keys": [*others, good]}, "ES256")) == {"good"}
    nothings: list[Any] = [{"keys": others}, {"keys": {}}, {}, [], None]
    for nothing in nothings:
        with pytest.raises(ValueError, match="JWK Set"):
            parse_jwks(nothing, "ES256")


async def test_credentials_in_the_address_of_the_keys_are_not_logged_or_told(publisher: Publisher) -> None:
    publisher.status = 503
    keys = RemoteKeys(publisher.url.replace("http://", "http://user:hush-hush@"), "ES256")
    with capture_logs() as logs, pytest.raises(KeysUnavailable) as unavailable:
        await keys.find("one")
    assert str(unavailable.value) == publisher.url
    assert [line["url"] for line in logs] == [publisher.url]
    assert "hush-hush" not in str(logs)
