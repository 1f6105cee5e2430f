"""POST /upload: the way of a chunk, from the headers to the acknowledgement."""

import re
from collections.abc import AsyncIterator
from functools import partial
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Header, Request, Response
from starlette.requests import ClientDisconnect

from libs.common.digests import parse_digests
from libs.common.layout import FileId, part_size
from libs.common.names import check_filename, type_of
from libs.common.problems import Kind, Problem
from libs.common.uploads.pins import Pin, etag
from libs.common.web.errors import problem_responses
from services.ingest.access import Caller, Visiting, file_address, named, writable_owner
from services.ingest.metrics import RECEIVED
from services.ingest.models import UploadAnswer
from services.ingest.parameters import (
    Absent,
    ContentDigest,
    ContentRange,
    FilenameQuery,
    IfMatch,
    OwnerQuery,
    ReprDigest,
    TotalSize,
)
from services.ingest.receive import Received, receive, timed, wrong_length
from services.ingest.state import Ingest, ingest
from services.ingest.wire import HEADER, Claim, parse_content_range, parse_header, refuse_unreachable
from services.ingest.writing import Ack, Chunk

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
    Kind.BAD_REQUEST,
    Kind.UNAUTHORIZED,
    Kind.FORBIDDEN,
    Kind.TIMEOUT,
    Kind.TOTAL_SIZE_CONFLICT,
    Kind.CONTENT_CONFLICT,
    Kind.DIGEST_CONFLICT,
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
    total_size: TotalSize,
    owner: OwnerQuery = None,
    content_range: ContentRange = None,
    content_digest: ContentDigest = None,
    repr_digest: ReprDigest = None,
    if_match: IfMatch = None,
    if_none_match: Annotated[str | Absent, Header(description="`*`: start an upload, only if none is there.")] = None,
) -> UploadAnswer:
    """Send a chunk. Chunks may come in any order, twice, overlapping and in parallel. Once this answers 200 its bytes
    are durable; `next_expected_byte` says where to go on."""
    state = ingest(request)
    file = named(FileId(writable_owner(caller, owner), check_filename(filename)))
    total = check_total_size(total_size, state.settings.max_file_size)
    whole = parse_digests("Repr-Digest", repr_digest)
    if whole and "sha-256" not in whole:
        raise Problem(Kind.BAD_DIGEST, "Repr-Digest must hold a sha-256 digest: it is the one that is checked.")
    sent = parse_digests("Content-Digest", content_digest)
    content_type = media_type(request.headers.get("content-type", ""), filename)
    length = declared_length(request)
    admit = partial(state.quotas.admit, file, total, visit.allowance)
    if not state.writer.knows(file):
        await admit()
    blocks = timed(_body(request), state.deadline)
    prefix = b""
    if content_range is None:
        refuse_unreachable(total)
        refuse_large(state, length - HEADER.size if length is not None else 0)
        await visit.take_bytes(length or 0)
        prefix, blocks = await take(blocks, HEADER.size)
        claim = header_claim(prefix, total)
    else:
        claim = parse_content_range(content_range, total)
    refuse_large(state, claim.extent.length)
    if length is None or content_range is not None:  # else they are counted already
        await visit.take_bytes(claim.extent.length)
    if length is not None and length != len(prefix) + claim.extent.length:
        raise wrong_length(claim.extent, str(length - len(prefix)))
    async with receive(blocks, claim.extent, part_size(total), sent, prefix, state.budget) as received:
        verify(received, claim, sent)
        RECEIVED.inc(claim.extent.length)
        pin = Pin.parse(if_match, if_none_match)
        declared = whole["sha-256"].hex() if whole else ""
        chunk = Chunk(file, total, received.payload, received.extent_digests, declared, pin, content_type, admit)
        ack = await state.writer.write(chunk)
    state.witness.stored(caller, file, ack.session)
    response.headers["ETag"] = etag(ack.session)
    return answer(file, total, ack)


