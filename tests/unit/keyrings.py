"""Settings with real keys, for every family of signing algorithms."""

from functools import cache
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from libs.common.settings import Settings

SECRET = "a shared secret of more than sixty-four bytes, so that HS512 takes it as well"
PrivateKey = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey


def plain_settings(**values: Any) -> Settings:
    """Settings that no `.env` has a say in."""
    return Settings(_env_file=None, **values)


@cache
def private_key(algorithm: str) -> PrivateKey:
    """One key per algorithm for all tests: RSA keys take long to make."""
    return new_private_key(algorithm)


def new_private_key(algorithm: str) -> PrivateKey:
    if algorithm.startswith("ES"):
        return ec.generate_private_key(ec.SECP384R1() if algorithm == "ES384" else ec.SECP256R1())
    if algorithm == "EdDSA":
        return ed25519.Ed25519PrivateKey.generate()
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


def write_private(key: PrivateKey, path: Path) -> Path:
    path.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    return path


def public_pem(key: PrivateKey) -> bytes:
    return key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


def write_public(key: PrivateKey, path: Path) -> Path:
    path.write_bytes(public_pem(key))
    return path


def settings_for(algorithm: str, directory: Path, **more: Any) -> Settings:
    """Settings that can mint and verify."""
    if algorithm.startswith("HS"):
        return plain_settings(algorithm=algorithm, secret_key=SECRET, **more)
    path = write_private(private_key(algorithm), directory / f"{algorithm}.pem")
    return plain_settings(algorithm=algorithm, private_key_file=path, **more)
