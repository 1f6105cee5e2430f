"""One pass around each request: its id, its log line, its metrics, and an answer when the service fails."""

import re
import secrets
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import lru_cache
from time import perf_counter

import structlog
from opentelemetry.trace import INVALID_SPAN, Span, SpanKind, StatusCode
from prometheus_client import Counter, Histogram
from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from libs.common.observability.tracing import TRACEPARENT, continued, trace_ids
from libs.common.security import audit_trail
from libs.common.web.access_log import PROBES, AccessLog
from libs.common.web.errors import METHODS, internal_error
from libs.common.web.places import has_left

log: structlog.stdlib.BoundLogger = structlog.stdlib.get_logger(__name__)

REQUEST_ID = "X-Request-Id"
ANSWER_FIELDS = "hiper.answer_fields"  # in a request's scope: header fields for its answer, whatever that will be
CLIENT_GONE = 499  # nginx's number for a client that left before the answer; never sent. Also: cancelled before it
_GOOD_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
_JSON = re.compile(r"application/([a-z]+\+)?json\b")

REQUESTS = Counter("hiper_http_requests", "Requests answered.", ["route", "method", "status"])
DURATION = Histogram(
    "hiper_http_request_duration_seconds",
    "From the request's headers to the last byte of the answer; not of streams and waits.",
    ["route", "method", "status"],
    buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300),
)
# Finding a series by its labels takes longer than counting in it.
_requests, _duration = lru_cache(1024)(REQUESTS.labels), lru_cache(1024)(DURATION.labels)


@dataclass(slots=True)
class _Exchange:
    """What is known of a request so far."""

    scope: Scope
    request_id: str
    started: float
    status: int = 0  # 0 until the answer begins

    @property
    def route(self) -> str:
        """The route's template, never the path itself: paths are without number; metrics must not be."""
        return getattr(self.scope.get("route"), "path", "") or "unmatched"

    @property
    def method(self) -> str:
        return self.scope["method"] if self.scope["method"] in METHODS else "other"


class RequestShell:
    """Pure ASGI, so that bodies and answers stream through it untouched."""

    def __init__(self, app: ASGIApp, trusts_traceparent: bool, log_ratio: float) -> None:
        """`log_ratio`: how many of the requests that succeed have a line in the access log, 0 to 1."""
        self._app = app
        self._access_log = AccessLog(log_ratio)
        self._trusts_traceparent = trusts_traceparent

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        # No route reads cookies, but FastAPI does for each, and Python's parser is quadratic (CVE-2024-7592).
        scope["headers"] = [field for field in scope["headers"] if field[0] != b"cookie"]
        exchange = _Exchange(scope, _request_id(scope), perf_counter())
        with self._span(exchange) as span:
            structlog.contextvars.clear_contextvars()
            audit_trail.begin(scope)
            structlog.contextvars.bind_contextvars(request_id=exchange.request_id, **trace_ids())
            try:
                await self._guarded(exchange, receive, _Sender(exchange, send))
            finally:
                self._record(exchange)
                _describe(span, exchange)
                structlog.contextvars.clear_contextvars()

    def _span(self, exchange: _Exchange) -> AbstractContextManager[Span]:
        """The request's span: below the one that a trusted `traceparent` names, else the first of a trace. A stranger
        could choose the trace, and whether it is recorded."""
        if exchange.scope["path"] in PROBES:
            return nullcontext(INVALID_SPAN)
        attributes = {"http.request.method": exchange.method, "hiper.request_id": exchange.request_id}
        given = Headers(scope=exchange.scope).get(TRACEPARENT) if self._trusts_traceparent else None
        return continued(exchange.method, SpanKind.SERVER, given, attributes)

    async def _guarded(self, exchange: _Exchange, receive: Receive, send: Send) -> None:
        try:
            await self._app(exchange.scope, receive, send)
        except ClientDisconnect:
            exchange.status = CLIENT_GONE
        except Exception:
            log.exception("request_failed", method=exchange.method, route=exchange.route)
            if exchange.status:  # the answer has begun: all that is left is to break the connection
                raise
            await internal_error()(exchange.scope, receive, send)

    def _record(self, exchange: _Exchange) -> None:
        seconds = perf_counter() - exchange.started
        route, method, status = exchange.route, exchange.method, exchange.status or CLIENT_GONE
        _requests(route, method, status).inc()
        if not has_left(exchange.scope):  # how long a stream lasts says nothing of this server
            _duration(route, method, status).observe(seconds)
        self._access_log.write(method, route, status, seconds)


class _Sender:
    """Adds the request's id to the answer, notes its status, and leaves the body out of answers to HEAD."""

    def __init__(self, exchange: _Exchange, send: Send) -> None:
        self._exchange = exchange
        self._send = send

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self._exchange.status = message["status"]
            headers = MutableHeaders(scope=message)
            headers[REQUEST_ID] = self._exchange.request_id
            headers.update(self._exchange.scope.get(ANSWER_FIELDS, {}))
            if _JSON.match(headers.get("Content-Type", "")):
                headers.setdefault("Cache-Control", "no-store")
        elif message["type"] == "http.response.body" and self._exchange.scope["method"] == "HEAD":
            message = {**message, "body": b""}
        await self._send(message)


def _request_id(scope: Scope) -> str:
    given = Headers(scope=scope).get(REQUEST_ID, "")
    return given if _GOOD_ID.fullmatch(given) else secrets.token_hex(16)


def _describe(span: Span, exchange: _Exchange) -> None:
    """What is known of a request only in the end (https://opentelemetry.io/docs/specs/semconv/http/http-spans/)."""
    if span.is_recording():
        span.update_name(f"{exchange.method} {exchange.route}")
        status = exchange.status or CLIENT_GONE
        span.set_attributes({"http.route": exchange.route, "http.response.status_code": status})
        if status >= 500:
            span.set_status(StatusCode.ERROR)
