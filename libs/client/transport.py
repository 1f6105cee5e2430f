"""One HTTP exchange, and the same with retries. Every request of the client goes through here."""

import re
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import TypeVar
from urllib.parse import quote, urlencode

import aiohttp
from pydantic import BaseModel
from yarl import URL

from libs.client.answers import raise_for
from libs.client.errors import AnswerError, HiperError, UnauthorizedError
from libs.client.failures import translated
from libs.client.ratelimit import RateLimit
from libs.client.retry import Patience
from libs.client.tokens import ClientCredentials, TokenProvider

# A silence of this long ends any request. A chunk gets longer than the server allows it (BODY_TIMEOUT, 300 s).
CONNECT_TIMEOUT = 15.0
SILENCE_TIMEOUT = 60.0
CHUNK_TIMEOUT = 330.0

_SCOPE = re.compile(r'error="insufficient_scope".{0,20}scope="([^"]{1,200})"')  # RFC 6750, section 3

RecordT = TypeVar("RecordT", bound=BaseModel)


@dataclass(frozen=True, slots=True)
class Request:
    """`path` is percent-encoded and begins with a slash; `query` is not encoded. `timeout` is for the whole
    exchange, in seconds; None for a body of any length. `silence`: seconds without a byte that end it."""

    method: str
    path: str
    query: Mapping[str, str] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes | None = None
    timeout: float | None = SILENCE_TIMEOUT
    silence: float = SILENCE_TIMEOUT


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer that is in memory."""

    headers: Mapping[str, str]
    body: bytes


class Transport:
    def __init__(
        self, session: aiohttp.ClientSession, server: str, tokens: TokenProvider, limit: RateLimit | None = None
    ) -> None:
        """`limit` bounds what is sent as bodies."""
        self._session = session
        self.server = server
        self._tokens = tokens
        self._limit = limit or RateLimit()

    @asynccontextmanager
    async def exchange(self, request: Request) -> AsyncIterator[aiohttp.ClientResponse]:
        """One attempt; a token that is refused, or lacks a scope, is replaced once. Raises HiperError, also for what
        breaks while the answer's body is read inside of the `async with`."""
        for last in (False, True):
            token = await self._tokens.token()
            with translated(self.server):
                async with self._send(request, token) as response:
                    try:
                        await raise_for(response)
                    except AnswerError as error:
                        if last or not await self._replaced(token, error, response.headers):
                            raise
                        continue
                    yield response
                    return

    async def _replaced(self, token: str, error: AnswerError, headers: Mapping[str, str]) -> bool:
        """Whether there may be a token that would not be refused like this."""
        if isinstance(error, UnauthorizedError):
            self._tokens.expire(token)
            return True
        lacking = _SCOPE.search(headers.get("WWW-Authenticate", ""))
        if error.status != HTTPStatus.FORBIDDEN or not lacking or not isinstance(self._tokens, ClientCredentials):
            return False
        return await self._tokens.widen(frozenset(lacking[1].split()))

    async def once(self, request: Request) -> Answer:
        """One attempt, with the answer in memory."""
        async with self.exchange(request) as response:
            return Answer(response.headers, await response.read())

    async def call(self, request: Request, patience: Patience) -> Answer:
        """As many attempts as patience allows."""
        backoff = patience.backoff()
        while True:
            try:
                return await self.once(request)
            except HiperError as error:
                await backoff.pause(error)

    async def ask_for_scope(self, scope: str, patience: Patience) -> None:
        """Have a scope in the tokens from now on, if the client may have it: a token for which none were named need not
        have all of them."""
        backoff = patience.backoff()
        while isinstance(self._tokens, ClientCredentials):
            try:
                await self._tokens.token()
                await self._tokens.widen(frozenset({scope}))
            except HiperError as error:
                await backoff.pause(error)
            else:
                return

    def parse(self, kind: type[RecordT], answer: Answer) -> RecordT:
        """The answer's JSON document as a record."""
        with translated(self.server):
            return kind.model_validate_json(answer.body)

    def _send(self, request: Request, token: str) -> "aiohttp.client._RequestContextManager":
        query = f"?{urlencode(request.query, quote_via=quote, safe='')}" if request.query else ""
        length = {} if request.body is None else {"Content-Length": str(len(request.body))}
        return self._session.request(
            request.method,
            URL(f"{self.server}{request.path}{query}", encoded=True),
            headers={"Accept-Encoding": "identity", **length, **request.headers, "Authorization": f"Bearer {token}"},
            data=None if request.body is None else self._limit.blocks(request.body),
            timeout=aiohttp.ClientTimeout(
                total=request.timeout, sock_connect=CONNECT_TIMEOUT, sock_read=request.silence
            ),
            allow_redirects=False,
        )
