"""Access tokens: what is minted verifies, and nothing else does."""

import base64
import json
import time
from pathlib import Path
from typing import Any

import jwt
import pytest
from pydantic import ValidationError
from structlog.testing import capture_logs

from libs.common.security.keys import secret_kid, signing_key
from libs.common.security.tokens import (
    LEEWAY,
    MAX_TOKEN_BYTES,
    InvalidToken,
    TokenIssuer,
    TokenVerifier,
    valid_subject,
)
from libs.common.settings import ConfigurationError, Settings
from tests.unit.keyrings import (
    SECRET,
    new_private_key,
    plain_settings,
    public_pem,
    settings_for,
    write_private,
    write_public,
)

FAMILIES = ["HS256", "RS256", "ES256", "EdDSA"]
OTHERS = ["HS384", "HS512", "RS512", "PS256", "ES384"]
SCOPES = ["files:read", "files:write"]


@pytest.fixture(params=FAMILIES)
def settings(request: pytest.FixtureRequest, tmp_path: Path) -> Settings:
    return settings_for(request.param, tmp_path)


def forge(settings: Settings, *, headers: dict[str, Any] | None = None, **claims: Any) -> str:
    """A token signed with the right key, with other claims or headers; a claim of None is left out."""
    now = int(time.time())
    key = signing_key(settings)
    body = {
        "iss": settings.token_issuer,
        "aud": settings.token_audience,
        "sub": "car-7",
        "scope": "files:read",
        "iat": now,
        "exp": now + 60,
        "jti": "1",
    } | claims
    body = {name: value for name, value in body.items() if value is not None}
    return jwt.encode(body, key.material, settings.algorithm, headers={"kid": key.kid} | (headers or {}))


def segment(value: Any) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()


async def reason(settings: Settings, token: str) -> str:
    with pytest.raises(InvalidToken) as refused:
        await TokenVerifier(settings).verify(token)
    return refused.value.reason


@pytest.mark.parametrize("algorithm", FAMILIES + OTHERS)
async def test_a_minted_token_says_who_may_do_what_until_when(algorithm: str, tmp_path: Path) -> None:
    settings = settings_for(algorithm, tmp_path, access_token_expire_minutes=10)
    before = int(time.time())
    token = TokenIssuer(settings).issue("car-7", SCOPES)
    principal = await TokenVerifier(settings).verify(token.encoded)
    assert principal.subject == "car-7"
    assert principal.scopes == frozenset(SCOPES)
    assert before <= principal.issued_at <= time.time()
    assert token.expires_in == 600
    assert principal.expires_at == principal.issued_at + 600


async def test_a_token_from_before_there_were_device_classes_is_of_the_default_one(settings: Settings) -> None:
    assert (await TokenVerifier(settings).verify(forge(settings))).device_class == "default"
    with_class = TokenIssuer(settings).issue("car-7", SCOPES, device_class="truck")
    assert (await TokenVerifier(settings).verify(with_class.encoded)).device_class == "truck"
    assert "malformed" in await reason(settings, forge(settings, device_class=["truck"]))


async def test_no_two_tokens_have_one_id(settings: Settings) -> None:
    issuer, verifier = TokenIssuer(settings), TokenVerifier(settings)
    ids = {(await verifier.verify(issuer.issue("car-7", SCOPES).encoded)).token_id for _ in range(3)}
    assert len(ids) == 3


async def test_the_issue_time_can_be_pushed_past_a_revocation(settings: Settings) -> None:
    earliest = int(time.time()) + 6
    token = TokenIssuer(settings).issue("car-7", SCOPES, earliest=earliest)
    assert (await TokenVerifier(settings).verify(token.encoded)).issued_at == earliest


async def test_a_token_with_no_algorithm_is_refused(settings: Settings) -> None:
    _, body, _ = forge(settings).split(".")
    for none in ("none", "None", "NONE", "", None):
        for signature in ("", "AAAA"):
            header = segment({"alg": none, "kid": signing_key(settings).kid})
            assert "algorithm" in await reason(settings, f"{header}.{body}.{signature}")


@pytest.mark.parametrize("algorithm", ["RS256", "ES256", "EdDSA"])
async def test_a_public_key_is_not_taken_for_a_shared_secret(algorithm: str, tmp_path: Path) -> None:
    private = new_private_key(algorithm)
    settings = plain_settings(algorithm=algorithm, private_key_file=write_private(private, tmp_path / "key"))
    header = segment({"alg": "HS256", "kid": signing_key(settings).kid})
    _, body, _ = forge(settings).split(".")
    signed = jwt.get_algorithm_by_name("HS256").sign(f"{header}.{body}".encode(), public_pem(private))
    signature = base64.urlsafe_b64encode(signed).rstrip(b"=").decode()
    assert "algorithm" in await reason(settings, f"{header}.{body}.{signature}")


