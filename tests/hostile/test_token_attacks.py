"""Attacks with tokens, one a row. Each is answered with 401 and the challenge of RFC 6750, section 3."""

import json
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import httpx
import pytest
from fastapi import FastAPI

from libs.common.security.authn import Authn
from libs.common.security.tokens import LEEWAY, MAX_TOKEN_BYTES, TokenIssuer
from libs.common.settings import Settings
from services.ingest.app import build_app
from tests.hostile.forging import ATTACKER_JWK, Forger, encoded
from tests.unit.ingest.running import make_settings
from tests.unit.keyrings import private_key, write_private

FAR = 10 * LEEWAY
ALGORITHMS = ("HS256", "RS256", "ES256", "EdDSA")
MALFORMED = "The token is malformed"
LACKS = "The token lacks a claim"
EARLY = "The token is not valid yet"
EXPIRED = "The token has expired"
ALGORITHM = "The token has another algorithm"
SIGNATURE = "The signature is not valid"
UNKNOWN = "The token names an unknown key"

Attack = Callable[[Forger], str]
ATTACKS: dict[str, tuple[Attack, str]] = {
    # -- the algorithm
    "alg none": (lambda f: f.unsigned(f.headers(alg="none")), ALGORITHM),
    "alg NonE": (lambda f: f.unsigned(f.headers(alg="NonE")), ALGORITHM),
    "alg none, with a signature": (lambda f: f.unsigned(f.headers(alg="none"), b"x" * 64), ALGORITHM),
    "no alg": (lambda f: f.unsigned(f.headers(alg=None)), ALGORITHM),
    "alg is a list": (lambda f: f.token({"alg": ["none", f.algorithm]}), ALGORITHM),
    "another alg": (lambda f: f.token({"alg": "PS512"}), ALGORITHM),
    "HS256 under the public key, or ES256 for HS256": (lambda f: f.confused(), ALGORITHM),
    "signed by another key, under our kid": (lambda f: f.by_attacker(), SIGNATURE),
    # -- the key
    "no kid": (lambda f: f.token({"kid": None}), "The token names no key"),
    "unknown kid": (lambda f: f.token({"kid": "another"}), UNKNOWN),
    "kid is a path": (lambda f: f.token({"kid": "../../../../dev/null"}), UNKNOWN),
    "kid is an address": (lambda f: f.token({"kid": "http://127.0.0.1/key"}), UNKNOWN),
    "kid is SQL": (lambda f: f.token({"kid": "' UNION SELECT 'secret"}), UNKNOWN),
    "kid is a list": (lambda f: f.token({"kid": ["a"]}), MALFORMED),
    "brings its key along (jwk)": (lambda f: f.by_attacker(jwk=ATTACKER_JWK), SIGNATURE),
    "says where its key is (jku)": (lambda f: f.by_attacker(jku="https://evil.example/jwks"), SIGNATURE),
    "says where its certificate is (x5u)": (lambda f: f.by_attacker(x5u="https://evil.example/c.pem"), SIGNATURE),
    "brings its certificate along (x5c)": (lambda f: f.by_attacker(x5c=["MIIB"]), SIGNATURE),
    # -- the signature
    "no signature": (lambda f: f.unsigned(f.headers()), SIGNATURE),
    "a signature of zeros": (lambda f: f.unsigned(f.headers(), bytes(64)), SIGNATURE),
    "a signature in DER": (lambda f: f.der(), SIGNATURE),
    "the signature of another token": (lambda f: _with_signature_of(f.token(sub="admin"), f.token()), SIGNATURE),
    "half a signature": (lambda f: f.half_signed(), SIGNATURE),
    # -- the form
    "no token": (lambda _: "", MALFORMED),
    "two segments": (lambda f: f.token().rpartition(".")[0], MALFORMED),
    "five segments, as of an encrypted one": (lambda f: f"{f.token()}.a.b", MALFORMED),
    "not base64": (lambda f: "!" + f.token(), MALFORMED),
    "headers are no object": (lambda f: f"{encoded('[]')}." + f.token().partition(".")[2], MALFORMED),
    "claims are no object": (lambda f: f.signed(f.headers(), "[]"), MALFORMED),
    "oversized": (lambda f: f.token(more="x" * MAX_TOKEN_BYTES), MALFORMED),
    "nested without end": (lambda f: f"{encoded('[' * 5000)}.e30.AAAA", MALFORMED),
    "claims nested without end": (lambda f: f.signed(f.headers(), '{"a":' + "[" * 5000), MALFORMED),
    "an unknown extension is critical": (lambda f: f.token({"crit": ["hiper"], "hiper": 1}), MALFORMED),
    "crit is empty": (lambda f: f.token({"crit": []}), MALFORMED),
    "b64 false, critical": (lambda f: f.token({"crit": ["b64"], "b64": False}), MALFORMED),
    "b64 false": (lambda f: f.token({"b64": False}), MALFORMED),
    "a header twice": (lambda f: _header_twice(f), MALFORMED),
    "a claim twice": (lambda f: f.signed(f.headers(), _twice(f.claims(), "sub", "admin")), MALFORMED),
    # -- the time
    "no exp": (lambda f: f.token(exp=None), LACKS),
    "exp is over": (lambda f: f.token(exp=int(time.time()) - 1), EXPIRED),
    "exp is text": (lambda f: f.token(exp="never"), MALFORMED),
    "exp is true": (lambda f: f.token(exp=True), EXPIRED),
    "exp is infinite": (lambda f: f.signed(f.headers(), _twice(f.claims(exp=None), "exp", float("inf"))), MALFORMED),
    "exp is no number": (lambda f: f.signed(f.headers(), _twice(f.claims(exp=None), "exp", float("nan"))), MALFORMED),
    "exp has a thousand digits": (lambda f: f.signed(f.headers(), _number(f, "exp", "9" * 5000)), MALFORMED),
    "far nbf": (lambda f: f.token(nbf=int(time.time()) + FAR), EARLY),
    "nbf is infinite": (lambda f: f.signed(f.headers(), _twice(f.claims(), "nbf", float("inf"))), MALFORMED),
    "iat in the future": (lambda f: f.token(iat=int(time.time()) + FAR), EARLY),
    "no iat": (lambda f: f.token(iat=None), LACKS),
    "iat is infinite": (lambda f: f.signed(f.headers(), _twice(f.claims(iat=None), "iat", float("-inf"))), MALFORMED),
    # -- who, for whom, what
    "no aud": (lambda f: f.token(aud=None), LACKS),
    "wrong aud": (lambda f: f.token(aud="another"), "The token is for another audience"),
    "aud is a number": (lambda f: f.token(aud=7), "The token is for another audience"),
    "no iss": (lambda f: f.token(iss=None), LACKS),
    "wrong iss": (lambda f: f.token(iss="another"), "The token has another issuer"),
    "iss is a list": (lambda f: f.token(iss=["hiper-auth"]), "The token has another issuer"),
    "no sub": (lambda f: f.token(sub=None), LACKS),
    "sub is a path": (lambda f: f.token(sub="../admin"), MALFORMED),
    "sub is a number": (lambda f: f.token(sub=7), MALFORMED),
    "sub is the fleet": (lambda f: f.token(sub="fleet"), MALFORMED),
    "sub ends in a line break": (lambda f: f.token(sub="car-7\n"), MALFORMED),
    "no scope": (lambda f: f.token(scope=None), LACKS),
    "scope is a list": (lambda f: f.token(scope=["admin"]), MALFORMED),
    "scope is an object": (lambda f: f.token(scope={"admin": True}), MALFORMED),
    "no jti": (lambda f: f.token(jti=None), LACKS),
    "jti is a number": (lambda f: f.token(jti=7), MALFORMED),
}


