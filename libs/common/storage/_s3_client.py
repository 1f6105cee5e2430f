"""Signed requests to one bucket: time-outs, further tries, and the store's clock."""

import asyncio
import ssl
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field, replace
from enum import Enum
from typing import TypeVar

import aiohttp
from yarl import URL

from libs.common.storage import LEASE, Fence, StoreUnavailable, Stream
from libs.common.storage._bodies import Bytes
from libs.common.storage._s3_body import Upload
from libs.common.storage._s3_errors import ClockDiffers, Refused, connection_errors, read_failure
from libs.common.storage._s3_sign import KeyRing, Signer
from libs.common.storage._s3_time import StoreTime

VALID = 3600  # seconds; a URL without a fence only has to outlast the way to the store
CONNECT = 2.0  # seconds to connect
WAIT = 10.0  # seconds to get a connection when all are busy, names resolved
ANSWER = 4.0  # seconds of silence in an answer, and before it
INSIST = 3.0  # seconds after which no further try begins
READ_AGAIN = (0.1, 0.4)  # seconds before each further try
ONCE_MORE = (0.0,)  # for a connection that the store closed just before; aiohttp does it for PUT and DELETE
T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What to ask. Of `headers`, those that begin with `x-amz-` are signed. `pauses` (seconds) come before each
    further try; `patience` is how many seconds the store may be silent. `accepts`: statuses of failures
    that are answers too."""

    method: str
    key: str = ""
    query: Mapping[str, str] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    body: Bytes | Stream | None = None
    fence: Fence | None = None
    pauses: tuple[float, ...] = ()
    patience: float = ANSWER
    accepts: tuple[int, ...] = ()

    @property
    def size(self) -> int:
        return self.body.size if isinstance(self.body, Stream) else len(self.body or b"")


@dataclass(frozen=True, slots=True)
class Answer:
    """`seconds` passed from the request to the answer's head."""

    headers: Mapping[str, str]
    body: bytes
    seconds: float
    status: int


def new_session(tls: ssl.SSLContext | None = None) -> aiohttp.ClientSession:
    """Connections that several buckets of one store can share. Call it in a running event loop."""
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=100, keepalive_timeout=30, ssl=tls or True),
        cookie_jar=aiohttp.DummyCookieJar(),
        auto_decompress=False,
        headers={"Accept-Encoding": "identity"},
    )


class _Pool(Enum):
    """Connections apart, 100 each: answers that are read slowly must not keep a put or a look waiting."""

    CALLS = "calls"
    STREAMS = "streams"


class S3Client:
    """Asks for things in one bucket. Raises what the port raises, and never tells a URL."""

    def __init__(
        self,
        signer: Signer,
        bucket: str,
        session: aiohttp.ClientSession | None = None,
        clock: Callable[[], float] = time.time,
        tls: ssl.SSLContext | None = None,
        keys: KeyRing | None = None,
        *,
        virtual_host: bool = False,
    ) -> None:
        """Without a session it makes its own two, with `tls` on their connections, and closes them. `keys` stand in for
        those of the signer. `virtual_host`: the bucket is in the host's name, not in the path."""
        self._tls = tls
        self._keys = keys
        self._signer = replace(signer, endpoint=f"{bucket}.{signer.endpoint}") if virtual_host else signer
        self._root = "" if virtual_host else f"/{bucket}"
        self._bucket = bucket
        self._sessions = dict.fromkeys(_Pool, session) if session else {}
        self._owns_sessions = session is None
        self._time = StoreTime(clock)

    async def close(self) -> None:
        if self._owns_sessions:
            for session in self._sessions.values():
                await session.close()

    async def send(self, request: Request) -> Answer:
        """Ask, and read the whole answer."""

        async def attempt() -> Answer:
            asked = time.monotonic()
            async with await self._open(request, _Pool.CALLS) as response:
                seconds = time.monotonic() - asked
                with connection_errors(self._name(request)):
                    return Answer(response.headers, await response.read(), seconds, response.status)

        return await _insist(request.pauses, attempt)

    async def open(self, request: Request) -> aiohttp.ClientResponse:
        """Ask, and leave the answer's body to be read with `blocks`, and the answer to be closed."""
        return await _insist(request.pauses, lambda: self._open(request, _Pool.STREAMS))

    async def blocks(self, response: aiohttp.ClientResponse, size: int) -> AsyncIterator[bytes]:
        """The body in blocks of at most `size` bytes. Raises StoreUnavailable if it breaks off."""
        blocks = response.content.iter_chunked(size)
        while True:
            with connection_errors(f"{self._bucket}: a body that broke off"):
                block = await anext(blocks, b"")
            if not block:
                return
            yield block

    async def _open(self, request: Request, pool: "_Pool") -> aiohttp.ClientResponse:
        name = self._name(request)
        if pool not in self._sessions:
            self._sessions[pool] = new_session(self._tls)
        upload = None if request.body is None else Upload(request.body)
        fenced = request.fence is not None
        signer = await self._keys.equip(self._signer) if self._keys else self._signer
        with connection_errors(name, upload):
            response = await self._sessions[pool].request(
                request.method,
                self._sign(signer, request),
                data=upload,
                headers=request.headers,
                timeout=_time_outs(request),
                allow_redirects=False,
            )
        self._time.learn(response.headers)
        if response.status < 300 or response.status in request.accepts:
            return response
        async with response:
            with connection_errors(name):
                raise await read_failure(response, name, fenced)

    def _sign(self, signer: Signer, request: Request) -> URL:
        signed = {name: value for name, value in request.headers.items() if name.startswith("x-amz-")}
        path = f"{self._root}/{request.key}" if request.key else self._root or "/"
        issued, seconds = self._time.now(), VALID
        if request.fence:
            issued, seconds = int(request.fence.issued), int(LEASE)
        return signer.url(request.method, path, request.query, signed, issued=issued, seconds=seconds)

    def _name(self, request: Request) -> str:
        return f"{request.method} {self._bucket}/{request.key}"


def _time_outs(request: Request) -> aiohttp.ClientTimeout:
    return aiohttp.ClientTimeout(None, connect=WAIT, sock_connect=CONNECT, sock_read=request.patience)


async def _insist(pauses: tuple[float, ...], attempt: Callable[[], Awaitable[T]]) -> T:
    """Try again while the store is away, but not for long; and once when its clock has just been learned."""
    begun = time.monotonic()
    left = list(pauses)
    learned = False
    while True:
        try:
            return await attempt()
        except ClockDiffers:
            if learned:
                raise
            learned = True
        except Refused:
            raise
        except StoreUnavailable:
            if not left or time.monotonic() - begun > INSIST:
                raise
            await asyncio.sleep(left.pop(0))
