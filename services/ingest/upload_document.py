"""What the API document says of POST /upload."""

from typing import Annotated, Any

from fastapi import APIRouter, Header, Security

from libs.common.problems import Kind
from libs.common.security.authn import bearer
from libs.common.web.errors import problem_responses
from services.ingest.models import UploadAnswer
from services.ingest.parameters import (
    Absent,
    ContentDigest,
    ContentRange,
    FilenameQuery,
    HiperLabel,
    IfMatch,
    OwnerQuery,
    ReprDigest,
    TotalSize,
)

_PROBLEMS = problem_responses(
    Kind.MALFORMED_CHUNK,
    Kind.CHECKSUM_MISMATCH,
    Kind.DIGEST_MISMATCH,
    Kind.BAD_DIGEST,
    Kind.BAD_RANGE,
    Kind.CHUNK_TOO_SMALL,
    Kind.BAD_TOTAL_SIZE,
    Kind.OFFSET_TOO_LARGE,
    Kind.BAD_FILENAME,
    Kind.BAD_LABEL,
    Kind.BAD_REQUEST,
    Kind.UNAUTHORIZED,
    Kind.FORBIDDEN,
    Kind.TIMEOUT,
    Kind.TOTAL_SIZE_CONFLICT,
    Kind.CONTENT_CONFLICT,
    Kind.DIGEST_CONFLICT,
    Kind.NAME_CONFLICT,
    Kind.PRECONDITION_FAILED,
    Kind.TOO_LARGE,
    Kind.TOO_MANY_REQUESTS,
    Kind.TOO_MANY_UPLOADS,
    Kind.QUOTA_EXCEEDED,
    Kind.CLOSING,
    Kind.BUSY,
    Kind.NOT_READY,
    Kind.STORE_UNAVAILABLE,
    Kind.STORE_FULL,
)
_BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "description": "Either the 9-byte header (start u32, end u32 inclusive, checksum u8 = byte sum of the payload "
        "mod 256; big-endian) and the payload, or with a Content-Range header the payload alone.",
        "content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}},
    }
}


router = APIRouter(tags=["upload"])


@router.post("/upload", dependencies=[Security(bearer)], responses=_PROBLEMS, openapi_extra=_BODY)
async def upload(
    filename: FilenameQuery,
    total_size: TotalSize = None,
    owner: OwnerQuery = None,
    content_range: ContentRange = None,
    content_digest: ContentDigest = None,
    repr_digest: ReprDigest = None,
    hiper_label: HiperLabel = None,
    if_match: IfMatch = None,
    if_none_match: Annotated[str | Absent, Header(description="`*`: start an upload, only if none is there.")] = None,
) -> UploadAnswer:
    """Send a chunk. Chunks may come in any order, twice, overlapping and in parallel. Once this answers 200 its bytes
    are durable; `next_expected_byte` says where to go on."""
    raise AssertionError("The router finds the route of routes_upload first.")
