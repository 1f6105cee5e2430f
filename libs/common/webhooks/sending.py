"""One attempt: an HTTP request to a receiver, and what came of it."""

import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import aiohttp

from libs.common.webhooks.signing import signed_headers
from libs.common.webhooks.targets import CheckedResolver, TargetRefused, Targets

PATIENCE = aiohttp.ClientTimeout(total=15, connect=5)  # seconds
MEDIA_TYPE = "application/cloudevents+json; charset=utf-8"
GONE = 410
MOST_PAUSE = 3600.0  # seconds that a receiver may ask for in Retry-After


@dataclass(frozen=True)
class Attempt:
    """`status`: None where there was no answer; `error` says why then. `pause`: seconds that the receiver asks for."""

    status: int | None
    error: str = ""
    pause: float = 0.0

    @property
    def accepted(self) -> bool:
        return self.status is not None and 200 <= self.status < 300

    @property
    def gone(self) -> bool:
        return self.status == GONE


class Sender:
    """Posts CloudEvents in structured mode. It follows no redirect, keeps no cookie, and asks no proxy."""

    def __init__(self, session: aiohttp.ClientSession, targets: Targets) -> None:
        self._session = session
        self._targets = targets

    async def send(self, url: str, secret: str, message_id: str, now: float, body: bytes) -> Attempt:
        """`now`: seconds since the epoch, for the receiver's check that the message is new. Raises nothing."""
        headers = {"Content-Type": MEDIA_TYPE, **signed_headers(secret, message_id, int(now), body)}
        try:
            target = self._targets.check_url(url)
            async with self._session.post(target, data=body, headers=headers, allow_redirects=False) as answer:
                return _attempt(answer)
        except TargetRefused as error:
            return Attempt(None, f"refused: {error}")
        except TimeoutError:
            return Attempt(None, f"no answer within {PATIENCE.total:g} seconds")
        except (aiohttp.ClientError, OSError, ValueError) as error:
            cause = error.__cause__
            why = f"refused: {cause}" if isinstance(cause, TargetRefused) else f"{type(error).__name__}: {error}"
            return Attempt(None, why[:200])


def _attempt(answer: aiohttp.ClientResponse) -> Attempt:
    """Its body does not matter, and is not read."""
    status = answer.status
    if 200 <= status < 300:
        return Attempt(status)
    asked = answer.headers.get("Retry-After", "")
    pause = min(float(asked), MOST_PAUSE) if asked.isascii() and asked.isdecimal() and len(asked) < 10 else 0.0
    where = ": redirects are not followed" if 300 <= status < 400 else ""
    return Attempt(status, f"answered {status}{where}", pause)


@asynccontextmanager
async def open_sender(targets: Targets, ca_file: Path | None = None) -> AsyncIterator[Sender]:
    """`ca_file`: more CAs than those of the system."""
    tls = ssl.create_default_context()
    if ca_file:
        tls.load_verify_locations(ca_file)
    connector = aiohttp.TCPConnector(
        resolver=CheckedResolver(targets), use_dns_cache=False, ssl=tls, limit=0, limit_per_host=20
    )
    async with aiohttp.ClientSession(
        connector=connector,
        timeout=PATIENCE,
        cookie_jar=aiohttp.DummyCookieJar(),
        headers={"User-Agent": "HiPER-Automotive-webhooks"},
        auto_decompress=False,
    ) as session:
        yield Sender(session, targets)
