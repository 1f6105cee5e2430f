"""Access tokens: JWT (RFC 7519) under the rules of RFC 8725, minted by one side and verified by the other."""

import json
import uuid
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import jwt
from jwt.utils import base64url_decode

from libs.common.clock import Clock, SystemClock
from libs.common.files.names import FLEET, valid_owner
from libs.common.security.allowance import DEFAULT_CLASS
from libs.common.security.jwks import RemoteKeys
from libs.common.security.keys import Jwk, SigningKey, VerificationKey, public_jwks, signing_key, verification_keys
from libs.common.security.recent import Recent
from libs.common.security.tls import trust
from libs.common.settings import SYMMETRIC, ConfigurationError, Settings

MAX_TOKEN_BYTES = 8 * 1024
REMEMBER = 10.0  # seconds for which a token that was verified need not be verified again
REMEMBERED = 10_000  # such tokens
LEEWAY = 30  # seconds that `iat` and `nbf` may lie ahead of this machine's clock; `exp` gets none
_REQUIRED = ["exp", "iat", "sub", "iss", "aud", "jti", "scope"]


class InvalidToken(Exception):
    """The token is refused; `reason` is a sentence for the client, in RFC 6750's characters."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Principal:
    """Who asks, as a verified token says. Times are whole seconds since the epoch."""

    subject: str
    scopes: frozenset[str]
    token_id: str
    issued_at: int
    expires_at: int
    device_class: str = DEFAULT_CLASS  # whose limits count


@dataclass(frozen=True, slots=True)
class AccessToken:
    encoded: str = field(repr=False)
    expires_in: int  # seconds


def valid_subject(subject: str) -> bool:
    """Whether a name can be a token's subject: safe as a segment of a storage key, and not `fleet`, whom the
    published files belong to."""
    return valid_owner(subject) and subject != FLEET


class TokenIssuer:
    """Mints access tokens."""

    def __init__(self, settings: Settings, clock: Clock | None = None) -> None:
        """Raises ConfigurationError when the settings have no usable signing key."""
        self._key: SigningKey = signing_key(settings)
        self._settings = settings
        self._jwks = public_jwks(settings)
        self._clock = clock or SystemClock()
        self.life = max(1, round(settings.access_token_expire_minutes * 60))  # seconds

    def issue(
        self, subject: str, scopes: Iterable[str], *, earliest: int = 0, device_class: str = DEFAULT_CLASS
    ) -> AccessToken:
        """A token from now on for `life` seconds. `earliest` (seconds since the epoch) is the least `iat` it
        may carry: one second past the subject's last revocation."""
        now = int(self._clock.time())
        claims = {
            "iss": self._settings.token_issuer,
            "aud": self._settings.token_audience,
            "sub": subject,
            "scope": " ".join(sorted(scopes)),
            "iat": max(now, earliest),
            "exp": now + self.life,
            "jti": uuid.uuid4().hex,
            "device_class": device_class,
        }
        encoded = jwt.encode(claims, self._key.material, self._settings.algorithm, headers={"kid": self._key.kid})
        return AccessToken(encoded, self.life)

    def jwks(self) -> dict[str, list[Jwk]]:
        """The public keys, this one and those of PUBLIC_KEY_FILES; an empty set for HS*."""
        return self._jwks