async def test_another_algorithm_of_the_same_key_is_refused(tmp_path: Path) -> None:
    settings = settings_for("RS256", tmp_path)
    pss = settings.model_copy(update={"algorithm": "PS256"})
    assert "algorithm" in await reason(settings, forge(pss))


@pytest.mark.parametrize("kid", ["another", "../../dev/null", "/dev/null", "http://127.0.0.1/k", "' OR 1=1"])
async def test_a_key_id_only_chooses_among_known_keys(settings: Settings, kid: str) -> None:
    assert await reason(settings, forge(settings, headers={"kid": kid})) == "The token names an unknown key"


async def test_a_token_must_name_its_key(settings: Settings) -> None:
    _, body, signature = forge(settings).split(".")
    for header in ({"alg": settings.algorithm}, {"alg": settings.algorithm, "kid": ""}):
        assert "names no key" in await reason(settings, f"{segment(header)}.{body}.{signature}")


@pytest.mark.parametrize("embedded", ["jwk", "jku", "x5u", "x5c"])
async def test_a_key_that_a_token_brings_along_is_not_used(embedded: str, tmp_path: Path) -> None:
    settings = settings_for("ES256", tmp_path)
    attacker = new_private_key("ES256")
    own = json.loads(jwt.get_algorithm_by_name("ES256").to_jwk(attacker.public_key()))
    token = jwt.encode({"sub": "admin"}, attacker, "ES256", headers={"kid": signing_key(settings).kid, embedded: own})
    assert await reason(settings, token) == "The signature is not valid"


@pytest.mark.parametrize("claim", ["exp", "iat", "sub", "iss", "aud", "jti", "scope"])
async def test_every_claim_is_required(settings: Settings, claim: str) -> None:
    assert await reason(settings, forge(settings, **{claim: None})) == "The token lacks a claim"


async def test_a_token_ends_at_its_exp_to_the_second(settings: Settings) -> None:
    now = int(time.time())
    assert await reason(settings, forge(settings, exp=now)) == "The token has expired"
    assert await reason(settings, forge(settings, exp=now - 2 * LEEWAY)) == "The token has expired"


@pytest.mark.parametrize("claim", ["iat", "nbf"])
async def test_a_token_of_a_clock_slightly_ahead_is_accepted_and_no_more(settings: Settings, claim: str) -> None:
    now = int(time.time())
    soon: dict[str, Any] = {claim: now + LEEWAY - 5}
    ahead = forge(settings, **soon)
    assert (await TokenVerifier(settings).verify(ahead)).subject == "car-7"
    far: dict[str, Any] = {claim: now + LEEWAY + 30}
    assert await reason(settings, forge(settings, **far)) == "The token is not valid yet"


@pytest.mark.parametrize(
    ("claims", "expected"),
    [
        ({"aud": "another"}, "The token is for another audience"),
        ({"aud": ["another"]}, "The token is for another audience"),
        ({"iss": "another"}, "The token has another issuer"),
        ({"sub": "../admin"}, "The token is malformed"),
        ({"sub": "fleet"}, "The token is malformed"),
        ({"sub": ""}, "The token is malformed"),
        ({"sub": 7}, "The token is malformed"),
        ({"jti": ""}, "The token is malformed"),
        ({"jti": 7}, "The token is malformed"),
        ({"scope": ["admin"]}, "The token is malformed"),
        ({"exp": "soon"}, "The token is malformed"),
        ({"iat": "now"}, "The token is malformed"),
    ],
)
async def test_claims_that_are_not_ours_are_refused(settings: Settings, claims: dict[str, Any], expected: str) -> None:
    assert await reason(settings, forge(settings, **claims)) == expected


async def test_a_changed_token_is_refused(settings: Settings) -> None:
    header, body, signature = forge(settings).split(".")
    claims = jwt.decode(forge(settings), options={"verify_signature": False})
    more = segment(claims | {"scope": "admin"})
    assert await reason(settings, f"{header}.{more}.{signature}") == "The signature is not valid"
    swapped = ("B" if signature[0] == "A" else "A") + signature[1:]
    assert await reason(settings, f"{header}.{body}.{swapped}") == "The signature is not valid"


