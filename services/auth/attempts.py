"""Limits on wrong secrets, for each client and for each address.

A person chose the admin's secret, so it can be guessed: beyond the limit auth checks guesses at it one after another,
and slowly. A device's secret is 256 random bits, which no number of guesses finds, but each guess costs a call of the
store: beyond the limit auth checks a few at once, as fast as it can, because devices behind the attacker's address wait
in the same line. The limit locks out no client: a right secret gets its token during an attack, and a device whose
secret was right before does not wait at all.
"""

import asyncio
import hashlib
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from ipaddress import IPv6Address, ip_address, ip_network
from time import monotonic

from libs.common.problems import Kind, Problem, later
from libs.common.security.rates import Rates, Window, window
from libs.common.security.recent import Recent
from libs.common.settings import Settings
from services.auth.client_secrets import SecretHash
from services.auth.clients import Client, Clients
from services.auth.grant import NO_STORE
from services.auth.namesakes import OF_SETTINGS

PER = 60.0  # seconds: failures are counted over this time
PACE = 0.05  # seconds that a guess beyond the limit takes, if it is at the secret of a client of the settings
MOST_WAITING = 40  # such guesses at one client from one address; more are refused unchecked
ABREAST = 8  # guesses at devices beyond the limit, from one address, that are checked at once
MOST_IN_LINE = 2000  # such guesses that wait; more are refused unchecked
FLOOR = 0.1  # seconds: a wrong secret is answered no sooner, so that the store's time does not tell known ids
KNOWN_FOR = 86400.0  # seconds: auth remembers a right secret for this time
MOST_KNOWN = 10_000


@dataclass
class _Lane:
    """Guesses beyond the limit, from one address: at devices, or at one client of the settings. `pace` in seconds."""

    places: asyncio.Semaphore
    pace: float
    most: int
    waiting: int = 0


class Attempts:
    """Authenticates clients as `Clients` does, and bounds wrong secrets for each client id from each address, and for
    each address. Counts are in LIMITS_STORAGE_URI, and in this process for the time that it is away."""

    def __init__(self, clients: Clients, settings: Settings) -> None:
        """Raises ConfigurationError."""
        self._clients = clients
        uris = {"memory://", settings.limits_storage_uri.get_secret_value()}
        self._counts = [Rates(uri) for uri in sorted(uris)]
        self._per_client = _failures("token-client", settings.token_failures_per_client)
        self._per_address = _failures("token-address", settings.token_failures_per_address)
        self._counted = Counter[str]()  # what is under way
        self._lanes: dict[str, _Lane] = {}
        self._known = Recent[SecretHash](KNOWN_FOR, MOST_KNOWN)

    async def authenticate(self, client_id: str, secrets: Sequence[str], address: str) -> Client | None:
        """The client, if one of the secrets is its own; else None. Raises Problem TOO_MANY_REQUESTS for a wrong secret
        beyond the limits, and for one that is refused unchecked. Raises StoreUnavailable."""
        began, network = monotonic(), network_of(address)
        pair = f"{network} {hashlib.sha256(client_id.encode('utf-8', 'surrogatepass')).hexdigest()[:32]}"
        with self._under_way(pair) as ahead, self._under_way(network) as ahead_of_address:
            beyond = (
                await self._beyond(self._per_client, pair, ahead)
                or await self._beyond(self._per_address, network, ahead_of_address)
            ) and not self._knows(client_id, secrets)
            if beyond:
                async with self._turn(client_id, network):
                    client = await self._clients.authenticate(client_id, secrets)
            else:
                client = await self._clients.authenticate(client_id, secrets)
            if client is None:
                await self._count(pair, network)
        if client is not None:
            if client.proven_by is not None:
                self._known.put(client_id, client.proven_by)
            return client
        await asyncio.sleep(began + FLOOR - monotonic())
        if beyond:
            raise _too_many()
        return None

    def _knows(self, client_id: str, secrets: Sequence[str]) -> bool:
        """Whether one of the secrets was right before. It may have ended since."""
        known = self._known.get(client_id)
        return known is not None and any(map(known.is_of, secrets))

    async def _beyond(self, limit: Window | None, who: str, ahead: int) -> bool:
        """Whether the limit is reached, if all that came before and are under way fail."""
        left = [(await count.left(limit, who)).remaining for count in self._counts] if limit else []
        return any(remaining <= ahead for remaining in left)

    @contextmanager
    def _under_way(self, who: str) -> Iterator[int]:
        """How many are under way already, while this one is too. Counted before anything is waited for: of many that
        come at once, each has another number."""
        ahead = self._counted[who]
        self._counted[who] += 1
        try:
            yield ahead
        finally:
            self._counted[who] -= 1
            if not self._counted[who]:
                del self._counted[who]

    async def _count(self, pair: str, network: str) -> None:
        for limit, who in ((self._per_client, pair), (self._per_address, network)):
            if limit:
                for count in self._counts:
                    await count.take(limit, who)

    @asynccontextmanager
    async def _turn(self, client_id: str, network: str) -> AsyncIterator[None]:
        fixed = client_id in OF_SETTINGS
        key = f"{network} {client_id}" if fixed else network
        lane = self._lanes.setdefault(key, _paced() if fixed else _wide())
        if lane.waiting >= lane.most:
            raise _too_many()
        lane.waiting += 1
        try:
            async with lane.places:
                await asyncio.sleep(lane.pace)
                yield
        finally:
            lane.waiting -= 1
            if not lane.waiting:
                del self._lanes[key]


def _paced() -> _Lane:
    return _Lane(asyncio.Semaphore(1), PACE, MOST_WAITING)


def _wide() -> _Lane:
    return _Lane(asyncio.Semaphore(ABREAST), 0, MOST_IN_LINE)


def network_of(address: str) -> str:
    """The addresses that one customer of a provider has: an IPv4 address, or an IPv6 network of 64 bits."""
    try:
        parsed = ip_address(address.partition("%")[0])
    except ValueError:
        return address[:64]  # of a transport that has no addresses
    if isinstance(parsed, IPv6Address):
        return str(parsed.ipv4_mapped or ip_network((parsed, 64), strict=False))
    return str(parsed)


def _failures(name: str, most: int) -> Window | None:
    return window(name, "failures", most / PER, most) if most else None


def _too_many() -> Problem:
    detail = "Too many wrong secrets came from this address. Check the secret, and try again later."
    return Problem(Kind.TOO_MANY_REQUESTS, detail, headers=NO_STORE | later(2, 8), limit="token-failures")
