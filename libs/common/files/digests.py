"""Digest fields: Content-Digest and Repr-Digest (RFC 9530), as dictionaries of byte sequences (RFC 8941)."""

import base64
import binascii
import re

from libs.common.problems import Kind, Problem

SIZES = {"sha-256": 32, "sha-512": 64}  # bytes; the active algorithms of RFC 9530
_MEMBER = re.compile(r"\s*([a-z*][a-z0-9_.*-]*)=:([A-Za-z0-9+/=]*):\s*")


def parse_digests(name: str, field: str | None) -> dict[str, bytes]:
    """The digests of a field that this server can check, by algorithm; algorithms that it does not know are ignored.

    Raises BAD_DIGEST when the field cannot be read, or a digest has not its algorithm's length.
    """
    found: dict[str, bytes] = {}
    for member in field.split(",") if field else ():
        match = _MEMBER.fullmatch(member)
        if not match:
            raise _bad(name, f"{member.strip()[:80]!r} is not like 'sha-256=:BASE64:'")
        algorithm, encoded = match.groups()
        if algorithm in SIZES:
            found[algorithm] = _decode(name, algorithm, encoded)
    return found


def format_sha256(sha256_hex: str) -> str:
    """A field value with a SHA-256 digest given in hex."""
    return f"sha-256=:{base64.b64encode(bytes.fromhex(sha256_hex)).decode()}:"


def _decode(name: str, algorithm: str, encoded: str) -> bytes:
    try:
        value = base64.b64decode(encoded, validate=True)
    except binascii.Error as error:
        raise _bad(name, f"the {algorithm} digest is not base64") from error
    if len(value) != SIZES[algorithm]:
        raise _bad(name, f"a {algorithm} digest has {SIZES[algorithm]} bytes, this one {len(value)}")
    return value


def _bad(name: str, what: str) -> Problem:
    return Problem(Kind.BAD_DIGEST, f"{name}: {what} (RFC 9530).")