async def test_an_oversized_token_is_refused_before_it_is_decoded(settings: Settings) -> None:
    fitting = forge(settings)
    assert len(fitting) < MAX_TOKEN_BYTES
    padded = forge(settings, more="x" * MAX_TOKEN_BYTES)
    assert await reason(settings, padded) == "The token is malformed"


@pytest.mark.parametrize(
    "token",
    ["", ".", "..", "a.b.c", "é.é.é", "\ud800", segment([]) + ".e30.", segment({"kid": 7}) + ".e30.AAAA"],
)
async def test_what_is_no_token_is_refused(settings: Settings, token: str) -> None:
    assert await reason(settings, token) == "The token is malformed"


async def test_a_header_nested_without_end_is_refused(settings: Settings) -> None:
    nested = base64.urlsafe_b64encode(b"[" * 5000).rstrip(b"=").decode()
    assert await reason(settings, f"{nested}.e30.AAAA") == "The token is malformed"


async def test_unknown_critical_headers_are_refused(settings: Settings) -> None:
    token = forge(settings, headers={"crit": ["hiper"], "hiper": 1})
    assert await reason(settings, token) == "The token is malformed"


async def test_the_previous_secret_verifies_and_signs_nothing() -> None:
    old = plain_settings(secret_key="o" * 64)
    new = plain_settings(secret_key="n" * 64, secret_key_previous="o" * 64)
    assert (await TokenVerifier(new).verify(forge(old))).subject == "car-7"
    fresh = TokenIssuer(new).issue("car-7", SCOPES).encoded
    assert jwt.get_unverified_header(fresh)["kid"] == secret_kid(b"n" * 64)
    assert await reason(old, fresh) == "The token names an unknown key"


async def test_a_public_key_verifies_and_cannot_mint(tmp_path: Path) -> None:
    private = new_private_key("ES256")
    auth = plain_settings(algorithm="ES256", private_key_file=write_private(private, tmp_path / "private"))
    ingest = plain_settings(algorithm="ES256", public_key_files=[write_public(private, tmp_path / "public")])
    assert (await TokenVerifier(ingest).verify(forge(auth))).subject == "car-7"
    with pytest.raises(ConfigurationError, match="PRIVATE_KEY_FILE"):
        TokenIssuer(ingest)


async def test_both_keys_of_a_rotation_verify_and_are_published(tmp_path: Path) -> None:
    old, new = new_private_key("EdDSA"), new_private_key("EdDSA")
    before = plain_settings(algorithm="EdDSA", private_key_file=write_private(old, tmp_path / "old"))
    after = plain_settings(
        algorithm="EdDSA",
        private_key_file=write_private(new, tmp_path / "new"),
        public_key_files=[write_public(old, tmp_path / "old.pub")],
    )
    assert (await TokenVerifier(after).verify(forge(before))).subject == "car-7"
    published = {key["kid"] for key in TokenIssuer(after).jwks()["keys"]}
    assert published == {signing_key(before).kid, signing_key(after).kid}


@pytest.mark.parametrize("algorithm", ["RS256", "ES256", "EdDSA"])
def test_the_key_set_holds_public_members_only(algorithm: str, tmp_path: Path) -> None:
    (key,) = TokenIssuer(settings_for(algorithm, tmp_path)).jwks()["keys"]
    assert set(key) <= {"kty", "crv", "x", "y", "n", "e", "kid", "use", "alg"}
    assert key["use"] == "sig"
    assert key["alg"] == algorithm


def test_the_key_set_of_a_shared_secret_is_empty(tmp_path: Path) -> None:
    assert TokenIssuer(settings_for("HS256", tmp_path)).jwks() == {"keys": []}


def test_the_key_id_of_a_secret_does_not_tell_the_secret() -> None:
    assert SECRET not in secret_kid(SECRET.encode())
    assert len(secret_kid(SECRET.encode())) == 16
    assert secret_kid(b"one") != secret_kid(b"two")


def test_without_a_secret_the_error_names_the_setting_and_an_example() -> None:
    for build in (TokenIssuer, TokenVerifier):
        with pytest.raises(ConfigurationError, match=r"SECRET_KEY is not set.*openssl rand -hex"):
            build(plain_settings())


def test_a_short_secret_is_refused_with_an_example() -> None:
    for name in ("secret_key", "secret_key_previous", "admin_secret", "test_device_secret"):
        with pytest.raises(ValidationError, match=r"is 31 bytes long.*openssl rand"):
            plain_settings(**{name: "s" * 31})


