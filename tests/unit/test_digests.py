"""Digest fields (RFC 9530)."""

import contextlib
import hashlib
from base64 import b64encode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from libs.common.files.digests import SIZES, format_sha256, parse_digests
from libs.common.problems import Kind, Problem

SHA256 = hashlib.sha256(b"x").digest()
SHA512 = hashlib.sha512(b"x").digest()
FIELD256 = f"sha-256=:{b64encode(SHA256).decode()}:"
FIELD512 = f"sha-512=:{b64encode(SHA512).decode()}:"
GOOD: tuple[tuple[str | None, dict[str, bytes]], ...] = (
    (None, {}),
    ("", {}),
    (FIELD256, {"sha-256": SHA256}),
    (f" {FIELD512}\t", {"sha-512": SHA512}),
    (f"{FIELD256},{FIELD512}", {"sha-256": SHA256, "sha-512": SHA512}),
    (f"{FIELD512} , {FIELD256}", {"sha-256": SHA256, "sha-512": SHA512}),
    ("md5=:AAAA:, unixsum=::", {}),
    (f"md5=:not base64 length=:, {FIELD256}".replace("not base64 length=", "A"), {"sha-256": SHA256}),
)
BAD = (
    "sha-256",
    "sha-256=",
    "sha-256=::",
    "sha-256=:AAAA:",
    f"sha-512=:{b64encode(SHA256).decode()}:",
    f"sha-256=:{b64encode(SHA512).decode()}:",
    FIELD256.replace("=:", "="),
    FIELD256[:-1],
    FIELD256.upper(),
    FIELD256.replace("=:", "=: "),
    f"sha-256=:{'A' * 42}:",  # 31.5 bytes
    f"sha-256=:{'=' * 44}:",
    f"{FIELD256[:-1]}AAAA:",  # more after the padding
    f"{FIELD256},",
    f",{FIELD256}",
    f"{FIELD256};{FIELD512}",
    FIELD256.replace(":", "'"),
)


@pytest.mark.parametrize(("field", "digests"), GOOD)
def test_the_digests_that_can_be_checked_are_read(field: str | None, digests: dict[str, bytes]) -> None:
    assert parse_digests("Content-Digest", field) == digests


@pytest.mark.parametrize("field", BAD)
def test_a_field_that_cannot_be_read_is_refused_by_its_name(field: str) -> None:
    with pytest.raises(Problem, match="Repr-Digest") as caught:
        parse_digests("Repr-Digest", field)
    assert caught.value.kind is Kind.BAD_DIGEST


@given(st.binary(min_size=32, max_size=32))
def test_what_is_written_is_read_back(digest: bytes) -> None:
    assert parse_digests("Repr-Digest", format_sha256(digest.hex())) == {"sha-256": digest}


NEARLY = st.from_regex(r"\A(sha-256|sha-512|md5)=:[A-Za-z0-9+/=]{0,90}:(, .{0,9})?\Z")


@given(st.text() | NEARLY)
def test_no_field_does_worse_than_a_problem(field: str) -> None:
    digests: dict[str, bytes] = {}
    with contextlib.suppress(Problem):
        digests = parse_digests("Content-Digest", field)
    assert all(len(digest) == SIZES[algorithm] for algorithm, digest in digests.items())
