"""Tokens as an attacker makes them: with the issuer's key where the rule is not the signature's."""

import base64
import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import jwt

from libs.common.security.keys import SigningKey, signing_key
from libs.common.settings import Settings
from tests.unit.keyrings import new_private_key, private_key, public_pem

ATTACKER = new_private_key("ES256")
ATTACKER_JWK = json.loads(jwt.get_algorithm_by_name("ES256").to_jwk(ATTACKER.public_key()))
Headers = Mapping[str, Any]


@dataclass
class Forger:
    settings: Settings

    @property
    def algorithm(self) -> str:
        return self.settings.algorithm

    @cached_property
    def key(self) -> SigningKey:
        """The issuer's. Read once: OpenSSL tests the primes of an RSA key each time."""
        return signing_key(self.settings)

    def headers(self, **more: Any) -> dict[str, Any]:
        """Those of a good token; None leaves one out."""
        own = {"alg": self.algorithm, "typ": "JWT", "kid": self.key.kid} | more
        return {name: value for name, value in own.items() if value is not None}

    def claims(self, **more: Any) -> dict[str, Any]:
        """Those of a good token; None leaves one out."""
        now = int(time.time())
        own = {
            "iss": self.settings.token_issuer,
            "aud": self.settings.token_audience,
            "sub": "car-7",
            "scope": "files:read files:write",
            "iat": now,
            "exp": now + 60,
            "jti": "1",
        } | more
        return {name: value for name, value in own.items() if value is not None}

    def token(self, headers: Headers | None = None, **claims: Any) -> str:
        """A token signed with the issuer's key, with other headers or claims."""
        return self.signed(self.headers(**(headers or {})), json.dumps(self.claims(**claims)))

    def signed(self, headers: Headers | str, claims: str, algorithm: str = "", key: Any = None) -> str:
        """Any headers and claims, signed, whatever the headers say, with the issuer's key or another."""
        method = jwt.get_algorithm_by_name(algorithm or self.algorithm)
        text = f"{encoded(headers if isinstance(headers, str) else json.dumps(headers))}.{encoded(claims)}"
        key = method.prepare_key(self.key.material if key is None else key)
        return f"{text}.{encoded(method.sign(text.encode(), key))}"

    def unsigned(self, headers: Headers, signature: bytes = b"") -> str:
        return f"{encoded(json.dumps(headers))}.{encoded(json.dumps(self.claims()))}.{encoded(signature)}"

    def confused(self) -> str:
        """Verifies if the verifier takes the algorithm from the token, and the public key for a shared secret."""
        claims = json.dumps(self.claims())
        if self.algorithm.startswith("HS"):
            return self.signed(self.headers(alg="ES256"), claims, "ES256", ATTACKER)
        text = f"{encoded(json.dumps(self.headers(alg='HS256')))}.{encoded(claims)}"
        public = public_pem(private_key(self.algorithm))
        return f"{text}.{encoded(jwt.get_algorithm_by_name('HS256').sign(text.encode(), public))}"

    def by_attacker(self, **headers: Any) -> str:
        """Signed with a key of the attacker's own."""
        return self.signed(self.headers(**headers), json.dumps(self.claims()), "ES256", ATTACKER)

    def half_signed(self) -> str:
        text, _, signature = self.token().rpartition(".")
        return f"{text}.{encoded(base64.urlsafe_b64decode(signature + '==')[:16])}"

    def der(self) -> str:
        """With its signature in the form of X.509."""
        text, _, signature = self.token().rpartition(".")
        raw = base64.urlsafe_b64decode(signature + "==")
        half = len(raw) // 2
        numbers = [b"\x02" + bytes([half + 1]) + b"\x00" + part for part in (raw[:half], raw[half:])]
        return f"{text}.{encoded(b'0' + bytes([len(b''.join(numbers)) % 256]) + b''.join(numbers))}"


def encoded(value: str | bytes) -> str:
    raw = value.encode() if isinstance(value, str) else value
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()
