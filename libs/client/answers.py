"""From what aiohttp gives or raises to the client's own errors."""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

import aiohttp
from pydantic import ValidationError

from libs.client.errors import (
    AnswerError,
    HiperError,
    ServerAwayError,
    UntrustedServerError,
    answer_error,
    gateway_error,
)
from libs.client.provenance import is_from_server

LONGEST_RETRY_AFTER = 3600.0  # seconds: a server that asks for more is asked again after this


@contextmanager
def translated(server: str) -> Iterator[None]:
    """Raise the client's errors instead of aiohttp's and pydantic's."""
    try:
        yield
    except aiohttp.ClientSSLError as error:
        raise UntrustedServerError(f"cannot trust {server}: {error}", "check its certificate") from error
    except aiohttp.InvalidURL as error:
        raise HiperError(f"{server!r} is not the address of a server", "like https://host:port") from error
    except TimeoutError as error:
        raise ServerAwayError(server, "no answer in time") from error
    except aiohttp.ClientError as error:
        raise ServerAwayError(server, _reason(error)) from error
    except ValidationError as error:
        raise AnswerError(f"{server} answers, but not like a HiPER server", "check the address") from error


async def raise_for(response: aiohttp.ClientResponse) -> None:
    """Raise the AnswerError that a response means, unless it is a success of the server. Raises GatewayError where
    something else answered."""
    status, reason = response.status, response.reason or ""
    document = await _document(response) if status >= 300 else {}
    wait = parse_retry_after(response.headers.get("Retry-After", ""), datetime.now(UTC))
    if not is_from_server(status, response.headers, document):
        server = str(response.url.origin())
        raise gateway_error(server, status, reason, response.headers.get("Location", ""), wait)
    if status >= 300:
        raise answer_error(status, reason, document, wait)


def parse_retry_after(value: str, now: datetime) -> float:
    """Seconds to wait (RFC 9110, section 10.2.3: a number of seconds, or a date); 0 for anything else."""
    try:
        seconds = float(value) if value.strip().isdigit() else _seconds_until(value, now)
    except ValueError:
        return 0.0
    return min(max(seconds, 0.0), LONGEST_RETRY_AFTER)


def _seconds_until(date: str, now: datetime) -> float:
    then = parsedate_to_datetime(date)
    return (then.replace(tzinfo=then.tzinfo or UTC) - now).total_seconds()


async def _document(response: aiohttp.ClientResponse) -> dict[str, Any]:
    if "json" not in response.headers.get("Content-Type", ""):
        return {}
    try:
        document = json.loads(await response.read())
    except ValueError:
        return {}
    return document if isinstance(document, dict) else {}


def _reason(error: aiohttp.ClientError) -> str:
    if isinstance(error, aiohttp.ClientConnectorError):
        cause = error.os_error  # a name that is not found has a number below 0, and its text in strerror
        return os.strerror(cause.errno) if cause.errno and cause.errno > 0 else str(cause.strerror)
    return str(error) or type(error).__name__
