"""Public keys fetched from an issuer (RFC 7517), so that a service can verify tokens and not mint them."""

import asyncio
import contextlib
import json
import ssl
from http import HTTPStatus
from typing import Any

import aiohttp
import jwt
import structlog
from jwt.algorithms import AllowedPublicKeys
from yarl import URL

from libs.common.clock import Clock, SystemClock
from libs.common.security.repeating import Repeating

log: structlog.stdlib.BoundLogger = structlog.stdlib.get_logger(__name__)

REFRESH_INTERVAL = 300.0  # seconds; a key that the issuer took back is refused at most this much later
COOLDOWN = 10.0  # seconds between two fetches at least, however many unknown key ids come
TIMEOUT = 5.0  # seconds
MOST_BYTES = 2**20  # of a key set
_PLAIN = {"Accept": "application/jwk-set+json, application/json", "Accept-Encoding": "identity"}


class KeysUnavailable(Exception):
    """The key set could not be fetched even once."""


class RemoteKeys:
    """The key set at one URL. A fetch that fails keeps the keys of the one before."""

    def __init__(self, url: str, algorithm: str, clock: Clock | None = None, tls: ssl.SSLContext | None = None) -> None:
        self._url = url
        self._shown = str(URL(url).with_user(None))  # credentials in it are for the issuer alone
        self._algorithm = algorithm
        self._clock = clock or SystemClock()
        self._tls = tls
        self._keys: dict[str, AllowedPublicKeys] | None = None
        self._fetched = float("-inf")  # when the last fetch began, on the monotonic clock
        self._away = False  # the last fetch failed
        self._fetching = asyncio.Lock()
        pause = lambda: REFRESH_INTERVAL if self.ready else COOLDOWN  # noqa: E731
        self._following = Repeating("jwks", self._fetch_unless_recent, pause, self._clock)

    @property
    def ready(self) -> bool:
        return self._keys is not None

    async def find(self, kid: str) -> AllowedPublicKeys | None:
        """The key of that id, or None where the issuer has none. An unknown id fetches the set again, at most every
        COOLDOWN seconds. Raises KeysUnavailable where that failed: it may be the id of a new key."""
        if self._keys is None or kid not in self._keys:
            await self._fetch_unless_recent()
        if self._keys is None or (self._away and kid not in self._keys):
            raise KeysUnavailable(self._shown)
        return self._keys.get(kid)

    async def start(self) -> None:
        """Fetch now (a failure is logged, not raised) and again every REFRESH_INTERVAL seconds."""
        await self._fetch_unless_recent()
        self._following.start()

    async def close(self) -> None:
        await self._following.close()

    async def _fetch_unless_recent(self) -> None:
        async with self._fetching:
            now = self._clock.monotonic()
            if now - self._fetched < COOLDOWN:
                return
            self._fetched = now
            self._away = True
            try:
                self._keys = parse_jwks(await self._download(), self._algorithm)
                self._away = False
            except Exception as error:  # whatever a document can cause: the keys that are known stay in force
                said = str(error).replace(self._url, self._shown)[:200]
                log.warning("jwks_fetch_failed", url=self._shown, error=f"{type(error).__name__}: {said}")

    async def _download(self) -> Any:
        timeout = aiohttp.ClientTimeout(total=TIMEOUT)
        # No redirects: the keys come from the configured place or not at all.
        async with (
            aiohttp.ClientSession(timeout=timeout, auto_decompress=False) as session,
            session.get(self._url, headers=_PLAIN, allow_redirects=False, ssl=self._tls or True) as response,
        ):
            if response.status != HTTPStatus.OK:
                raise ValueError(f"answered {response.status}")
            body = bytearray()
            async for block in response.content.iter_any():
                body += block
                if len(body) > MOST_BYTES:
                    raise ValueError(f"has more than {MOST_BYTES} bytes")
            return json.loads(body)


def parse_jwks(document: Any, algorithm: str) -> dict[str, AllowedPublicKeys]:
    """The public keys of a JWK Set that fit the algorithm, by kid; others (encryption keys, other key types,
    shared or private keys) are left out. Raises ValueError for what is no key set or has no usable key."""
    listed = document.get("keys") if isinstance(document, dict) else None
    if not isinstance(listed, list):
        raise ValueError("not a JWK Set")
    keys = {}
    for jwk in listed:
        if isinstance(jwk, dict) and isinstance(jwk.get("kid"), str) and _for_verifying(jwk, algorithm):
            with contextlib.suppress(Exception):  # of another type or malformed in any way: not ours to use
                keys[jwk["kid"]] = jwt.PyJWK(jwk, algorithm).key
    if not keys:
        raise ValueError(f"no key for {algorithm} in the JWK Set")
    return keys


def _for_verifying(jwk: dict[str, Any], algorithm: str) -> bool:
    public = "d" not in jwk and jwk.get("kty") != "oct"
    return public and jwk.get("use", "sig") == "sig" and jwk.get("alg", algorithm) == algorithm
