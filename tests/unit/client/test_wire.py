"""The wire formats, byte for byte."""

import base64
import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from libs.client.wire import (
    HEADER,
    MAX_OFFSET,
    checksum,
    content_range,
    digest_field,
    encode_chunk,
    parse_content_range,
    parse_digest_field,
)
from libs.common.files.extents import Extent


def test_a_chunk_is_nine_bytes_of_header_and_the_payload() -> None:
    assert encode_chunk(0x01020304, b"\xff\x02") == bytes.fromhex("01020304 01020305 01 ff02")


def test_the_end_in_the_header_is_inclusive() -> None:
    assert HEADER.unpack(encode_chunk(0, b"a")[:9]) == (0, 0, ord("a"))


@given(st.binary(max_size=2000))
def test_the_checksum_is_the_sum_of_all_bytes_modulo_256(payload: bytes) -> None:
    assert checksum(payload) == sum(payload) % 256


def test_the_last_addressable_byte_fits_and_the_next_does_not() -> None:
    assert encode_chunk(MAX_OFFSET, b"a").startswith(b"\xff" * 8)
    with pytest.raises(ValueError, match="Content-Range"):
        encode_chunk(MAX_OFFSET, b"ab")


def test_an_empty_chunk_cannot_have_a_header() -> None:
    with pytest.raises(ValueError, match="at least one byte"):
        encode_chunk(0, b"")


def test_a_negative_start_is_refused() -> None:
    with pytest.raises(ValueError, match="cannot be addressed"):
        encode_chunk(-1, b"ab")


def test_a_content_range_has_an_inclusive_end() -> None:
    assert content_range(Extent(5, 10), 20) == "bytes 5-9/20"


def test_the_content_range_of_an_empty_file_names_its_size_only() -> None:
    assert content_range(Extent(0, 0), 0) == "bytes */0"


@given(st.integers(0, 2**50), st.integers(1, 2**30), st.integers(0, 2**30))
def test_a_content_range_is_parsed_back(start: int, length: int, rest: int) -> None:
    extent = Extent(start, start + length)
    assert parse_content_range(content_range(extent, extent.end + rest)) == (extent, extent.end + rest)


@pytest.mark.parametrize("value", ["", "bytes */5", "bytes 3-2/9", "bytes 0-9/9", "bytes 0-1/*", "items 0-1/2"])
def test_any_other_content_range_is_none(value: str) -> None:
    assert parse_content_range(value) is None


def test_a_digest_field_holds_base64_between_colons() -> None:
    # RFC 9530, appendix B.1: the SHA-256 of this JSON document, with its line feed.
    document = b'{"hello": "world"}\n'
    assert digest_field(hashlib.sha256(document).digest()) == ("sha-256=:RK/0qy18MlBSVnWgjwz6lZEWjP/lF5HF9bvEF8FabDg=:")


def test_a_sha_256_is_found_among_other_digests() -> None:
    digest = hashlib.sha256(b"x").digest()
    assert parse_digest_field(f"sha-512=:AAAA:, {digest_field(digest)}") == digest


@pytest.mark.parametrize(
    "value",
    [
        "",
        "sha-512=:AAAA:",
        "sha-256=AAAA",
        "sha-256=:AAA:",
        f"sha-256=:{base64.b64encode(b'short').decode()}:",
    ],
)
def test_what_is_no_sha_256_is_none(value: str) -> None:
    assert parse_digest_field(value) is None
