"""The HTTP routes: tokens, keys, devices. They find an `Auth` at `app.state.auth`."""

from typing import Annotated

from fastapi import APIRouter, Depends, Query, Request, Response

from libs.common.problems import Kind
from libs.common.security import audit
from libs.common.security.audit_trail import claim, record, recorded
from libs.common.security.authn import ADMIN, require
from libs.common.security.certificates import Uncertified
from libs.common.web import problem_responses
from libs.common.web.bodies import read_body, read_json
from libs.common.web.requests import plain_request
from services.auth.bodies import (
    DEVICE_CHANGE,
    MOST_REVOCATION,
    NEW_DEVICE,
    REVOCATION,
    TOKEN_FORM,
)
from services.auth.devices import Revoked
from services.auth.grant import NO_STORE, parse_token_request, refused
from services.auth.models import (
    Device,
    DeviceChange,
    DeviceGlance,
    DeviceInfo,
    DevicePage,
    DeviceSecret,
    KeySet,
    NewDevice,
    Revocation,
    RevocationResult,
    TokenAnswer,
)
from services.auth.state import Auth


async def _auth(request: Request) -> Auth:
    auth: Auth = request.app.state.auth
    return auth


State = Annotated[Auth, Depends(_auth)]
router = APIRouter(dependencies=[Depends(plain_request)])
devices = APIRouter(
    prefix="/devices",
    tags=["devices"],
    dependencies=[Depends(require(ADMIN))],
    responses=problem_responses(
        Kind.BAD_REQUEST, Kind.UNAUTHORIZED, Kind.FORBIDDEN, Kind.NOT_READY, Kind.STORE_UNAVAILABLE
    ),
)
_UNKNOWN = problem_responses(Kind.DEVICE_NOT_FOUND, Kind.DEVICE_DAMAGED, Kind.STORE_UNAVAILABLE, Kind.NOT_READY)


@router.post(
    "/token",
    tags=["tokens"],
    responses=problem_responses(
        Kind.BAD_REQUEST,
        Kind.TOKEN_REQUEST,
        Kind.INVALID_CLIENT,
        Kind.TIMEOUT,
        Kind.TOO_LARGE,
        Kind.TOO_MANY_REQUESTS,
        Kind.DEVICE_DAMAGED,
        Kind.STORE_UNAVAILABLE,
    ),
    openapi_extra=TOKEN_FORM,
)
async def issue_token(request: Request, response: Response, auth: State) -> TokenAnswer:
    """An access token for a client's id and secret (OAuth 2.0 client credentials, RFC 6749, section 4.4)."""
    wanted = parse_token_request(await read_body(request, auth.body_timeout), request.headers.get("authorization", ""))
    claim(wanted.client_id)
    try:
        request.app.state.authn.certificates.check(request.headers, wanted.client_id)
    except Uncertified as error:
        raise refused("invalid_client", str(error)) from None
    address = request.client.host if request.client else ""
    client = await auth.attempts.authenticate(wanted.client_id, wanted.secrets, address)
    if client is None:
        raise refused("invalid_client", "The client is unknown, or its secret is wrong or no longer valid")
    scopes = client.by_default if wanted.scopes is None else wanted.scopes
    if not scopes <= client.scopes:
        raise refused("invalid_scope", f"This client may have: {' '.join(sorted(client.scopes))}")
    token = auth.issuer.issue(client.client_id, scopes, earliest=client.tokens_from, device_class=client.device_class)
    record(audit.TokenIssued(scopes=sorted(scopes), device_class=client.device_class))
    response.headers.update(NO_STORE)
    return TokenAnswer(access_token=token.encoded, expires_in=token.expires_in, scope=" ".join(sorted(scopes)))


@router.get("/.well-known/jwks.json", tags=["tokens"], responses=problem_responses(Kind.BAD_REQUEST))
async def public_keys(response: Response, auth: State) -> KeySet:
    """The public keys that verify tokens (RFC 7517); none where tokens are signed with a shared secret."""
    response.headers["Cache-Control"] = "public, max-age=300"
    return KeySet(keys=auth.issuer.jwks()["keys"])


@devices.post(
    "",
    status_code=201,
    responses=problem_responses(
        Kind.BAD_REQUEST, Kind.TIMEOUT, Kind.DEVICE_EXISTS, Kind.DEVICE_HAS_FILES, Kind.TOO_LARGE
    ),
    openapi_extra=NEW_DEVICE,
)
async def register_device(request: Request, response: Response, auth: State) -> DeviceSecret:
    """Register a device. Its secret is in this answer and nowhere else."""
    new = await read_json(request, NewDevice, auth.body_timeout)
    scopes, device_class = sorted(set(new.scopes)), new.device_class
    with recorded(audit.DeviceRegistered(device=new.device_id, scopes=[*scopes], device_class=device_class)):
        device, secret = await auth.devices.register(new.device_id, scopes, auth.known_class(device_class))
    response.headers["Location"] = f"/devices/{device.device_id}"
    response.headers.update(NO_STORE)
    return _with_secret(device, secret)


