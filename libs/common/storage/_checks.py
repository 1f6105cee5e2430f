"""What every adapter refuses before it touches its store: ValueError, because the layout should not have asked."""

from collections.abc import Mapping, Sequence

from libs.common.storage import Body, Origin, PartInfo

RESERVED = ".hiper"  # first segment of no key: the filesystem adapter keeps its own files there
MAX_KEY_BYTES = 1024  # of the UTF-8 form, by the S3 API
MAX_SEGMENT_BYTES = 255  # of the UTF-8 form: NAME_MAX of the usual file systems; MinIO has the same limit
MAX_PARTS = 10_000  # by the S3 API


def check_key(key: str) -> None:
    """Refuse a key that some adapter cannot take, so that all take the same ones."""
    segments = key.split("/")
    if len(key.encode()) > MAX_KEY_BYTES or segments[0] == RESERVED or not all(map(_fits, segments)):
        raise ValueError(f"not a key for an object: {key!r}")


def check_prefix(prefix: str) -> None:
    """Refuse what no key can begin with, and what MinIO does not look for: a last segment `.` or `..`."""
    *folders, rest = prefix.split("/")
    if not all(map(_is_plain, [*folders, rest or "-"])):
        raise ValueError(f"not a prefix of keys: {prefix!r}")


def _is_plain(segment: str) -> bool:
    """Whether a segment names something below its parent. MinIO takes ` .. ` for `..`, hence the strip."""
    return segment != "" and segment.strip() not in (".", "..") and "\0" not in segment


def check_metadata(metadata: Mapping[str, str]) -> dict[str, str]:
    """The metadata with its names in lower case. Values travel as HTTP header fields (RFC 9110, section 5.5)."""
    for name, value in metadata.items():
        if not (_travels(name) and _travels(value)):
            raise ValueError(f"metadata must be printable ASCII without outer spaces: {name!r}: {value!r}")
    return {name.lower(): value for name, value in metadata.items()}


def check_condition(body: Body, absent: bool, match: str) -> None:
    """Refuse what no store keeps to: a condition on a copy, and two conditions at once."""
    if (absent or match) and isinstance(body, Origin):
        raise ValueError("no condition goes with a copy: stores ignore it")
    if absent and match:
        raise ValueError("an object cannot be absent and have an etag")


def check_part_number(number: int) -> None:
    if not 1 <= number <= MAX_PARTS:
        raise ValueError(f"part numbers go from 1 to {MAX_PARTS}, not {number}")


def check_parts(parts: Sequence[PartInfo]) -> None:
    """Refuse a list of parts that does not make one object: they are 1, 2, 3... and only the last is shorter."""
    if not parts or [part.number for part in parts] != list(range(1, len(parts) + 1)):
        raise ValueError(f"parts must be numbered from 1 without gaps: {[part.number for part in parts]}")
    if any(part.size != parts[0].size for part in parts[:-1]) or parts[-1].size > parts[0].size:
        raise ValueError("every part but the last must have the same size, and the last no more")


def _fits(segment: str) -> bool:
    return _is_plain(segment) and len(segment.encode()) <= MAX_SEGMENT_BYTES


def _travels(text: str) -> bool:
    return text.isascii() and text.isprintable() and text == text.strip()