class TokenVerifier:
    """Checks access tokens. The algorithm is the configured one, whatever a token says of itself; its `kid`
    only chooses among keys that are already known or that JWKS_URL lists.

    A device sends the same token with every chunk: it is verified once in REMEMBER seconds, and its end looked at each
    time. So long a key counts after JWKS_URL lists it no more."""

    def __init__(self, settings: Settings) -> None:
        """Raises ConfigurationError when the settings have nothing to verify with."""
        self._settings = settings
        self._keys: Mapping[str, VerificationKey] = verification_keys(settings)
        self._remote = _remote_keys(settings)
        self._verified = Recent[Principal](REMEMBER, REMEMBERED)
        if not self._keys and self._remote is None:
            raise ConfigurationError(_NO_KEY[settings.algorithm in SYMMETRIC])

    async def start(self) -> None:
        if self._remote:
            await self._remote.start()

    async def close(self) -> None:
        if self._remote:
            await self._remote.close()

    @property
    def ready(self) -> bool:
        """False until JWKS_URL, where it is set, has been read."""
        return self._remote is None or self._remote.ready

    async def verify(self, token: str) -> Principal:
        """Raises InvalidToken, or KeysUnavailable when JWKS_URL was never reached."""
        known = self._verified.get(token)
        if known and known.expires_at > SystemClock().time():
            return known
        principal = await self._verify(token)
        self._verified.put(token, principal)
        return principal

    async def _verify(self, token: str) -> Principal:
        if len(token) > MAX_TOKEN_BYTES or not token.isascii():
            raise InvalidToken("The token is malformed")
        try:
            key = await self._find_key(jwt.get_unverified_header(token).get("kid"))
            claims = jwt.decode(
                token,
                key,
                algorithms=[self._settings.algorithm],
                audience=self._settings.token_audience,
                issuer=self._settings.token_issuer,
                leeway=LEEWAY,
                options={"require": _REQUIRED},
            )
        except jwt.PyJWTError as error:
            raise InvalidToken(_reason(error)) from error
        _refuse_twice(token)
        return _principal(claims)

    async def _find_key(self, kid: str | None) -> VerificationKey:
        if not kid:
            raise InvalidToken("The token names no key")
        key = self._keys.get(kid)
        if key is None and self._remote:
            key = await self._remote.find(kid)
        if key is None:
            raise InvalidToken("The token names an unknown key")
        return key


def _remote_keys(settings: Settings) -> RemoteKeys | None:
    if not settings.jwks_url or settings.algorithm in SYMMETRIC:
        return None
    if not settings.jwks_url.startswith(("https://", "http://")):
        raise ConfigurationError("JWKS_URL must begin with https:// (or http:// inside a private network)")
    return RemoteKeys(settings.jwks_url, settings.algorithm, tls=trust(settings))


def _refuse_twice(token: str) -> None:
    """Refuse a token of which one reader takes the first of two claims and another the last (RFC 7519, section 4).
    Its segments were decoded before."""
    for segment in token.split(".")[:2]:
        pairs: list[tuple[str, Any]] = json.loads(base64url_decode(segment), object_pairs_hook=list)
        if len(dict(pairs)) < len(pairs):
            raise InvalidToken("The token is malformed")


def _principal(claims: Mapping[str, Any]) -> Principal:
    """PyJWT checked the claims' presence and, but for `scope`, their types."""
    issued_at, expires_at, scope = int(claims["iat"]), int(claims["exp"]), claims["scope"]
    if expires_at <= SystemClock().time():  # PyJWT gave it LEEWAY
        raise InvalidToken("The token has expired")
    device_class = claims.get("device_class", DEFAULT_CLASS)  # tokens from before have none
    if (
        not isinstance(scope, str)
        or not isinstance(device_class, str)
        or not claims["jti"]
        or not valid_subject(claims["sub"])
    ):
        raise InvalidToken("The token is malformed")
    return Principal(claims["sub"], frozenset(scope.split()), claims["jti"], issued_at, expires_at, device_class)


def _reason(error: jwt.PyJWTError) -> str:
    for kind, reason in _REASONS.items():
        if isinstance(error, kind):
            return reason
    return "The token is malformed"


_REASONS: dict[type[jwt.PyJWTError], str] = {
    jwt.ExpiredSignatureError: "The token has expired",
    jwt.ImmatureSignatureError: "The token is not valid yet",
    jwt.InvalidSignatureError: "The signature is not valid",
    jwt.InvalidAlgorithmError: "The token has another algorithm",
    jwt.InvalidAudienceError: "The token is for another audience",
    jwt.InvalidIssuerError: "The token has another issuer",
    jwt.MissingRequiredClaimError: "The token lacks a claim",
}
_NO_KEY = {
    True: "SECRET_KEY is not set: nothing can verify tokens. Write e.g. SECRET_KEY=$(openssl rand -hex 64)",
    False: "JWKS_URL, PUBLIC_KEY_FILES or PRIVATE_KEY_FILE must be set, or nothing can verify tokens: "
    "write e.g. JWKS_URL=http://auth:8000/.well-known/jwks.json",
}
