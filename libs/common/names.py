"""Which filenames and owners there can be."""

import re
import unicodedata
from mimetypes import MimeTypes

from libs.common.problems import Kind, Problem

MAX_FILENAME_BYTES = 255  # of UTF-8: what every file system and object store takes as one name
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
    """The name itself. Raises BAD_FILENAME for one that is empty, `.`, `..`, too long, not NFC, or that holds a
    slash, backslash, control character or lone surrogate."""
    problem = _what_is_wrong(filename)
    if problem:
        raise Problem(Kind.BAD_FILENAME, f"The filename {problem}.")
    return filename


def type_of(filename: str) -> str:
    """The media type that a name suggests."""
    guess, compression = _TYPES.guess_type(filename)
    if compression:  # the bytes are those of the compressed form
        guess = f"application/{compression}" if compression == "gzip" else None
    return guess or "application/octet-stream"


def _what_is_wrong(filename: str) -> str | None:
    if not filename:
        return "is empty"
    if filename.strip() in {".", "..", ""}:
        return "is only dots or spaces"
    if any(unicodedata.category(c) in {"Cc", "Cs"} or c in "/\\" for c in filename):
        return "holds a slash, a backslash or a control character"
    if len(filename.encode()) > MAX_FILENAME_BYTES:
        return f"is {len(filename.encode())} bytes long in UTF-8; at most {MAX_FILENAME_BYTES} are allowed"
    if filename.endswith(_RESERVED):
        return f"ends in {_RESERVED}, which object stores keep for themselves"
    if not unicodedata.is_normalized("NFC", filename):
        return "is not in Unicode normalization form C (NFC)"
    return None
