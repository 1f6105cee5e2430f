"""Which filenames and owners there can be."""

import re
import unicodedata
from mimetypes import MimeTypes

from libs.common.problems import Kind, Problem

MAX_SEGMENT_BYTES = 255  # of UTF-8, between two slashes: every file system and MinIO take so many
MAX_FILENAME_BYTES = 850  # of UTF-8: a key of S3 has at most 1,024, and the layout adds at most 150
_RESERVED = "__XLDIR__"  # how MinIO writes a name that ends in a slash
_TYPES = MimeTypes()  # Python's own table: every service knows the same types, whatever machine it is on
FLEET = "fleet"  # the owner of what is published to every device
SUBJECT = r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}"  # of a token, and so an owner; `..` is not allowed either


def valid_owner(name: str) -> bool:
    """Whether files can belong to it: a device, or `fleet`. Such a name is safe as a segment of a storage key."""
    return bool(re.fullmatch(SUBJECT, name)) and ".." not in name


def valid_filename(filename: str) -> bool:
    return _what_is_wrong(filename) is None


def check_filename(filename: str) -> str:
    """The name itself: segments joined by `/`. Raises BAD_FILENAME for one that is too long or not NFC, for a segment
    that is empty, `.`, `..` or too long, for a backslash, a control character or a lone surrogate, and for a file
    `status` in a folder: its address is that of a status."""
    problem = _what_is_wrong(filename)
    if problem:
        raise Problem(Kind.BAD_FILENAME, f"The filename {problem}.")
    return filename


def check_prefix(prefix: str) -> str:
    """The prefix itself. Raises BAD_REQUEST for one that no filename begins with."""
    *folders, rest = prefix.split("/")
    problem = _wrong_text(prefix, MAX_FILENAME_BYTES)
    for folder in folders:
        problem = problem or _wrong_segment(folder)
    if problem or rest.startswith("="):
        raise Problem(Kind.BAD_REQUEST, "No filename begins with what `prefix` says.")
    return prefix


def folders_of(filename: str) -> list[str]:
    """The folders that a file lies in, the outermost first: `a` and `a/b` of `a/b/c`."""
    segments = filename.split("/")
    return ["/".join(segments[:n]) for n in range(1, len(segments))]


def type_of(filename: str) -> str:
    """The media type that a name suggests."""
    guess, compression = _TYPES.guess_type(filename)
    if compression:  # the bytes are those of the compressed form
        guess = f"application/{compression}" if compression == "gzip" else None
    return guess or "application/octet-stream"


def _what_is_wrong(filename: str) -> str | None:
    if problem := _wrong_text(filename, MAX_FILENAME_BYTES):
        return problem
    segments = filename.split("/")
    for segment in segments:
        if problem := _wrong_segment(segment):
            return problem if len(segments) == 1 else f"has a segment that {problem}: {segment[:40]!r}"
    if len(segments) > 1 and segments[-1] == "status":
        return "ends in /status, which is the address of a status"
    return None


def _wrong_text(text: str, most: int) -> str | None:
    if any(unicodedata.category(c) in {"Cc", "Cs"} or c == "\\" for c in text):
        return "holds a backslash or a control character"
    if len(text.encode()) > most:
        return f"is {len(text.encode())} bytes long in UTF-8; at most {most} are allowed"
    if not unicodedata.is_normalized("NFC", text):
        return "is not in Unicode normalization form C (NFC)"
    return None


def _wrong_segment(segment: str) -> str | None:
    if not segment:
        return "is empty"
    if segment.strip() in {".", "..", ""}:
        return "is only dots or spaces"
    if len(segment.encode()) > MAX_SEGMENT_BYTES:
        return (
            f"is {len(segment.encode())} bytes long in UTF-8; at most {MAX_SEGMENT_BYTES} are allowed between two "
            "slashes"
        )
    if segment.startswith("="):
        return "begins with '=', which the server keeps for itself"
    if segment.endswith(_RESERVED):
        return f"ends in {_RESERVED}, which object stores keep for themselves"
    return None
