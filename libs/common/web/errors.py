"""Renders every error as a problem document (RFC 9457)."""

from collections import defaultdict
from http import HTTPStatus
from typing import Any

import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from prometheus_client import Counter
from pydantic import BaseModel, ConfigDict, Field
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse
from starlette.routing import Match

from libs.common.problems import Kind, Problem
from libs.common.security import audit_trail
from libs.common.security.jwks import KeysUnavailable
from libs.common.storage import StoreFull, StoreUnavailable

log: structlog.stdlib.BoundLogger = structlog.stdlib.get_logger(__name__)

PROBLEMS = Counter("hiper_http_problems", "Problems answered, by their slug.", ["type", "status"])
MEDIA_TYPE = "application/problem+json"
METHODS = ("DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT")
_BY_STATUS = {
    400: Kind.BAD_REQUEST,
    404: Kind.NO_ROUTE,
    405: Kind.METHOD_NOT_ALLOWED,
    413: Kind.TOO_LARGE,
    422: Kind.BAD_REQUEST,
}


class ProblemDocument(BaseModel):
    """An error (RFC 9457). Members beyond these depend on the type."""

    model_config = ConfigDict(extra="allow")

    type: str = Field(description="`urn:hiper:problem:{slug}`, stable; or `about:blank`: the status says all.")
    title: str = Field(description="What went wrong, the same for every problem of the type.")
    status: int = Field(description="The HTTP status.")
    detail: str = Field(description="What to do about this occurrence.")


_SCHEMA = ProblemDocument.model_json_schema()
DEFAULT_RESPONSE: dict[str, Any] = {
    "description": "Any error, as a problem document",
    "content": {MEDIA_TYPE: {"schema": _SCHEMA}},
}


def problem_responses(*kinds: Kind) -> dict[int | str, dict[str, Any]]:
    """A route's `responses`: the problems it can answer with, by status, one example for each kind."""
    by_status: defaultdict[int, list[Kind]] = defaultdict(list)
    for kind in kinds:
        by_status[kind.status].append(kind)
    return {
        status: {
            "description": "; ".join(kind.title for kind in group),
            "content": {MEDIA_TYPE: {"schema": _SCHEMA, "examples": {k.slug: _example(k) for k in group}}},
        }
        for status, group in by_status.items()
    }


def _example(kind: Kind) -> dict[str, Any]:
    return {"summary": kind.title, "value": Problem(kind, "...").document()}


def count(problem: Problem) -> None:
    """Whoever answers with a problem counts it."""
    PROBLEMS.labels(problem.kind.slug, problem.kind.status).inc()


def render(problem: Problem) -> JSONResponse:
    count(problem)
    return JSONResponse(problem.document(), problem.kind.status, problem.headers, MEDIA_TYPE)


def internal_error() -> JSONResponse:
    """What a client learns of an unexpected exception: nothing. The log has it, under the request's id."""
    return render(Problem(Kind.INTERNAL, "The server's log tells more, under this answer's X-Request-Id"))


def add_error_handlers(app: FastAPI) -> None:
    """Handlers for everything but the unexpected, which `RequestShell` answers."""
    app.exception_handler(Problem)(_problem)
    app.exception_handler(RequestValidationError)(_invalid_request)
    app.exception_handler(HTTPException)(_http_error)
    app.exception_handler(StoreUnavailable)(_store_unavailable)
    app.exception_handler(StoreFull)(_store_full)
    app.exception_handler(KeysUnavailable)(_keys_unavailable)


async def _problem(_request: Request, problem: Problem) -> JSONResponse:
    audit_trail.refused(problem)
    return render(problem)


async def _invalid_request(_request: Request, error: RequestValidationError) -> JSONResponse:
    # Without FastAPI's `input` and `ctx`: they repeat what the client sent, which may be a secret.
    errors = [{"loc": list(e["loc"]), "msg": e["msg"], "type": e["type"]} for e in error.errors()]
    where = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in errors)
    return render(Problem(Kind.BAD_REQUEST, where, errors=errors))


async def _http_error(request: Request, error: HTTPException) -> JSONResponse:
    headers = dict(error.headers or {})
    if error.status_code == HTTPStatus.METHOD_NOT_ALLOWED:
        headers["Allow"] = ", ".join(_allowed(request))
    if kind := _BY_STATUS.get(error.status_code):
        return render(Problem(kind, str(error.detail), headers=headers))
    status = error.status_code
    title = HTTPStatus(status).phrase
    document = {"type": "about:blank", "title": title, "status": status, "detail": str(error.detail)}
    return JSONResponse(document, status, headers, MEDIA_TYPE)


def _allowed(request: Request) -> list[str]:
    """What the address takes; the router names only the methods of the first route that it found."""
    routes = request.app.router.routes
    return [m for m in METHODS if any(r.matches({**request.scope, "method": m})[0] is Match.FULL for r in routes)]


async def _store_unavailable(_request: Request, error: StoreUnavailable) -> JSONResponse:
    log.warning("store_unavailable", error=str(error))
    return render(Problem(Kind.STORE_UNAVAILABLE, "Try again in a moment"))


async def _store_full(_request: Request, error: StoreFull) -> JSONResponse:
    log.error("store_full", error=str(error))
    return render(Problem(Kind.STORE_FULL, "Nothing more can be stored until somebody makes room. Try again then"))


async def _keys_unavailable(_request: Request, error: KeysUnavailable) -> JSONResponse:
    log.warning("keys_unavailable", url=str(error))
    return render(Problem(Kind.NOT_READY, "The keys that verify tokens are not here yet", missing=["keys"]))
