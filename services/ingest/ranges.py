"""Which bytes a download asks for (RFC 9110, sections 13.1 and 14)."""

import re
from email.utils import formatdate

from libs.common.files.extents import Extent
from libs.common.problems import Kind, Problem

# Possessive (`*+`): where two runs of spaces can touch, a search that gives back would be quadratic.
_RANGE = re.compile(r"bytes\s*+=\s*+([0-9]{0,19}+)\s*+-\s*+([0-9]{0,19}+)", re.IGNORECASE)


def parse_range(field: str | None, total_size: int, available: int) -> Extent | None:
    """The bytes of one range, as far as they are available; None for the whole representation.

    A range set of several ranges, another unit, or a malformed field is ignored, as section 14.2 allows. Raises
    RANGE_NOT_SATISFIABLE when no byte of the range is there. `total_size` and `available` (the length of the gap-free
    prefix) in bytes.
    """
    match = _RANGE.fullmatch(field.strip()) if field else None
    if not match or match.groups() == ("", ""):
        return None
    first, last = match.groups()
    if first and last and int(first) > int(last):
        return None
    if first:
        start, end = int(first), min(int(last) + 1, total_size) if last else total_size
    else:
        start, end = max(0, total_size - int(last)), total_size
    end = min(end, available)
    if start >= end:
        raise Problem(
            Kind.RANGE_NOT_SATISFIABLE,
            f"Bytes 0 to {available} (exclusive) of {total_size} are there.",
            headers={"Content-Range": f"bytes */{total_size}"},
        )
    return Extent(start, end)


def range_applies(if_range: str | None, etag: str, modified: float) -> bool:
    """Whether If-Range (section 13.1.5) lets the range stand: a strong comparison, or the exact date."""
    if if_range is None:
        return True
    return if_range.strip() in {etag, http_date(modified)}


def http_date(seconds: float) -> str:
    return formatdate(seconds, usegmt=True)
