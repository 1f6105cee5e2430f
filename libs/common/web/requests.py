"""Checks that the head of every request passes before a route reads it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import parse_qsl, unquote

from fastapi import Request
from starlette.types import Scope

from libs.common.problems import Kind, Problem

MAX_QUERY = 4096  # bytes; the longest filename is 2,550, percent-encoded
MAX_PARAMETERS = 16
# Proxies and libraries differ in which of several they take, so what one of them checked another would not see.
_ONCE = frozenset(
    {
        "authorization",
        "content-digest",
        "content-range",
        "content-type",
        "host",
        "if-match",
        "if-none-match",
        "if-range",
        "range",
        "repr-digest",
    }
)


@dataclass(frozen=True, slots=True)
class Head:
    """The parameters of a query, and the header fields by their names in lower case, as they came."""

    query: Mapping[str, str]
    fields: Mapping[str, Sequence[str]]

    def field(self, name: str) -> str | None:
        """The value of the first field of the name."""
        values = self.fields.get(name)
        return values[0] if values else None


def read_head(scope: Scope) -> Head:
    """Raises BAD_REQUEST for an address that is not UTF-8, before its bytes turn into replacement characters; for a
    query that is long or names a parameter twice; and for a header field that is there twice."""
    query = _query(scope)
    fields: dict[str, list[str]] = {}
    for name, value in scope["headers"]:
        fields.setdefault(name.decode("latin-1"), []).append(value.decode("latin-1"))
    for name, values in fields.items():
        if len(values) > 1 and name in _ONCE:
            raise _twice(name)
    return Head(query, fields)


async def plain_request(request: Request) -> None:
    """As `read_head`, for routes whose parameters FastAPI reads."""
    read_head(request.scope)


def _query(scope: Scope) -> dict[str, str]:
    query: bytes = scope["query_string"]
    if len(query) > MAX_QUERY:
        raise _bad(f"The query has {len(query)} bytes; at most {MAX_QUERY} are allowed.")
    if query.count(b"&") >= MAX_PARAMETERS:
        raise _bad(f"The query has more than {MAX_PARAMETERS} parameters.")
    try:
        unquote(scope.get("raw_path") or b"", errors="strict")
        pairs = parse_qsl(query.decode("ascii"), keep_blank_values=True, errors="strict")
    except UnicodeError:
        raise _bad("The address is not percent-encoded UTF-8.") from None
    parameters: dict[str, str] = {}
    for name, value in pairs:
        if name in parameters:
            raise _twice(name)
        parameters[name] = value
    return parameters


def _twice(name: str) -> Problem:
    return _bad(f"Send {name[:40]!r} once, not twice.")


def _bad(detail: str) -> Problem:
    return Problem(Kind.BAD_REQUEST, detail)
