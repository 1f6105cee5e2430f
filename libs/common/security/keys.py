"""The keys that sign and verify tokens, from the settings, each under its key id (`kid`)."""

import base64
import hashlib
import hmac
import json
import os
import stat
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jwt
import structlog
from cryptography.hazmat.primitives.serialization import load_pem_private_key, load_pem_public_key
from jwt.algorithms import AllowedPrivateKeys, AllowedPublicKeys

from libs.common.settings import SYMMETRIC, ConfigurationError, Settings

log: structlog.stdlib.BoundLogger = structlog.stdlib.get_logger(__name__)

VerificationKey = AllowedPublicKeys | bytes
Jwk = dict[str, Any]
_THUMBPRINT_MEMBERS = ("crv", "e", "kty", "n", "x", "y")  # RFC 7638, section 3.2, and RFC 8037


@dataclass(frozen=True, slots=True)
class SigningKey:
    kid: str
    material: AllowedPrivateKeys | bytes = field(repr=False)


def thumbprint(jwk: Jwk) -> str:
    """The key id of an asymmetric key: its SHA-256 thumbprint (RFC 7638), base64url without padding."""
    members = {name: jwk[name] for name in _THUMBPRINT_MEMBERS if name in jwk}
    canonical = json.dumps(members, sort_keys=True, separators=(",", ":")).encode()
    return base64.urlsafe_b64encode(hashlib.sha256(canonical).digest()).rstrip(b"=").decode()


def secret_kid(secret: bytes) -> str:
    """The key id of a shared secret. It tells no more of the secret than any token's signature does."""
    return hmac.digest(secret, b"hiper key id", "sha256").hex()[:16]


def signing_key(settings: Settings) -> SigningKey:
    """What signs tokens: SECRET_KEY (HS*) or PRIVATE_KEY_FILE. Raises ConfigurationError."""
    if settings.algorithm in SYMMETRIC:
        secret = _secret(settings, "secret_key")
        if not secret:
            raise ConfigurationError(
                f"SECRET_KEY is not set, and ALGORITHM={settings.algorithm} signs with it: "
                "write e.g. SECRET_KEY=$(openssl rand -hex 64)"
            )
        return SigningKey(secret_kid(secret), secret)
    if settings.private_key_file is None:
        raise ConfigurationError(
            f"PRIVATE_KEY_FILE is not set, and ALGORITHM={settings.algorithm} signs with it: "
            "write e.g. PRIVATE_KEY_FILE=/run/secrets/hiper.pem (a PEM file, from: openssl genpkey)"
        )
    private = _load_private(settings.private_key_file, settings.algorithm)
    _warn_if_exposed(settings.private_key_file)
    return SigningKey(thumbprint(to_jwk(private.public_key(), settings.algorithm)), private)


def _warn_if_exposed(path: Path) -> None:
    """A group may read the file: Kubernetes mounts a Secret for the group of the pod."""
    if os.name == "posix" and stat.S_IMODE(path.stat().st_mode) & 0o007:
        log.warning("private_key_exposed", path=str(path), remedy=f"chmod 640 {path}")


def verification_keys(settings: Settings) -> dict[str, VerificationKey]:
    """What verifies tokens, by kid; may be empty. Raises ConfigurationError for a key that cannot be used."""
    if settings.algorithm in SYMMETRIC:
        secrets = [_secret(settings, name) for name in ("secret_key", "secret_key_previous")]
        return {secret_kid(secret): secret for secret in secrets if secret}
    publics = [_load_public(path, settings.algorithm) for path in settings.public_key_files]
    if settings.private_key_file is not None:
        publics.append(_load_private(settings.private_key_file, settings.algorithm).public_key())
    return {thumbprint(to_jwk(key, settings.algorithm)): key for key in publics}


def public_jwks(settings: Settings) -> dict[str, list[Jwk]]:
    """The JWK Set (RFC 7517, section 5) of the public keys; empty where the key is a shared secret."""
    keys = verification_keys(settings)
    return {
        "keys": [
            to_jwk(key, settings.algorithm) | {"kid": kid, "use": "sig", "alg": settings.algorithm}
            for kid, key in keys.items()
            if not isinstance(key, bytes)
        ]
    }


def to_jwk(key: AllowedPublicKeys, algorithm: str) -> Jwk:
    """The public members of a key that identify it: nothing but `_THUMBPRINT_MEMBERS`."""
    jwk: Jwk = jwt.get_algorithm_by_name(algorithm).to_jwk(key, as_dict=True)
    return {name: jwk[name] for name in _THUMBPRINT_MEMBERS if name in jwk}


def _secret(settings: Settings, name: str) -> bytes:
    secret: bytes = getattr(settings, name).get_secret_value().encode()
    if secret:
        _check(secret, settings.algorithm, name.upper())
    return secret


def _load_private(path: Path, algorithm: str) -> AllowedPrivateKeys:
    try:
        key = load_pem_private_key(path.read_bytes(), password=None)
    except OSError as error:
        raise _unreadable("PRIVATE_KEY_FILE", path, error) from error
    except (ValueError, TypeError) as error:
        raise ConfigurationError(f"PRIVATE_KEY_FILE: {path} is no PEM private key: {error}") from error
    _check(key, algorithm, f"PRIVATE_KEY_FILE: {path}")
    return key  # type: ignore[return-value]  # _check refused every type but those that the algorithm signs with


def _load_public(path: Path, algorithm: str) -> AllowedPublicKeys:
    try:
        key = load_pem_public_key(path.read_bytes())
    except OSError as error:
        raise _unreadable("PUBLIC_KEY_FILES", path, error) from error
    except ValueError as error:
        raise ConfigurationError(f"PUBLIC_KEY_FILES: {path} is no PEM public key: {error}") from error
    _check(key, algorithm, f"PUBLIC_KEY_FILES: {path}")
    return key  # type: ignore[return-value]  # as above


def _unreadable(setting: str, path: Path, error: OSError) -> ConfigurationError:
    return ConfigurationError(
        f"{setting}: {path} cannot be read: {error.strerror} (e.g. {setting}=/run/secrets/hiper.pem)"
    )


def _check(material: Any, algorithm: str, setting: str) -> None:
    """Refuse keys of another type, curve or of less strength than the algorithm's (RFC 7518, section 3)."""
    rules = jwt.get_algorithm_by_name(algorithm)
    try:
        weakness = rules.check_key_length(rules.prepare_key(material))
    except (jwt.PyJWTError, TypeError, ValueError) as error:
        raise ConfigurationError(f"{setting} does not fit ALGORITHM={algorithm}: {error}") from error
    if weakness:
        raise ConfigurationError(f"{setting} is too weak for ALGORITHM={algorithm}: {weakness}")
