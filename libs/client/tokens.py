"""Access tokens: fetched with the device's id and secret, renewed before they expire."""

import asyncio
import base64
from typing import Protocol
from urllib.parse import quote

import aiohttp
from pydantic import BaseModel, ConfigDict, Field

from libs.client.answers import raise_for
from libs.client.errors import AnswerError, UnauthorizedError
from libs.client.failures import translated
from libs.common.clock import Clock, SystemClock

MARGIN = 30.0  # seconds before its end that a token is renewed, but at most a fifth of its life
ROUNDING = 1.5  # seconds, at least: `exp` is in whole seconds, so that a token may live up to one second less
TIMEOUT = aiohttp.ClientTimeout(total=30)


class TokenProvider(Protocol):
    """Where a client gets its access tokens from."""

    async def token(self) -> str:
        """A token to use now. Raises HiperError."""
        ...

    def expire(self, token: str) -> None:
        """The server refused this token: hand it out no more."""
        ...


class _TokenAnswer(BaseModel):
    model_config = ConfigDict(hide_input_in_errors=True)

    access_token: str = Field(repr=False)
    expires_in: float  # seconds
    scope: str = ""


class ClientCredentials:
    """OAuth 2.0 client credentials (RFC 6749, section 4.4). One fetch at a time, however many requests wait."""

    def __init__(
        self,
        session: aiohttp.ClientSession,
        server: str,
        device_id: str,
        client_secret: str,
        clock: Clock | None = None,
    ) -> None:
        self._session = session
        self._server = server
        self._device_id = device_id
        self._secret = client_secret
        self._clock = clock or SystemClock()
        self._lock = asyncio.Lock()
        self._token = ""
        self._renew_at = 0.0
        self._granted = frozenset[str]()
        self._asked = frozenset[str]()  # empty: those that the server gives by default

    async def token(self) -> str:
        async with self._lock:
            if not self._token or self._clock.monotonic() >= self._renew_at:
                await self._fetch()
            return self._token

    def expire(self, token: str) -> None:
        if token == self._token:
            self._token = ""

    async def widen(self, scopes: frozenset[str]) -> bool:
        """Ask for these scopes too, from now on: a token for which none were named need not have all that the client
        may have. False where the server gives no more. Raises HiperError."""
        async with self._lock:
            if scopes <= self._granted:
                return True  # another request asked for them meanwhile
            before, self._asked = self._asked, self._granted | scopes
            try:
                await self._fetch()
            except AnswerError as error:
                self._asked = before
                if error.slug in {"invalid-client", "token-request"}:
                    return False
                raise
            return True

    async def _fetch(self) -> None:
        asked = self._clock.monotonic()
        try:
            answer = await self._ask()
        except AnswerError as error:
            if error.slug == "invalid-client":  # never a status alone: gateways answer 400 and 401 too
                raise UnauthorizedError(
                    f"{self._server} does not accept the id or the secret of {self._device_id!r}",
                    "log in with a valid id and secret: hiper login",
                    status=error.status,
                    slug=error.slug,
                ) from error
            raise
        self._token = answer.access_token
        self._granted = frozenset(answer.scope.split())
        self._renew_at = asked + answer.expires_in - max(ROUNDING, min(MARGIN, answer.expires_in / 5))

    async def _ask(self) -> _TokenAnswer:
        scope = {"scope": " ".join(sorted(self._asked))} if self._asked else {}
        with translated(self._server):
            async with self._session.post(
                f"{self._server}/token",
                data={"grant_type": "client_credentials"} | scope,
                headers={"Authorization": self._basic()},
                timeout=TIMEOUT,
                allow_redirects=False,
            ) as response:
                await raise_for(response)
                return _TokenAnswer.model_validate_json(await response.read())

    def _basic(self) -> str:
        """RFC 6749, section 2.3.1: form-encoded first, so that a colon in the id cannot move the boundary."""
        pair = f"{quote(self._device_id, safe='')}:{quote(self._secret, safe='')}"
        return f"Basic {base64.b64encode(pair.encode()).decode()}"