def _with_signature_of(token: str, other: str) -> str:
    return token.rpartition(".")[0] + "." + other.rpartition(".")[2]


def _twice(claims: dict[str, object], name: str, value: object) -> str:
    """The claims with one more, whether it is there already or not."""
    return f'{json.dumps(claims)[:-1]}, "{name}": {json.dumps(value)}}}'


def _number(f: Forger, name: str, digits: str) -> str:
    return f'{json.dumps(f.claims(**{name: None}))[:-1]}, "{name}": {digits}}}'


def _header_twice(f: Forger) -> str:
    """With `alg` none first: who takes the first of two would not look at the signature."""
    return f.signed('{"alg": "none", ' + json.dumps(f.headers())[1:], json.dumps(f.claims()))


@pytest.fixture(params=ALGORITHMS)
def settings(request: pytest.FixtureRequest, tmp_path: Path) -> Settings:
    if request.param == "HS256":
        return make_settings(tmp_path)
    key = write_private(private_key(request.param), tmp_path / "key.pem")
    return make_settings(tmp_path, algorithm=request.param, private_key_file=key)


@pytest.fixture
async def app(settings: Settings) -> AsyncIterator[FastAPI]:
    app = build_app(settings)
    async with app.router.lifespan_context(app):
        yield app


@pytest.fixture
async def authn(app: FastAPI) -> Authn:
    authn: Authn = app.state.authn
    await authn.revocations.refresh()
    return authn


@pytest.fixture
async def http(app: FastAPI, authn: Authn) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test") as client:
        yield client


async def ask(http: httpx.AsyncClient, token: str, **query: str) -> httpx.Response:
    return await http.get("/files", headers={"Authorization": f"Bearer {token}"}, params=query)


async def test_each_attack_is_refused_with_its_reason(http: httpx.AsyncClient, settings: Settings) -> None:
    forger, wrong = Forger(settings), list[str]()
    assert (await ask(http, forger.token())).status_code == 200
    for name, (attack, reason) in ATTACKS.items():
        answer = await ask(http, attack(forger))
        challenge = f'Bearer realm="hiper", error="invalid_token", error_description="{reason}"'
        if (answer.status_code, answer.headers.get("www-authenticate")) != (401, challenge):
            wrong.append(f"{name}: {answer.status_code} {answer.headers.get('www-authenticate')}")
    assert "\n".join(wrong) == ""


async def test_a_revoked_token_is_refused(http: httpx.AsyncClient, settings: Settings, authn: Authn) -> None:
    token = TokenIssuer(settings).issue("car-7", ["files:read"]).encoded
    assert (await ask(http, token)).status_code == 200
    authn.revocations.learn({"car-7": int(time.time()) + 1})
    answer = await ask(http, token)
    assert answer.status_code == 401
    assert 'error="invalid_token", error_description="The token was revoked"' in answer.headers["www-authenticate"]


@pytest.mark.parametrize(
    ("scope", "owner", "wanted"),
    [
        ("files:read files:write", "car-8", "fleet:read"),
        ("files:write admin fleet:write", "car-7", "files:read"),
        ("files:write admin fleet:write", "fleet", "files:read"),
        ("FILES:READ files:read,fleet:read", "car-7", "files:read"),
    ],
)
async def test_a_good_token_opens_nothing_beyond_its_scope(
    http: httpx.AsyncClient, settings: Settings, scope: str, owner: str, wanted: str
) -> None:
    answer = await ask(http, Forger(settings).token(scope=scope), owner=owner)
    assert answer.status_code == 403
    challenge = f'Bearer realm="hiper", error="insufficient_scope", scope="{wanted}"'
    assert answer.headers["www-authenticate"] == challenge
