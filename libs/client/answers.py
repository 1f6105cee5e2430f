"""From answers that are errors to the client's own errors."""

import json
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

import aiohttp

from libs.client.answer_errors import answer_error, gateway_error
from libs.client.provenance import is_from_server

LONGEST_RETRY_AFTER = 3600.0  # seconds: a server that asks for more is asked again after this


async def raise_for(response: aiohttp.ClientResponse) -> None:
    """Raise the AnswerError that a response means, unless it is a success of the server. Raises GatewayError where
    something else answered."""
    status, reason = response.status, response.reason or ""
    document = await _document(response) if status >= 300 else {}
    wait = parse_retry_after(response.headers.get("Retry-After", ""), response.headers.get("Date", ""))
    if not is_from_server(status, response.headers, document):
        server = str(response.url.origin())
        raise gateway_error(server, status, reason, response.headers.get("Location", ""), wait)
    if status >= 300:
        raise answer_error(status, reason, document, wait)


def parse_retry_after(value: str, date: str) -> float:
    """Seconds to wait (RFC 9110, section 10.2.3: a number of seconds, or a date); 0 for anything else.

    A date is compared with the answer's own `Date`: the clock of a device may be years behind."""
    try:
        seconds = float(value) if value.strip().isdigit() else _seconds_between(date, value)
    except ValueError:
        return 0.0
    return min(max(seconds, 0.0), LONGEST_RETRY_AFTER)


def _seconds_between(earlier: str, later: str) -> float:
    """From one HTTP date to another; from now, if the first is not there. Raises ValueError."""
    first, second = (parsedate_to_datetime(date) if date else datetime.now(UTC) for date in (earlier, later or "none"))
    return (second.replace(tzinfo=second.tzinfo or UTC) - first.replace(tzinfo=first.tzinfo or UTC)).total_seconds()


async def _document(response: aiohttp.ClientResponse) -> dict[str, Any]:
    if "json" not in response.headers.get("Content-Type", ""):
        return {}
    return json_object(await response.read())


def json_object(text: str | bytes) -> dict[str, Any]:
    """Empty where the text is no JSON object."""
    try:
        document = json.loads(text)
    except ValueError:
        return {}
    return document if isinstance(document, dict) else {}
