"""Whose files a request is about, and whether its token allows that.

Dependencies wait for nothing and are coroutines all the same: FastAPI hands plain functions to a thread.
"""

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated

import structlog
from fastapi import Depends, Request, Security
from starlette.types import Scope

from libs.common.files.names import FLEET, SUBJECT, check_filename
from libs.common.observability.tracing import annotate
from libs.common.problems import Kind, Problem
from libs.common.security.authn import (
    FILES_READ,
    FILES_WRITE,
    FLEET_MANAGE,
    FLEET_READ,
    FLEET_WRITE,
    bearer,
    insufficient_scope,
)
from libs.common.security.tokens import Principal
from libs.common.uploads.layout import FileId
from libs.common.web.access import ANSWER_FIELDS
from libs.common.web.places import hold
from libs.common.web.requests import Head, read_head
from services.ingest.gate import Visit
from services.ingest.parameters import FilenamePath, OwnerQuery
from services.ingest.state import ingest

_OWNER = re.compile(SUBJECT)

Caller = Annotated[Principal, Security(bearer)]


def readable_owner(principal: Principal, owner: str | None) -> str:
    """The owner whose files are read. Raises FORBIDDEN: own files and the fleet's need files:read, all others
    fleet:read."""
    wanted = _owner(principal, owner)
    scopes = principal.scopes
    if FLEET_READ in scopes or (FILES_READ in scopes and wanted in {principal.subject, FLEET}):
        return wanted
    raise insufficient_scope(FILES_READ if wanted in {principal.subject, FLEET} else FLEET_READ)


def listed_owner(principal: Principal, owner: str | None) -> str:
    """The owner whose files are listed, and how far they are: who may delete them must see them. Raises FORBIDDEN as
    `readable_owner` does."""
    return _owner(principal, owner) if FLEET_MANAGE in principal.scopes else readable_owner(principal, owner)


def deletable_owner(principal: Principal, owner: str | None) -> str:
    """The owner whose files are deleted, and whose uploads are cancelled. Raises FORBIDDEN: own files need files:write,
    the fleet's fleet:write; fleet:manage does for those of every owner."""
    wanted = _owner(principal, owner)
    if FLEET_MANAGE in principal.scopes:
        return wanted
    if wanted not in {principal.subject, FLEET}:
        raise insufficient_scope(FLEET_MANAGE)
    return writable_owner(principal, owner)


def writable_owner(principal: Principal, owner: str | None) -> str:
    """The owner whose files are written. Raises FORBIDDEN: own files need files:write, the fleet's fleet:write, and
    into another device's nobody else writes."""
    wanted = _owner(principal, owner)
    if wanted not in {principal.subject, FLEET}:
        raise Problem(Kind.FORBIDDEN, f"Only {wanted!r} itself may upload its files.")
    needed = FLEET_WRITE if wanted == FLEET else FILES_WRITE
    if needed not in principal.scopes:
        raise insufficient_scope(needed)
    return wanted


def _owner(principal: Principal, owner: str | None) -> str:
    if owner is None:
        return principal.subject
    if not _OWNER.fullmatch(owner):
        raise Problem(Kind.BAD_REQUEST, "owner must be a device id or 'fleet'.")
    return owner


def file_head(scope: Scope) -> Head:
    """As `read_head`; and refuse a path that ends with a line break, which the router overlooks."""
    if scope["path"].endswith("\n"):
        raise Problem(Kind.BAD_FILENAME, "The filename holds a control character.")
    return read_head(scope)


async def file_address(request: Request) -> None:
    """As `file_head`, for routes whose parameters FastAPI reads."""
    file_head(request.scope)


@asynccontextmanager
async def entered(request: Request, caller: Principal) -> AsyncIterator[Visit]:
    """Lets the request in. Raises TOO_MANY_REQUESTS."""
    fields: dict[str, str] = request.scope.setdefault(ANSWER_FIELDS, {})
    with ingest(request).sightings.of(caller):
        async with ingest(request).gate.entered(caller, fields) as let_in:
            yield let_in


async def visit(request: Request, caller: Caller) -> AsyncIterator[Visit]:
    """Lets the request in, for as long as its answer takes."""
    async with entered(request, caller) as let_in:
        hold(request.scope, let_in.places.close)
        yield let_in


Visiting = Annotated[Visit, Depends(visit)]


async def file_to_read(caller: Caller, filename: FilenamePath, owner: OwnerQuery = None) -> FileId:
    return named(FileId(readable_owner(caller, owner), check_filename(filename)))


async def file_to_see(caller: Caller, filename: FilenamePath, owner: OwnerQuery = None) -> FileId:
    return named(FileId(listed_owner(caller, owner), check_filename(filename)))


async def file_to_delete(caller: Caller, filename: FilenamePath, owner: OwnerQuery = None) -> FileId:
    return named(FileId(deletable_owner(caller, owner), check_filename(filename)))


def named(file: FileId) -> FileId:
    """The file, which from here on the request's log lines and its span name."""
    structlog.contextvars.bind_contextvars(owner=file.owner, file=file.filename)
    annotate(owner=file.owner, file=file.filename)
    return file
