"""POST /upload: the way of a chunk, from the headers to the acknowledgement."""

import re
from functools import partial
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Header, Request, Response

from libs.common.files.digests import parse_digests
from libs.common.files.labels import parse_labels
from libs.common.files.names import check_filename, type_of
from libs.common.problems import Kind, Problem
from libs.common.uploads.layout import FileId
from libs.common.uploads.pins import Pin, etag
from libs.common.uploads.writing import Ack, Chunk
from libs.common.web.errors import problem_responses
from services.ingest.access import Caller, Visiting, file_address, named, writable_owner
from services.ingest.bodies import Body
from services.ingest.metrics import RECEIVED
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
from services.ingest.receive import Received
from services.ingest.state import ingest
from services.ingest.wire import parse_content_range

MAX_MEDIA_TYPE = 1024  # bytes; stores keep 2 KiB of metadata with an object
# RFC 9110, section 8.3.1; the lengths: RFC 6838, section 4.2
_MEDIA_TYPE = re.compile(r"[!#$%&'*+.^_`|~\w-]{1,127}+/[!#$%&'*+.^_`|~\w-]{1,127}+[ -~]{0,200}+", re.ASCII)
_NO_TYPE = {"application/octet-stream", "application/x-www-form-urlencoded"}  # what clients send unasked
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


@router.post("/upload", dependencies=[Depends(file_address)], responses=_PROBLEMS, openapi_extra=_BODY)
async def upload(
    request: Request,
    response: Response,
    caller: Caller,
    visit: Visiting,
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
    state = ingest(request)
    file = named(FileId(writable_owner(caller, owner), check_filename(filename)))
    limit = state.settings.max_file_size
    total = None if total_size is None else check_total_size(total_size, limit)
    claim = None if content_range is None else parse_content_range(content_range, total)
    if claim:
        total = claim.total_size
        refuse_large_file(claim.extent.end if total is None else total, limit)
    elif total is None:
        raise Problem(Kind.BAD_REQUEST, "query.total_size is missing: the 9-byte header does not tell it.")
    whole = parse_digests("Repr-Digest", repr_digest)
    if whole and "sha-256" not in whole:
        raise Problem(Kind.BAD_DIGEST, "Repr-Digest must hold a sha-256 digest: it is the one that is checked.")
    sent = parse_digests("Content-Digest", content_digest)
    least = claim.extent.end if claim else 0  # bytes that the file has at least
    admit = partial(state.quotas.admit, file, least if total is None else total, visit.allowance)
    if total is None or not state.writer.knows(file):
        await admit()
    asked = Pin.parse(if_match, if_none_match)
    make = partial(
        Chunk,
        file,
        total,
        declared=whole["sha-256"].hex() if whole else "",
        content_type=media_type(request.headers.get("content-type", ""), filename),
        labels=parse_labels(hiper_label or []),
        admit=admit,
    )

    async def store(received: Received, pin: Pin | None = None) -> Ack:
        RECEIVED.inc(received.payload.extent.length)
        chunk = make(payload=received.payload, digests=received.extent_digests, pin=pin or asked)
        return await state.writer.write(chunk)

    body = Body(request, state, visit)
    if claim is None:
        ack = await body.framed(total or 0, sent, store)
    elif sent:
        ack = await body.raw(claim, sent, store)
    else:
        ack = await body.stream(claim.extent, store)
    state.witness.stored(caller, file, ack.session)
    response.headers["ETag"] = etag(ack.session)
    return answer(file, ack)


def answer(file: FileId, ack: Ack) -> UploadAnswer:
    return UploadAnswer(
        filename=file.filename,
        owner=file.owner,
        status="complete" if ack.complete else "pending",
        next_expected_byte=ack.offset,
        total_size=ack.total_size,
        session=ack.session,
    )


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
