"""The two forms of a chunk on the wire."""

import re
import struct
from dataclasses import dataclass

from libs.common.files.extents import Extent
from libs.common.problems import Kind, Problem

HEADER = struct.Struct(">IIB")  # first byte, last byte (inclusive), byte sum of the payload modulo 256
HEADER_REACH = 2**32  # bytes of a file that the header form can address
_CONTENT_RANGE = re.compile(r"bytes (?:([0-9]{1,19})-([0-9]{1,19})|\*)/([0-9]{1,19}|\*)")


@dataclass(frozen=True)
class Claim:
    """What a chunk says of itself: the bytes that it fills, the size of the file where it knows that, and in the header
    form the sum of its bytes modulo 256."""

    extent: Extent
    total_size: int | None
    checksum: int | None = None


def parse_header(header: bytes, total_size: int) -> Claim:
    """The 9-byte header: start u32, end u32 inclusive, checksum u8, big-endian. Raises BAD_RANGE.

    A file of no bytes has no last byte: its one chunk is a header of start 0, end 0 (or no header) and no payload.
    """
    start, end, checksum = HEADER.unpack(header)
    if total_size == 0 and start == end == 0:
        return Claim(Extent(0, 0), 0, checksum)
    return Claim(_checked(start, end, total_size), total_size, checksum)


def parse_content_range(field: str, total_size: int | None) -> Claim:
    """`Content-Range` of the raw form: `bytes a-b/total`, with `*` for a total size that the device does not know yet;
    `bytes */total` for a chunk of no bytes. `total_size`: the query's, None where it has none. Raises BAD_RANGE."""
    match = _CONTENT_RANGE.fullmatch(field.strip())
    if not match or (match[1] is None and match[3] == "*"):
        raise Problem(Kind.BAD_RANGE, f"Content-Range is {field[:80]!r}; it must be like 'bytes 0-1048575/2000000000'.")
    total = total_size if match[3] == "*" else int(match[3])
    if total_size not in (None, total):
        raise Problem(Kind.BAD_RANGE, f"Content-Range says {total} bytes in all, total_size says {total_size}.")
    if match[1] is None:
        return Claim(Extent(0, 0), total)
    return Claim(_checked(int(match[1]), int(match[2]), total), total)


def refuse_unreachable(total_size: int) -> None:
    """The header form cannot address every byte of a file over 4 GiB."""
    if total_size > HEADER_REACH:
        raise Problem(
            Kind.OFFSET_TOO_LARGE,
            f"A file of {total_size} bytes is over 4 GiB, which the 9-byte header cannot address. Send the payload "
            f"alone, with Content-Range: bytes START-END/{total_size}.",
        )


def _checked(start: int, end: int, total_size: int | None) -> Extent:
    if start > end:
        raise Problem(Kind.BAD_RANGE, f"The chunk starts at byte {start} and ends before it, at byte {end}.")
    if total_size is not None and end >= total_size:
        raise Problem(
            Kind.BAD_RANGE,
            f"The chunk ends at byte {end}, but the file has {total_size} bytes: its last is byte {total_size - 1}.",
        )
    return Extent(start, end + 1)
