"""Download, listing and deletion."""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from functools import partial
from typing import Annotated, Any, Literal
from urllib.parse import quote

from fastapi import APIRouter, Depends, Header, Query, Request, Response
from fastapi.responses import StreamingResponse
from starlette.convertors import Convertor, register_url_convertor
from starlette.types import Send

from libs.common.files.digests import format_sha256
from libs.common.files.extents import Extent
from libs.common.files.names import check_prefix
from libs.common.files.pins import Pin, etag, parse_tags
from libs.common.problems import Kind, Problem
from libs.common.storage import ObjectNotFound
from libs.common.uploads.cancelling import cancel
from libs.common.uploads.holdings import Section
from libs.common.uploads.layout import FileId
from libs.common.uploads.states import FileState
from libs.common.web.errors import problem_responses
from services.ingest.access import (
    Caller,
    Visiting,
    file_address,
    file_to_delete,
    file_to_read,
    listed_owner,
    visit,
)
from services.ingest.gate import Visit
from services.ingest.listing import Wanted
from services.ingest.models import FilesAnswer
from services.ingest.parameters import COMMON, OF_A_FILE, Absent, IfMatch, OwnerQuery
from services.ingest.ranges import http_date, parse_range, range_applies
from services.ingest.state import Ingest, ingest


class _Filename(Convertor[str]):
    """A path, slashes included. What looks like a file's status is none."""

    regex = "(?!.*/status$).*"

    def convert(self, value: str) -> str:
        return value

    def to_string(self, value: str) -> str:
        return value


register_url_convertor("filename", _Filename())
router = APIRouter(tags=["files"], dependencies=[Depends(file_address), Depends(visit)])

_BYTES = {"*/*": {"schema": {"type": "string", "format": "binary"}}}
_DOWNLOAD: dict[int | str, dict[str, Any]] = {
    200: {"description": "The file", "content": _BYTES},
    206: {"description": "The range, as far as it is there", "content": _BYTES},
    304: {"description": "Not modified"},
    **problem_responses(
        *(
            *OF_A_FILE,
            Kind.UPLOAD_INCOMPLETE,
            Kind.PRECONDITION_FAILED,
            Kind.RANGE_NOT_SATISFIABLE,
            Kind.CLOSING,
            Kind.BUSY,
        )
    ),
}
_TRIES = 2  # how often a file may end, and another be there, before its first byte
Readable = Annotated[FileId, Depends(file_to_read)]


@router.get("/files", responses=problem_responses(*COMMON))
async def list_files(
    request: Request,
    caller: Caller,
    owner: OwnerQuery = None,
    limit: Annotated[int, Query(ge=1, le=1000, description="At most so many files and folders.")] = 100,
    after: Annotated[str | Absent, Query(description="`next` of the page before.")] = None,
    status: Annotated[Section | Absent, Query(description="Only files of this status.")] = None,
    prefix: Annotated[str, Query(description="Only files whose names begin with this.")] = "",
    delimiter: Annotated[
        Literal["/"] | Absent, Query(description="Show the names that hold it behind the prefix as `folders`.")
    ] = None,
    labels: Annotated[
        bool, Query(description="Tell the labels of complete files too: it takes a request to the store for each.")
    ] = False,
) -> FilesAnswer:
    """An owner's files."""
    whose = listed_owner(caller, owner)
    wanted = Wanted(whose, check_prefix(prefix), delimiter or "", status, labels)
    page = await ingest(request).lister.page(wanted, limit, after)
    ingest(request).witness.listed(caller, whose)
    return FilesAnswer.of(whose, page)


@router.head("/files/{filename:filename}", response_class=StreamingResponse, responses=_DOWNLOAD)
@router.get("/files/{filename:filename}", response_class=StreamingResponse, responses=_DOWNLOAD)
async def download(
    request: Request,
    caller: Caller,
    file: Readable,
    visit: Visiting,
    range_: Annotated[str | Absent, Header(alias="Range", description="One range of bytes.")] = None,
    if_range: Annotated[str | Absent, Header(description="ETag or date that the range depends on.")] = None,
    if_match: IfMatch = None,
    if_none_match: Annotated[str | Absent, Header()] = None,
) -> Response:
    """Download a file or a range of it. Of an unfinished file, ranges of the bytes that are there without a gap."""
    for _ in range(_TRIES):
        state = await ingest(request).reader.state(file)
        Pin.parse(if_match, None).admit([state.session])
        try:
            answer = await respond(request, visit, state, range_, if_range, if_none_match)
        except ObjectNotFound:
            ingest(request).reader.forget(file)
            continue
        if isinstance(answer, StreamingResponse):
            ingest(request).witness.read(caller, file)
        return answer
    raise Problem(Kind.CLOSING, "The upload is being closed: its bytes are moved, or deleted. Try again shortly.")


