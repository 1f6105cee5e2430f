"""/webhooks: operators say where outcomes are posted."""

from urllib.parse import urlsplit

from fastapi import APIRouter, Depends, Request, Response, Security

from libs.common.problems import Kind, Problem
from libs.common.security import audit
from libs.common.security.audit_trail import recorded
from libs.common.security.authn import FLEET_MANAGE, require
from libs.common.uploads.layout import is_webhook_id
from libs.common.web.bodies import read_json
from libs.common.web.errors import problem_responses
from libs.common.webhooks.signing import new_secret
from libs.common.webhooks.subscriptions import Held, Subscription, Trial, new_id
from libs.common.webhooks.targets import TargetRefused
from services.ingest.access import Caller, file_address, visit
from services.ingest.parameters import COMMON
from services.ingest.routes_feed import begin
from services.ingest.state import Ingest, ingest
from services.ingest.webhook_models import CreatedWebhook, NewWebhook, Webhook, WebhooksAnswer

MOST = 100  # webhooks of a deployment
_TRIES = 4

router = APIRouter(
    prefix="/webhooks",
    tags=["webhooks"],
    dependencies=[Depends(file_address), Depends(visit), Security(require(FLEET_MANAGE), scopes=[FLEET_MANAGE])],
    responses=problem_responses(*COMMON),
)
_ONE = problem_responses(Kind.WEBHOOK_NOT_FOUND)


_BODY = {"requestBody": {"required": True, "content": {"application/json": {"schema": NewWebhook.model_json_schema()}}}}


@router.post(
    "",
    status_code=201,
    openapi_extra=_BODY,
    responses=problem_responses(Kind.TIMEOUT, Kind.TOO_LARGE, Kind.FEED_EXPIRED),
)
async def create(request: Request, response: Response, caller: Caller) -> CreatedWebhook:
    """Post outcomes to an address from now on: CloudEvents in JSON, signed as Standard Webhooks says. Each comes at
    least once; an event that comes twice has the same `webhook-id`."""
    running = ingest(request)
    wanted = await read_json(request, NewWebhook, running.settings.body_timeout)
    new = await _new(running, wanted, caller.subject)
    parts = urlsplit(new.url)
    with recorded(audit.WebhookCreated(webhook=new.id, target=f"{parts.scheme}://{parts.hostname}")):
        held = await running.subscriptions.create(new)
    response.headers["Cache-Control"] = "no-store"
    return CreatedWebhook(webhook=Webhook.of(held), secret=held.subscription.secret)


async def _new(running: Ingest, wanted: NewWebhook, by: str) -> Subscription:
    """Raises BAD_REQUEST, FEED_EXPIRED and StoreUnavailable."""
    try:
        running.targets.check_url(wanted.url)
    except TargetRefused as error:
        raise Problem(Kind.BAD_REQUEST, f"`url` is not taken: {error}.") from None
    if len([webhook async for webhook in running.subscriptions.all()]) >= MOST:
        raise Problem(Kind.BAD_REQUEST, f"There are {MOST} webhooks, which is the most. Delete one first.")
    cursor = (await begin(running, wanted.after)).cursor
    return Subscription(
        id=new_id(), version="", url=wanted.url, secret=new_secret(), owner=wanted.owner, cursor=cursor,
        outcomes=tuple(dict.fromkeys(wanted.outcomes)), created_at=await running.feed.now(), created_by=by,
    )  # fmt: skip


@router.get("")
async def webhooks(request: Request) -> WebhooksAnswer:
    """Every webhook, and how its deliveries go."""
    subscriptions = ingest(request).subscriptions
    found = [await subscriptions.find(webhook) async for webhook in subscriptions.all()]
    return WebhooksAnswer(webhooks=[Webhook.of(held) for held in found if held])


@router.get("/{webhook}", responses=_ONE)
async def one(request: Request, webhook: str) -> Webhook:
    return Webhook.of(await _found(ingest(request), webhook))


@router.delete("/{webhook}", status_code=204, responses=_ONE)
async def delete(request: Request, webhook: str) -> None:
    """What is on its way to the receiver may still arrive."""
    running = ingest(request)
    await _found(running, webhook)
    with recorded(audit.WebhookDeleted(webhook=webhook)):
        await running.subscriptions.delete(webhook)


@router.post("/{webhook}/test", status_code=202, responses=_ONE)
async def test(request: Request, webhook: str) -> Webhook:
    """Ask for a test call: an event `hiper.WebhookTest.v1`, signed as all others. A janitor makes it within seconds;
    `test` in the webhook then says what came of it."""
    running = ingest(request)
    with recorded(audit.WebhookTested(webhook=(await _found(running, webhook)).subscription.id)):
        for _ in range(_TRIES):
            asked = Trial(at=await running.feed.now())
            if held := await running.subscriptions.change(await _found(running, webhook), trial=asked):
                return Webhook.of(held)
        raise Problem(Kind.BUSY, "The webhook changes at this moment. Try again.")


async def _found(running: Ingest, webhook: str) -> Held:
    """Raises WEBHOOK_NOT_FOUND."""
    held = await running.subscriptions.find(webhook) if is_webhook_id(webhook) else None
    if not held:
        raise Problem(Kind.WEBHOOK_NOT_FOUND, "No webhook has this id.")
    return held