def answer(file: FileId, total_size: int, ack: Ack) -> UploadAnswer:
    return UploadAnswer(
        filename=file.filename,
        owner=file.owner,
        status="complete" if ack.complete else "pending",
        next_expected_byte=ack.offset,
        total_size=total_size,
        session=ack.session,
    )


def check_total_size(value: str, limit: int) -> int:
    """Raises BAD_TOTAL_SIZE, or TOO_LARGE beyond the limit in bytes."""
    if not re.fullmatch(r"[0-9]{1,30}", value):
        raise Problem(
            Kind.BAD_TOTAL_SIZE, f"total_size is {value[:40]!r}; it must be a whole number of bytes, 0 or more."
        )
    if int(value) > limit:
        detail = f"total_size is {int(value)} bytes; this server takes files of at most {limit}."
        raise Problem(Kind.TOO_LARGE, detail, limited="file", limit=limit)
    return int(value)


def declared_length(request: Request) -> int | None:
    """Content-Length in bytes, where the client gave one: the server refuses what is not a number."""
    length = request.headers.get("content-length")
    return None if length is None else int(length)


def refuse_large(state: Ingest, payload: int) -> None:
    limit = state.settings.max_chunk_size
    if payload > limit:
        detail = f"A chunk of {payload} bytes; this server takes at most {limit}. Send smaller ones."
        raise Problem(Kind.TOO_LARGE, detail, limited="chunk", limit=limit)


def header_claim(header: bytes, total_size: int) -> Claim:
    if not header and total_size == 0:
        return parse_content_range("bytes */0", 0)
    if len(header) < HEADER.size:
        raise Problem(
            Kind.MALFORMED_CHUNK, f"The body has {len(header)} bytes; it must begin with a header of {HEADER.size}."
        )
    return parse_header(header, total_size)


async def take(blocks: AsyncIterator[bytes], size: int) -> tuple[bytes, AsyncIterator[bytes]]:
    """The first `size` bytes (fewer if the body ends before), and the rest."""
    first = bytearray()
    while len(first) < size and (block := await anext(blocks, b"")):
        first += block
    return bytes(first[:size]), _chain(bytes(first[size:]), blocks)


async def _chain(block: bytes, rest: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    if block:
        yield block
    async for more in rest:
        yield more


async def _body(request: Request) -> AsyncIterator[bytes]:
    try:
        async for block in request.stream():
            yield block
    except ClientDisconnect:
        raise Problem(Kind.TIMEOUT, "The client went away before the body was whole.") from None


def verify(received: Received, claim: Claim, sent: dict[str, bytes]) -> None:
    """Raises CHECKSUM_MISMATCH and DIGEST_MISMATCH."""
    if claim.checksum is not None and claim.checksum != received.checksum:
        raise Problem(
            Kind.CHECKSUM_MISMATCH,
            f"The header says {claim.checksum}, the byte sum of the payload mod 256 is {received.checksum}. Nothing "
            "is stored: send the chunk again.",
        )
    for algorithm, digest in sent.items():
        if received.content_digests[algorithm] != digest:
            raise Problem(
                Kind.DIGEST_MISMATCH,
                f"Content-Digest does not match the {algorithm} of the body. Nothing is stored: send the chunk again.",
            )


def media_type(sent: str, filename: str) -> str:
    """The file's media type: what the client says, or what the name suggests. It is stored and sent back, so
    what is not a media type does not count. Raises BAD_REQUEST for one that no store would keep."""
    if len(sent) > MAX_MEDIA_TYPE:
        raise Problem(Kind.BAD_REQUEST, f"Content-Type has {len(sent)} bytes; at most {MAX_MEDIA_TYPE} are allowed.")
    if _MEDIA_TYPE.fullmatch(sent) and sent.partition(";")[0].strip().lower() not in _NO_TYPE:
        return sent
    return type_of(filename)