async def respond(
    request: Request,
    visit: Visit,
    state: FileState,
    range_: str | None,
    if_range: str | None,
    if_none_match: str | None,
) -> Response:
    """Raises ObjectNotFound where the bytes are not any more what the state says."""
    headers = describe(state)
    if if_none_match is not None and state.state == "complete" and not_modified(if_none_match, state):
        return Response(status_code=304, headers=headers)
    wanted = None
    # Only GET knows ranges: RFC 9110, section 14.2
    if request.method == "GET" and range_applies(if_range, etag(state.session), state.modified):
        wanted = parse_range(range_, state.end, state.offset)
    if wanted is None and state.state != "complete":
        raise Problem(
            Kind.UPLOAD_INCOMPLETE,
            f"{state.offset} of {state.total_size} bytes are there without a gap. Ask for them with "
            "'Range: bytes=0-', or wait until the status is complete.",
            next_expected_byte=state.offset,
            total_size=state.total_size,
        )
    extent = wanted or Extent(0, state.end)
    headers["Content-Length"] = str(extent.length)
    if wanted:
        headers["Content-Range"] = f"bytes {extent.start}-{extent.end - 1}/{state.total_size}"
    status = 206 if wanted else 200
    if request.method == "HEAD":
        return Response(status_code=status, headers=headers)
    body = await started(ingest(request), state, extent, visit.who)
    return Stream(visit.paced(body), status, headers)


@router.delete(
    "/files/{filename:filename}",
    status_code=204,
    responses=problem_responses(*OF_A_FILE, Kind.PRECONDITION_FAILED),
)
async def delete(
    request: Request,
    caller: Caller,
    file: Annotated[FileId, Depends(file_to_delete)],
    if_match: IfMatch = None,
) -> None:
    """Cancel an upload or delete a file: one's own, or with the scope `fleet:manage` that of any `owner`. From the
    answer on no chunk of it is acknowledged, and a new upload of the name may start at once."""
    running = ingest(request)
    with running.witness.deleting(caller, file):
        await cancel(running.tools, file, Pin.parse(if_match, None))
    running.quotas.forget(file.owner)


def describe(state: FileState) -> dict[str, str]:
    """The headers that a download has in every form."""
    name = state.file.filename.rpartition("/")[2]
    plain = name.encode("ascii", "replace").decode().replace("\\", "_").replace('"', "_")
    headers = {
        "Accept-Ranges": "bytes",
        "Content-Disposition": f"attachment; filename=\"{plain}\"; filename*=UTF-8''{quote(name, safe='')}",
        "Last-Modified": http_date(state.modified),
        "X-Content-Type-Options": "nosniff",
        "Cache-Control": "private, no-cache",
        "Content-Type": state.content_type,  # here, because a media_type of text would get a charset added
    }
    if state.session:
        headers["ETag"] = etag(state.session)
    if state.sha256:
        headers["Repr-Digest"] = format_sha256(state.sha256)
    return headers


def not_modified(field: str, state: FileState) -> bool:
    tags = parse_tags(field)
    return "*" in tags or state.session in tags


async def started(running: Ingest, state: FileState, extent: Extent, device: str) -> AsyncGenerator[bytes, None]:
    """The bytes, of which the first block is here already: what fails before it can still be answered otherwise."""
    blocks = running.downloads.blocks(partial(running.reader.blocks, state), extent, device)
    return _resumed(await anext(blocks, b""), blocks)


async def _resumed(first: bytes, rest: AsyncGenerator[bytes, None]) -> AsyncGenerator[bytes, None]:
    async with aclosing(rest):
        yield first
        async for block in rest:
            yield block


class Stream(StreamingResponse):
    """Closes its blocks in the end, whoever ends it: else they hold on to the store until somebody collects them."""

    def __init__(self, blocks: AsyncGenerator[bytes, None], status: int, headers: dict[str, str]) -> None:
        super().__init__(blocks, status, headers)
        self._blocks = blocks

    async def stream_response(self, send: Send) -> None:
        async with aclosing(self._blocks):
            await super().stream_response(send)
