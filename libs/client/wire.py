"""What goes over the wire, byte for byte: the reference for makers of devices.

A device may frame a chunk in either of two ways:

- a 9-byte header in front of the payload (`encode_chunk`), for files of up to 4 GiB;
- the payload alone, with its place in a `Content-Range` field (`content_range`).
"""

import base64
import binascii
import re
import struct

from libs.common.files.extents import Extent

HEADER = struct.Struct(">IIB")  # first byte, last byte (inclusive), checksum: big-endian, 9 bytes
MAX_OFFSET = 2**32 - 1  # of a byte that the header can address

_SHA256 = re.compile(r"sha-256\s*=\s*:([A-Za-z0-9+/=]+):", re.IGNORECASE)
_CONTENT_RANGE = re.compile(r"bytes (\d+)-(\d+)/(\d+)")


def checksum(payload: bytes) -> int:
    """The sum of all bytes, modulo 256."""
    return sum(payload) & 0xFF


def encode_chunk(start: int, payload: bytes) -> bytes:
    """A request body: header and payload of the chunk whose first byte is byte `start` (from 0) of the file.

    Raises ValueError for an empty payload, and for bytes that 32 bits cannot address."""
    end = start + len(payload) - 1
    if not payload:
        raise ValueError("a chunk with a 9-byte header holds at least one byte")
    if start < 0 or end > MAX_OFFSET:
        raise ValueError(f"bytes {start}-{end} cannot be addressed with 32 bits: use Content-Range")
    return HEADER.pack(start, end, checksum(payload)) + payload


def content_range(extent: Extent, total_size: int) -> str:
    """The value of a `Content-Range` field (RFC 9110, section 14.4); of an empty file, `bytes */0`."""
    return f"bytes {extent.start}-{extent.end - 1}/{total_size}" if extent.length else f"bytes */{total_size}"


def parse_content_range(value: str) -> tuple[Extent, int] | None:
    """The bytes of a 206 answer and the size of the whole in bytes; None for any other value."""
    match = _CONTENT_RANGE.fullmatch(value.strip())
    if match is None:
        return None
    first, last, total = map(int, match.groups())
    return (Extent(first, last + 1), total) if first <= last < total else None


def digest_field(sha256: bytes) -> str:
    """The value of a `Content-Digest` or `Repr-Digest` field (RFC 9530)."""
    return f"sha-256=:{base64.b64encode(sha256).decode()}:"


def parse_digest_field(value: str) -> bytes | None:
    """The SHA-256 in such a field, or None: there is none, or it is not one."""
    match = _SHA256.search(value)
    try:
        digest = base64.b64decode(match[1], validate=True) if match else b""
    except binascii.Error:
        return None
    return digest if len(digest) == 32 else None
