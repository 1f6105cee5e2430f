"""GET /feed: every outcome of every file, for readers that must miss none."""

from typing import Annotated

from fastapi import APIRouter, Depends, Header, Query, Request, Response
from fastapi.responses import StreamingResponse
from pydantic import BaseModel, Field

from libs.common.bus.events import Outcome
from libs.common.feed.names import NAMES
from libs.common.feed.positions import Position, oldest_kept
from libs.common.feed.tail import Batch, Wanted, wanting
from libs.common.problems import Kind, Problem
from libs.common.security.authn import FLEET_READ
from libs.common.security.tokens import Principal
from libs.common.web.errors import problem_responses
from services.ingest.access import Caller, file_address, readable_owner, visit
from services.ingest.feed_stream import first_after, outcomes_of
from services.ingest.manners import STREAMED, manner_of, wait_of
from services.ingest.parameters import COMMON, Absent, OwnerQuery
from services.ingest.state import Ingest, ingest
from services.ingest.streams import MayLast

NOW = "now"
_OUTCOMES = f"^({'|'.join(NAMES)})(,({'|'.join(NAMES)}))*$"
Limit = Annotated[int, Query(ge=1, le=1000, description="At most so many events.")]
After = Annotated[
    str | Absent,
    Query(
        description="`next` of the page before, or the id of an event of a stream; `now`: only what comes from now "
        "on. Default: all that is kept."
    ),
]
Outcomes = Annotated[
    str | Absent,
    Query(
        description=f"Only these, with commas between: {', '.join(f'`{name}`' for name in NAMES)}. Default: all.",
        pattern=_OUTCOMES,
        json_schema_extra={"pattern": _OUTCOMES},  # FastAPI leaves `pattern` out of the schema of a union
    ),
]

router = APIRouter(tags=["feed"], dependencies=[Depends(file_address), Depends(visit)])


class FeedAnswer(BaseModel):
    """A page of the feed."""

    events: list[Annotated[Outcome, Field(discriminator="type")]] = Field(
        description="In the order of the feed. An event may come twice: the second has the same `id`."
    )
    next: str = Field(description="Give it as `after` for the page after this one, now or later. There always is one.")
    more: bool = Field(description="Whether that page can be read at once. False: it is for what is still to come.")

    @classmethod
    def of(cls, batch: Batch) -> "FeedAnswer":
        return cls(events=[told.outcome for told in batch.told], next=batch.next.cursor, more=batch.more)


@router.get(
    "/feed",
    response_model=FeedAnswer,
    responses={200: {"content": STREAMED}, **problem_responses(*COMMON, Kind.FEED_EXPIRED)},
)
async def feed(
    request: Request,
    response: Response,
    caller: Caller,
    lasting: MayLast,
    after: After = None,
    limit: Limit = 100,
    owner: OwnerQuery = None,
    outcome: Outcomes = None,
    last_event_id: Annotated[str | Absent, Header(description="As `after`, for a stream, and before it.")] = None,
) -> FeedAnswer | StreamingResponse:
    """What became of files: complete, parked, rejected, deleted, each at least once. With the scope `fleet:read` of all
    owners, unless one is named; else of one's own files. An outcome is shown some seconds after it came true, when
    nothing can appear before it. With `Prefer: wait=N` an empty page waits N seconds, at most 60, for an outcome.
    With `Accept: text/event-stream` or `application/jsonl` a stream: what is kept, then each outcome as it comes."""
    running, wanted = ingest(request), chosen(caller, owner, outcome)
    if manner_of(request) != "once":
        return await lasting.stream(outcomes_of(running.feed, await begin(running, last_event_id or after), wanted))
    batch, seconds = await running.feed.read(await begin(running, after), limit, wanted), wait_of(request)
    if seconds is not None:
        response.headers["Preference-Applied"] = f"wait={seconds}"
        batch = await lasting.wait(first_after(running.feed, batch, limit, wanted), seconds) or batch
    response.headers.update({"Cache-Control": "no-store", "Vary": "Accept, Prefer"})
    return FeedAnswer.of(batch)


def chosen(caller: Principal, owner: str | None, outcomes: str | None) -> Wanted:
    """Which entries a reader gets. Raises FORBIDDEN."""
    whose = None if owner is None and FLEET_READ in caller.scopes else readable_owner(caller, owner)
    names = frozenset(outcomes.split(",") if outcomes else ())
    return wanting(whose, names)


async def begin(running: Ingest, after: str | None) -> Position:
    """Where a reader goes on. Raises BAD_REQUEST for a foreign cursor, FEED_EXPIRED for one that is too old, and
    StoreUnavailable."""
    asked = Position.parse(after) if after not in (None, NOW) else None
    now = await running.feed.now()
    oldest = oldest_kept(now, running.settings.feed_days)
    if asked is None:
        return Position.at(now) if after == NOW else oldest
    if asked < oldest:
        detail = (
            f"Outcomes are kept for {running.settings.feed_days} days. Go on with `oldest`, or without `after`, and "
            "compare the files with `GET /files`: what came between is lost to you."
        )
        raise Problem(Kind.FEED_EXPIRED, detail, oldest=oldest.cursor)
    return asked
