"""How far a file is: told once, at its next change, or with each change."""

from collections.abc import AsyncGenerator
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Header, Query, Request, Response
from fastapi.responses import JSONResponse

from libs.common.files.pins import etag
from libs.common.uploads.layout import FileId
from libs.common.uploads.states import FileState
from libs.common.web.errors import problem_responses
from services.ingest.access import file_address, file_to_see, visit
from services.ingest.manners import LONGEST_WAIT, STREAMED, manner_of, wait_of
from services.ingest.models import StatusAnswer
from services.ingest.parameters import OF_A_FILE, Absent
from services.ingest.state import Ingest, ingest
from services.ingest.streams import Item, MayLast

router = APIRouter(tags=["files"], dependencies=[Depends(file_address), Depends(visit)])

_RESPONSES: dict[int | str, dict[str, Any]] = {
    200: {"description": "How far the file is; in a stream, at each change", "content": STREAMED},
    **problem_responses(*OF_A_FILE),
}


@router.get("/files/{filename:path}/status", response_model=StatusAnswer, responses=_RESPONSES)
async def file_status(
    request: Request,
    lasting: MayLast,
    file: Annotated[FileId, Depends(file_to_see)],
    after: Annotated[
        str | Absent,
        Query(description="A `version` that was told before; empty: there was no file. It goes with `Prefer: wait`."),
    ] = None,
    _prefer: Annotated[
        str | Absent,
        Header(
            alias="Prefer",
            description="`wait=N`: where the version is still that of `after`, answer at its next change, at the "
            f"latest after N seconds. {LONGEST_WAIT} is the most.",
        ),
    ] = None,
) -> Response:
    """How far a file is. The ETag names its upload. With `Accept: text/event-stream` or `application/jsonl` a stream:
    the state now, and then each change, at most one a second."""
    running = ingest(request)
    if manner_of(request) != "once":
        return await lasting.stream(shown(running, file))
    seconds = wait_of(request)
    if seconds is None or after is None:
        return answer(running, await running.reader.state(file))
    async with running.watching.of(file) as watched:
        await lasting.wait(watched.differs(after), seconds)
        # Without a look yet: the server drains, or the wait was too short for it.
        state = watched.state() if watched.seen else await running.reader.state(file)
        return answer(running, state, {"Preference-Applied": f"wait={seconds}"})


async def shown(running: Ingest, file: FileId) -> AsyncGenerator[Item, None]:
    """The states of a file, from now on, for as long as there is one. Raises as `FileReader.state`."""
    async with running.watching.of(file) as watched:
        await watched.present()
        while True:
            state, version = watched.state(), watched.version
            yield Item(_told(running, state).model_dump_json(), id=state.version)
            await watched.other_than(version)


def answer(running: Ingest, state: FileState, fields: dict[str, str] | None = None) -> Response:
    headers = {"Cache-Control": "no-store", "Vary": "Accept, Prefer", **(fields or {})}
    if state.session:
        headers["ETag"] = etag(state.session)
    return JSONResponse(_told(running, state).model_dump(mode="json"), headers=headers)


def _told(running: Ingest, state: FileState) -> StatusAnswer:
    return StatusAnswer.of(state, running.settings.stale_threshold)
