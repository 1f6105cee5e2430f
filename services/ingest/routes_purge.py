"""DELETE /files: operators delete everything that a device has."""

from typing import Annotated

from fastapi import APIRouter, Depends, Query, Request, Security

from libs.common.files.names import SUBJECT
from libs.common.problems import Kind, Problem
from libs.common.security import audit
from libs.common.security.audit_trail import recorded
from libs.common.security.authn import FLEET_MANAGE, require
from libs.common.security.tokens import valid_subject
from libs.common.uploads.sweeping import store_time
from libs.common.web.errors import problem_responses
from services.ingest.access import file_address, visit
from services.ingest.models import PurgeAnswer
from services.ingest.parameters import COMMON, Absent
from services.ingest.purging import Cursor
from services.ingest.state import ingest

_TICK = 1.0  # second: a store that tells whole seconds rounds its time down

router = APIRouter(
    tags=["files"],
    dependencies=[Depends(file_address), Depends(visit), Security(require(FLEET_MANAGE), scopes=[FLEET_MANAGE])],
)


@router.delete(
    "/files",
    responses=problem_responses(*COMMON),
)
async def purge(
    request: Request,
    owner: Annotated[str, Query(description="A device's id.", json_schema_extra={"pattern": f"^{SUBJECT}$"})],
    dry_run: Annotated[bool, Query(description="Delete nothing, only say what would go.")] = True,
    limit: Annotated[int, Query(ge=1, le=1000, description="At most so many files in one call.")] = 100,
    after: Annotated[str | Absent, Query(description="`next` of the page before.")] = None,
) -> PurgeAnswer:
    """Delete every file of a device, partial and rejected ones too, and cancel its uploads: those that are there when
    the first page is asked for. Needs the scope `fleet:manage`. Nothing is deleted unless `dry_run` is false. A purge
    that broke off is begun again from the start; its files are gone some seconds after the answer."""
    if not valid_subject(owner):
        raise Problem(Kind.BAD_REQUEST, "owner must be a device id. What is published to the fleet goes file by file.")
    running = ingest(request)
    with recorded(audit.OwnerPurged(owner=owner, dry_run=dry_run)) as event:
        start = Cursor.decoded(after) if after else Cursor(await store_time(running.buckets.temp) + _TICK)
        page = await running.purger.purge(owner, start, limit, dry_run=dry_run)
        event.files, event.size = len(page.holdings), sum(holding.size or 0 for holding in page.holdings)
    running.quotas.forget(owner)
    return PurgeAnswer.of(owner, dry_run, page)