def test_without_a_private_or_public_key_the_error_names_the_setting() -> None:
    with pytest.raises(ConfigurationError, match=r"PRIVATE_KEY_FILE is not set.*ES256"):
        TokenIssuer(plain_settings(algorithm="ES256"))
    with pytest.raises(ConfigurationError, match=r"JWKS_URL, PUBLIC_KEY_FILES"):
        TokenVerifier(plain_settings(algorithm="ES256"))


def test_keys_that_do_not_fit_the_algorithm_are_refused_at_start(tmp_path: Path) -> None:
    elliptic = write_private(new_private_key("ES256"), tmp_path / "ec")
    public = write_public(new_private_key("ES384"), tmp_path / "ec.pub")
    (tmp_path / "empty").touch()
    for wrong in (
        plain_settings(algorithm="RS256", private_key_file=elliptic),
        plain_settings(algorithm="ES384", private_key_file=elliptic),
        plain_settings(algorithm="ES256", public_key_files=[public]),
        plain_settings(algorithm="ES256", private_key_file=tmp_path / "empty"),
        plain_settings(algorithm="ES256", private_key_file=tmp_path / "absent"),
        plain_settings(algorithm="ES256", public_key_files=[tmp_path / "empty"]),
        plain_settings(algorithm="HS512", secret_key="s" * 32),
        plain_settings(algorithm="HS256", secret_key=public_pem(new_private_key("ES256")).decode()),
    ):
        with pytest.raises(ConfigurationError, match="KEY"):
            TokenVerifier(wrong)


def test_the_address_of_the_key_set_must_be_http() -> None:
    with pytest.raises(ConfigurationError, match="JWKS_URL"):
        TokenVerifier(plain_settings(algorithm="ES256", jwks_url="file:///etc/keys"))


@pytest.mark.parametrize("subject", ["car-7", "A", "a.b_c-d", "x" * 64, "admin"])
def test_subjects_are_safe_as_a_segment_of_a_key(subject: str) -> None:
    assert valid_subject(subject)


@pytest.mark.parametrize("subject", ["", ".", "..", "-a", "a..b", "a/b", "a\n", "é", "x" * 65, "fleet", "a b"])
def test_other_subjects_are_refused(subject: str) -> None:
    assert not valid_subject(subject)


async def test_a_token_that_comes_with_every_chunk_is_verified_once(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    verifier, token = TokenVerifier(settings), forge(settings)
    first = await verifier.verify(token)
    monkeypatch.delattr(jwt, "decode")
    assert await verifier.verify(token) == first


async def test_a_token_that_was_verified_ends_all_the_same(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    verifier, token = TokenVerifier(settings), forge(settings)
    end = float((await verifier.verify(token)).expires_at)
    monkeypatch.setattr("libs.common.security.tokens.SystemClock.time", lambda _: end)
    with pytest.raises(InvalidToken, match="expired"):
        await verifier.verify(token)


async def test_a_token_that_was_verified_speaks_for_no_other(settings: Settings) -> None:
    verifier, token = TokenVerifier(settings), forge(settings)
    await verifier.verify(token)
    with pytest.raises(InvalidToken):
        await verifier.verify(token[:-4] + "AAAA")


@pytest.mark.parametrize(("mode", "warned"), [(0o600, False), (0o640, False), (0o644, True)])
def test_a_private_key_that_everybody_can_read_is_used_with_a_warning(tmp_path: Path, mode: int, warned: bool) -> None:
    settings = settings_for("EdDSA", tmp_path)
    assert settings.private_key_file
    settings.private_key_file.chmod(mode)
    with capture_logs() as logs:
        TokenIssuer(settings)
    assert [line["event"] for line in logs] == ["private_key_exposed"] * warned


ODD_HEADERS = {
    "nested deeply": b"[" * 5000,
    "nested deeply in a value": b'{"alg":"HS256","kid":' + b"[" * 4000,
    "infinity as kid": b'{"alg":"HS256","kid":Infinity}',
    "a kid of 5,000 digits": b'{"alg":"HS256","kid":' + b"9" * 5000 + b"}",
    "half a character as kid": b'{"alg":"HS256","kid":"\\ud800"}',
    "no text": bytes(range(256)),
}


@pytest.mark.parametrize("header", ODD_HEADERS.values(), ids=ODD_HEADERS)
async def test_whatever_a_header_holds_the_token_is_refused_and_nothing_fails(header: bytes) -> None:
    encoded = base64.urlsafe_b64encode(header).rstrip(b"=").decode()
    with pytest.raises(InvalidToken):
        await TokenVerifier(plain_settings(secret_key=SECRET)).verify(f"{encoded}.e30.AAAA")
