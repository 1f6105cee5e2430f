"""GET /uploads: all uploads in progress at a glance."""

import base64
import binascii
import json
import re
from typing import Annotated, Literal

from fastapi import APIRouter, Depends, Header, Query, Request, Response
from fastapi.responses import StreamingResponse

from libs.common.files.labels import KEY, VALUE, parse_labels
from libs.common.files.names import SUBJECT, check_prefix, valid_filename, valid_owner
from libs.common.fleet.filters import Filter
from libs.common.problems import Kind, Problem
from libs.common.security.allowance import CLASS, valid_class
from libs.common.security.authn import FLEET_MANAGE, FLEET_READ
from libs.common.security.tokens import Principal
from libs.common.uploads.layout import FileId
from libs.common.web.errors import problem_responses
from services.ingest.access import Caller, file_address, listed_owner, visit
from services.ingest.fleet_stream import changes_of
from services.ingest.keeper import Kept
from services.ingest.manners import STREAMED, manner_of, wait_of
from services.ingest.models_fleet import UploadItem, UploadsAnswer
from services.ingest.parameters import COMMON, Absent
from services.ingest.state import ingest
from services.ingest.streams import MayLast

router = APIRouter(tags=["files"], dependencies=[Depends(file_address), Depends(visit)])

_PARAMETERS = frozenset({"owner", "status", "stuck", "prefix", "class", "label", "limit", "after"})
_VERSION = re.compile("v[0-9a-f]{8}-[0-9]{1,18}")


async def _wanted(
    request: Request,
    caller: Caller,
    owner: Annotated[
        str | Absent,
        Query(
            description="Whose uploads. Default: those of all owners with the scope `fleet:read`, else the caller's.",
            json_schema_extra={"pattern": f"^{SUBJECT}$"},
        ),
    ] = None,
    status: Annotated[Literal["pending", "partial"] | Absent, Query(description="Only those of this status.")] = None,
    stuck: Annotated[
        bool | Absent, Query(description="Only those that are stuck, or with `false`, that are not.")
    ] = None,
    prefix: Annotated[str, Query(description="Only files whose names begin with this.")] = "",
    device_class: Annotated[
        str | Absent,
        Query(
            alias="class",
            description="Only of devices of this class.",
            json_schema_extra={"pattern": f"^{CLASS}$"},
        ),
    ] = None,
    label: Annotated[
        str | Absent,
        Query(
            description="Only those with this label, as `key=value`; with all of several, separated by commas.",
            json_schema_extra={"pattern": f"^{KEY}={VALUE}(,{KEY}={VALUE})*$"},
        ),
    ] = None,
) -> Filter:
    """Raises BAD_REQUEST for a filter that is none, and FORBIDDEN for the uploads of others without the scope."""
    unknown = sorted(request.query_params.keys() - _PARAMETERS)
    if unknown:
        known = ", ".join(sorted(_PARAMETERS))
        raise Problem(Kind.BAD_REQUEST, f"There is no filter {unknown[0][:40]!r}. There are: {known}.")
    if device_class is not None and not valid_class(device_class):
        raise Problem(Kind.BAD_REQUEST, "class must be the name of a device class: 1 to 32 of a-z, 0-9, '_', '-'.")
    whose = None if owner is None and _sees_all(caller) else listed_owner(caller, owner)
    return Filter(whose, status, stuck, check_prefix(prefix), device_class, _labels(label))


@router.get(
    "/uploads", response_model=UploadsAnswer, responses={200: {"content": STREAMED}, **problem_responses(*COMMON)}
)
async def list_uploads(
    request: Request,
    response: Response,
    caller: Caller,
    lasting: MayLast,
    wanted: Annotated[Filter, Depends(_wanted)],
    limit: Annotated[int, Query(ge=1, le=1000, description="At most so many uploads in a list.")] = 100,
    after: Annotated[
        str | Absent,
        Query(
            description="`next` of the page before. Or a `version`: with `Prefer: wait=N` the answer comes at the "
            "first change since then, or after N seconds (at most 60); and a stream goes on from there."
        ),
    ] = None,
    last_event_id: Annotated[str | Absent, Header(description="As `after`, for a stream.")] = None,
) -> UploadsAnswer | StreamingResponse:
    """Uploads in progress, those of all devices with the scope `fleet:read`: how far each is, how fast it goes, what it
    waits for, and whether it is stuck. It is as the last look of the janitor at the whole bucket saw it, at `as_of`,
    with what this server heard since. With `Accept: text/event-stream` or `application/jsonl` a stream: the list, then
    each change."""
    running = ingest(request)
    version = after if after is not None and _VERSION.fullmatch(after) else None
    begin = _decode(after) if after and not version else None
    kept = await running.keeper.uploads(wanted.owner)
    running.witness.watched(caller, wanted.owner)
    if manner_of(request) != "once":
        return await lasting.stream(
            changes_of(kept, wanted, version or last_event_id, running.settings.stale_threshold)
        )
    seconds = wait_of(request)
    if version and seconds is not None:
        response.headers["Preference-Applied"] = f"wait={seconds}"
        await lasting.wait(kept.wait(version, wanted, seconds), seconds)
    response.headers["Vary"] = "Accept, Prefer"
    return await page(kept, wanted, limit, begin, running.settings.stale_threshold)


async def page(kept: Kept, wanted: Filter, limit: int, after: FileId | None, stale_threshold: float) -> UploadsAnswer:
    """At most `limit` uploads behind a name. `stale_threshold` in seconds."""
    version, now, items, following = kept.version, kept.now(), list[UploadItem](), None
    async for row in kept.live.matching(wanted, after, now):
        if len(items) == limit:
            following = _encode(FileId(items[-1].owner, items[-1].filename))
            break
        items.append(UploadItem.of(row, now, stuck=kept.live.is_stuck(row, now), stale_threshold=stale_threshold))
    return UploadsAnswer.of(items, following, version, kept.live.as_of, kept.hears_all(wanted.owner))


def _sees_all(caller: Principal) -> bool:
    return not caller.scopes.isdisjoint({FLEET_READ, FLEET_MANAGE})


def _labels(text: str | None) -> dict[str, str]:
    try:
        return parse_labels([text]) if text is not None else {}
    except Problem as problem:
        detail = problem.detail.replace("Hiper-Label", "`label`")
        raise Problem(Kind.BAD_REQUEST, f"No upload has such labels. {detail}") from None


def _encode(last: FileId) -> str:
    return base64.urlsafe_b64encode(json.dumps(last).encode()).decode()


def _decode(cursor: str) -> FileId:
    try:
        owner, filename = json.loads(base64.b64decode(cursor, b"-_", validate=True))
        if not (valid_owner(owner) and valid_filename(filename)):
            raise ValueError(cursor)
    except (binascii.Error, TypeError, ValueError, RecursionError):
        raise Problem(Kind.BAD_REQUEST, "The cursor in `after` is not one that this server gave.") from None
    return FileId(owner, filename)