@devices.get("")
async def list_devices(
    auth: State,
    limit: Annotated[int, Query(ge=1, le=1000, description="Most devices to list.")] = 100,
    after: Annotated[str, Query(max_length=64, description="`next` of the page before.")] = "",
) -> DevicePage:
    """The devices, page by page."""
    page = await auth.devices.page(after, limit)
    devices = await auth.glances.at(page.devices)
    return DevicePage(devices=devices, damaged=page.damaged, next=page.next)


@devices.get("/{device_id}", responses=_UNKNOWN)
async def get_device(device_id: str, auth: State) -> DeviceGlance:
    """The device, and what is known of it: when it was last seen and refused, and how much it has."""
    (glance,) = await auth.glances.at([await auth.devices.get(device_id)])
    return glance


@devices.patch(
    "/{device_id}",
    responses=problem_responses(Kind.BAD_REQUEST, Kind.TIMEOUT, Kind.DEVICE_NOT_FOUND, Kind.TOO_LARGE),
    openapi_extra=DEVICE_CHANGE,
)
async def change_device(device_id: str, request: Request, auth: State) -> DeviceInfo:
    """Put a device into another class. It counts from the device's next token on."""
    change = await read_json(request, DeviceChange, auth.body_timeout)
    with recorded(audit.DeviceReclassified(device=device_id, new_class=change.device_class)) as event:
        before, after = await auth.devices.classify(device_id, auth.known_class(change.device_class))
        event.old_class = before.device_class
    return _info(after)


@devices.delete("/{device_id}", status_code=204, responses=_UNKNOWN)
async def delete_device(device_id: str, auth: State) -> None:
    """Forget a device: its secret is refused at once, its tokens everywhere within 30 seconds."""
    with recorded(audit.DeviceDeleted(device=device_id, old_scopes=[])) as event:
        device = await auth.devices.delete(device_id)
        if device:
            event.old_scopes, event.old_class = [*device.scopes], device.device_class


@devices.post("/{device_id}/secret", responses=_UNKNOWN)
async def renew_secret(
    device_id: str,
    response: Response,
    auth: State,
    revoke_old: Annotated[bool, Query(description="Refuse the old secret at once.")] = False,
) -> DeviceSecret:
    """Give a device a new secret. The old one stays valid for SECRET_OVERLAP seconds, to be replaced in peace.
    Tokens stay valid: see /revoke."""
    with recorded(audit.SecretRenewed(device=device_id, old_refused=revoke_old)):
        device, secret = await auth.devices.rotate(device_id, revoke_old=revoke_old)
    response.headers.update(NO_STORE)
    return _with_secret(device, secret)


@devices.post(
    "/revoke",
    responses=problem_responses(Kind.BAD_REQUEST, Kind.TIMEOUT, Kind.TOO_LARGE),
    openapi_extra=REVOCATION,
)
async def revoke_devices(request: Request, auth: State) -> RevocationResult:
    """Void every token of up to 1,000 devices, everywhere within 30 seconds; delete the devices too, if asked. What is
    repeated after a lost answer does no harm."""
    wanted = await read_json(request, Revocation, auth.body_timeout, MOST_REVOCATION)
    try:
        done = await auth.devices.revoke_all(wanted.device_ids, forget=wanted.forget)
    except BaseException as error:
        for device_id in wanted.device_ids:
            record(audit.TokensRevoked(device=device_id), "unknown", type(error).__name__)
        raise
    _record_revocation(done, forgotten=wanted.forget)
    return RevocationResult(revoked=done.revoked, unknown=done.unknown)


@devices.post("/{device_id}/revoke", status_code=204, responses=_UNKNOWN)
async def revoke_tokens(device_id: str, auth: State) -> None:
    """Void every token that the device, or `admin`, has, everywhere within 30 seconds. It can get new ones at once."""
    with recorded(audit.TokensRevoked(device=device_id)):
        await auth.devices.revoke(device_id)


router.include_router(devices)


def _record_revocation(done: Revoked, *, forgotten: bool) -> None:
    """One line for each id, and one more for each device that was deleted."""
    for device_id in done.revoked:
        record(audit.TokensRevoked(device=device_id))
    for device_id in done.unknown:
        record(audit.TokensRevoked(device=device_id), "refused", f"{Kind.DEVICE_NOT_FOUND.slug}: nothing was done")
    for device in done.devices if forgotten else ():
        event = audit.DeviceDeleted(device=device.device_id, old_scopes=[*device.scopes], old_class=device.device_class)
        record(event)
    for device_id in done.damaged if forgotten else ():
        record(audit.DeviceDeleted(device=device_id, old_scopes=[]))


def _info(device: Device) -> DeviceInfo:
    return DeviceInfo(
        device_id=device.device_id,
        scopes=device.scopes,
        created_at=device.created_at,
        device_class=device.device_class,
    )


def _with_secret(device: Device, secret: str) -> DeviceSecret:
    return DeviceSecret(**_info(device).model_dump(), client_secret=secret)
