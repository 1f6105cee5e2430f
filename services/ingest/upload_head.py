"""The head of a chunk's request: all that a device says before the body."""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from libs.common.files.digests import parse_digests
from libs.common.files.labels import parse_labels
from libs.common.files.names import check_filename, type_of
from libs.common.files.pins import Pin
from libs.common.problems import Kind, Problem
from libs.common.security.tokens import Principal
from libs.common.uploads.layout import FileId
from libs.common.web.requests import Head
from services.ingest.access import writable_owner
from services.ingest.wire import Claim, parse_content_range

MAX_MEDIA_TYPE = 1024  # bytes; stores keep 2 KiB of metadata with an object
# RFC 9110, section 8.3.1; the lengths: RFC 6838, section 4.2
_MEDIA_TYPE = re.compile(r"[!#$%&'*+.^_`|~\w-]{1,127}+/[!#$%&'*+.^_`|~\w-]{1,127}+[ -~]{0,200}+", re.ASCII)
_NO_TYPE = {"application/octet-stream", "application/x-www-form-urlencoded"}  # what clients send unasked


@dataclass(frozen=True, slots=True)
class UploadHead:
    """`total_size`: of the file in bytes, None where the device does not know it yet. `claim`: the chunk's range, None
    in the header form, whose body begins with it. `whole`: the declared SHA-256 of the file in hex, or empty. `sent`:
    digests of the body by algorithm."""

    file: FileId
    total_size: int | None
    claim: Claim | None
    whole: str
    sent: dict[str, bytes]
    pin: Pin
    content_type: str
    labels: Mapping[str, str]

    @property
    def least_size(self) -> int:
        """Bytes that the file has at least."""
        if self.total_size is not None:
            return self.total_size
        return self.claim.extent.end if self.claim else 0


def read_upload_head(head: Head, caller: Principal, limit: int) -> UploadHead:
    """`limit`: bytes of the largest file. Raises Problem; `upload_document` names the same parameters and fields."""
    filename = head.query.get("filename")
    if filename is None:
        missing = {"loc": ["query", "filename"], "msg": "Field required", "type": "missing"}
        raise Problem(Kind.BAD_REQUEST, "query.filename: Field required", errors=[missing])
    file = FileId(writable_owner(caller, head.query.get("owner")), check_filename(filename))
    total_size, claim = _sizes(head.query.get("total_size"), head.field("content-range"), limit)
    return UploadHead(
        file,
        total_size,
        claim,
        _whole_digest(head.field("repr-digest")),
        parse_digests("Content-Digest", head.field("content-digest")),
        Pin.parse(head.field("if-match"), head.field("if-none-match")),
        media_type(head.field("content-type") or "", filename),
        parse_labels(head.fields.get("hiper-label", ())),
    )


def _sizes(told: str | None, content_range: str | None, limit: int) -> tuple[int | None, Claim | None]:
    """The total size in bytes, where it is known, and the claim of the raw form."""
    total_size = None if told is None else check_total_size(told, limit)
    if content_range is not None:
        claim = parse_content_range(content_range, total_size)
        refuse_large_file(claim.extent.end if claim.total_size is None else claim.total_size, limit)
        return claim.total_size, claim
    if total_size is None:
        raise Problem(Kind.BAD_REQUEST, "query.total_size is missing: the 9-byte header does not tell it.")
    return total_size, None


def _whole_digest(field: str | None) -> str:
    digests = parse_digests("Repr-Digest", field)
    if digests and "sha-256" not in digests:
        raise Problem(Kind.BAD_DIGEST, "Repr-Digest must hold a sha-256 digest: it is the one that is checked.")
    return digests["sha-256"].hex() if digests else ""


def check_total_size(value: str, limit: int) -> int:
    """Raises BAD_TOTAL_SIZE, or TOO_LARGE beyond the limit in bytes."""
    if not re.fullmatch(r"[0-9]{1,30}", value):
        raise Problem(
            Kind.BAD_TOTAL_SIZE, f"total_size is {value[:40]!r}; it must be a whole number of bytes, 0 or more."
        )
    refuse_large_file(int(value), limit)
    return int(value)


def refuse_large_file(size: int, limit: int) -> None:
    if size > limit:
        detail = f"The file has {size} bytes or more; this server takes files of at most {limit}."
        raise Problem(Kind.TOO_LARGE, detail, limited="file", limit=limit)


def media_type(sent: str, filename: str) -> str:
    """The file's media type: what the client says, or what the name suggests. It is stored and sent back, so
    what is not a media type does not count. Raises BAD_REQUEST for one that no store would keep."""
    if len(sent) > MAX_MEDIA_TYPE:
        raise Problem(Kind.BAD_REQUEST, f"Content-Type has {len(sent)} bytes; at most {MAX_MEDIA_TYPE} are allowed.")
    if _MEDIA_TYPE.fullmatch(sent) and sent.partition(";")[0].strip().lower() not in _NO_TYPE:
        return sent
    return type_of(filename)
