"""What every request must keep to, before anything else is made of it."""

from collections import Counter
from collections.abc import Iterable
from urllib.parse import parse_qsl, unquote

from fastapi import Request

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


async def plain_request(request: Request) -> None:
    """Raises BAD_REQUEST for an address that is not UTF-8, before its bytes turn into replacement characters; for a
    query that is long or names a parameter twice; and for a header field that is there twice."""
    query: bytes = request.scope["query_string"]
    if len(query) > MAX_QUERY:
        raise _bad(f"The query has {len(query)} bytes; at most {MAX_QUERY} are allowed.")
    if query.count(b"&") >= MAX_PARAMETERS:
        raise _bad(f"The query has more than {MAX_PARAMETERS} parameters.")
    try:
        unquote(request.scope.get("raw_path") or b"", errors="strict")
        parameters = parse_qsl(query.decode("ascii"), keep_blank_values=True, errors="strict")
    except UnicodeError:
        raise _bad("The address is not percent-encoded UTF-8.") from None
    _refuse_twice(name for name, _ in parameters)
    _refuse_twice(name for name in request.headers if name in _ONCE)


def _refuse_twice(names: Iterable[str]) -> None:
    twice = [name for name, times in Counter(names).items() if times > 1]
    if twice:
        raise _bad(f"Send {twice[0][:40]!r} once, not twice.")


def _bad(detail: str) -> Problem:
    return Problem(Kind.BAD_REQUEST, detail)
