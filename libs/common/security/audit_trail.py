"""Writes the audit trail: one line for each security event, through a logger of its own (`hiper.audit`).

No client writes text of its choice into it: values are bounded and escaped, addresses are addresses, and the id of a
client that is not registered is shown only where it cannot be a secret in the wrong field.
"""

import ipaddress
from collections.abc import Iterator, MutableMapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import asdict, dataclass
from typing import Any, Literal, TypeVar

import structlog
from prometheus_client import Counter

from libs.common.observability.redaction import printable
from libs.common.problems import Kind, Problem
from libs.common.security.audit import AccessRefused, AuditEvent, AuthenticationFailed
from libs.common.security.tokens import valid_subject
from libs.common.settings import MIN_SECRET_BYTES

LOGGER = "hiper.audit"
STREAM = "audit"
UNKNOWN = "unknown"
MAX_VALUE = 256  # characters of a value; a filename has at most 255 bytes
Outcome = Literal["success", "refused", "unknown"]  # unknown: it broke off, and may have been done
E = TypeVar("E", bound=AuditEvent)

log: structlog.stdlib.BoundLogger = structlog.stdlib.get_logger(LOGGER)
RECORDED = Counter("hiper_audit_events", "Lines of the audit trail, by event and outcome.", ["event", "outcome"])


@dataclass
class _Request:
    """The request that is being answered; its route is known only once the router has seen it."""

    scope: MutableMapping[str, Any]
    actor: str = UNKNOWN

    def fields(self) -> dict[str, str]:
        route = getattr(self.scope.get("route"), "path", "") or "unmatched"
        return {
            "actor": self.actor,
            "address": _address(self.scope.get("client")),
            "request": f"{self.scope.get('method', '')} {route}",
        }


_request: ContextVar[_Request | None] = ContextVar("audited_request", default=None)


def begin(scope: MutableMapping[str, Any]) -> None:
    """A request comes in: `scope` is ASGI's, whose `client` is the peer, or what a trusted proxy says of it."""
    _request.set(_Request(scope))


def identify(actor: str) -> None:
    """The request is by a registered client, or claims to be by it."""
    if request := _request.get():
        request.actor = actor


def claim(client_id: str) -> None:
    """The request gives this id, which may be anything: a secret, too, in the wrong field. Secrets have at least
    MIN_SECRET_BYTES characters; a longer id is shown once it proves to be registered (`identify`)."""
    fits = len(client_id) < MIN_SECRET_BYTES and valid_subject(client_id)
    identify(client_id if fits else UNKNOWN)


def record(event: AuditEvent, outcome: Outcome = "success", reason: str = "") -> None:
    """Write the line of an event."""
    name = event.name()
    RECORDED.labels(name, outcome).inc()
    request = _request.get()
    fields = {**(request.fields() if request else {}), **asdict(event), "reason": reason}
    write = log.info if outcome == "success" else log.warning
    write(name, stream=STREAM, outcome=outcome, **{key: _safe(value) for key, value in fields.items()})


@contextmanager
def recorded(event: E) -> Iterator[E]:
    """Do what the event says, and write its line with the outcome. What only the deed shows is filled in meanwhile."""
    try:
        yield event
    except Problem as problem:
        record(event, "refused", f"{problem.kind.slug}: {problem.detail}")
        raise
    except BaseException as error:
        record(event, "unknown", type(error).__name__)
        raise
    record(event)


def refused(problem: Problem) -> None:
    """Write a line if the problem is a refusal that has to do with security."""
    request = _request.get()
    route = request.fields()["request"] if request else ""
    reason = f"{problem.kind.slug}: {problem.detail}"
    match problem.kind:
        case Kind.INVALID_CLIENT:
            record(AuthenticationFailed(), "refused", reason)
        case Kind.TOO_MANY_REQUESTS if route.endswith("/token"):
            record(AuthenticationFailed(), "refused", reason)
        case Kind.UNAUTHORIZED | Kind.FORBIDDEN:
            record(AccessRefused(), "refused", reason)
        case Kind.TOKEN_REQUEST if problem.members.get("error") == "invalid_scope":
            record(AccessRefused(), "refused", reason)


def _address(client: tuple[str, int] | None) -> str:
    """The address in its usual form: an IPv4 peer of a dual-stack socket as IPv4. A proxy may send anything."""
    try:
        address = ipaddress.ip_address(client[0] if client else "")
    except ValueError:
        return UNKNOWN
    return str(getattr(address, "ipv4_mapped", None) or address)


def _safe(value: object) -> object:
    """Bounded, and without characters that a terminal or a viewer of logs acts on."""
    if isinstance(value, list):
        return [_safe(item) for item in value[:MAX_VALUE]]
    if not isinstance(value, str):
        return value
    shown = printable(value)
    return shown if len(shown) <= MAX_VALUE else f"{shown[:MAX_VALUE]}..."
