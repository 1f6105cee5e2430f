"""How much a device may ask at once and how fast: checked after authentication, before a byte of a body is read."""

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, MutableMapping
from contextlib import ExitStack, aclosing, asynccontextmanager, contextmanager
from dataclasses import dataclass

from libs.common.files.names import FLEET
from libs.common.problems import Kind, Problem, later
from libs.common.security.allowance import DEFAULT_CLASS, Allowance, Share
from libs.common.security.rates import Rates, Window, window
from libs.common.security.tokens import Principal
from libs.common.settings import Settings


@dataclass(frozen=True)
class Policy:
    """A share and the windows that count it."""

    share: Share
    requests: Window | None
    bytes: Window | None

    @classmethod
    def of(cls, share: Share, prefix: str, largest: int) -> "Policy":
        """`largest`: bytes of the largest chunk. It must fit into the window, or it would never get through."""
        requests = bytes_ = None
        if rate := share.requests_per_second:
            requests = window(f"{prefix}requests", "requests", rate, max(1, rate, share.request_burst))
        if rate := share.bytes_per_second:
            bytes_ = window(f"{prefix}bytes", "content-bytes", rate, max(rate, largest))
        return cls(share, requests, bytes_)


@dataclass
class _Busy:
    """One who has requests under way. `sent_until`: when what it downloads may go on, in seconds, monotonic."""

    requests: int = 0
    sent_until: float = 0.0


class Gate:
    """Lets requests in. Requests and uploaded bytes are counted in LIMITS_STORAGE_URI; what is under way, and how
    fast downloads go, in this process."""

    def __init__(self, settings: Settings) -> None:
        """Raises ConfigurationError."""
        largest = settings.max_chunk_size
        self.rates = Rates(settings.limits_storage_uri.get_secret_value())
        self.fleet = Policy.of(settings.limits_fleet, "fleet-", largest)
        classes = {DEFAULT_CLASS: Allowance(), **settings.limits_classes}
        self._allowances = classes
        self._policies = {name: Policy.of(allowance, "", largest) for name, allowance in classes.items()}
        self._busy: dict[str, _Busy] = {}

    @asynccontextmanager
    async def entered(self, principal: Principal, fields: MutableMapping[str, str]) -> AsyncIterator["Visit"]:
        """A request of the principal, from its headers to the end of the answer, whose header `fields` tell what is
        left. Raises TOO_MANY_REQUESTS."""
        name = principal.device_class if principal.device_class in self._policies else DEFAULT_CLASS
        with ExitStack() as stack:
            visit = Visit(self, principal.subject, self._policies[name], self._allowances[name], fields, stack)
            for who, policy in visit.parties:
                stack.enter_context(self._place(who, policy.share.concurrent_requests))
            await visit.take_request()
            yield visit

    @contextmanager
    def _place(self, who: str, most: int) -> Iterator[None]:
        busy = self._busy.setdefault(who, _Busy())
        if most and busy.requests >= most:
            whose = "The fleet" if who == FLEET else "This device"
            detail = f"{whose} has {most} requests under way, which is its share. Wait for the answer of one."
            raise Problem(Kind.TOO_MANY_REQUESTS, detail, headers=later(1), limit="concurrency")
        busy.requests += 1
        try:
            yield
        finally:
            busy.requests -= 1
            wait = busy.sent_until - time.monotonic()
            if wait > 0:
                asyncio.get_running_loop().call_later(wait, self._forget, who)
            else:
                self._forget(who)

    def _forget(self, who: str) -> None:
        busy = self._busy.get(who)
        if busy and not busy.requests and busy.sent_until <= time.monotonic():
            del self._busy[who]

    async def pace(self, who: str, rate: int, size: int) -> None:
        """Wait until `size` more bytes may be sent to somebody at `rate` bytes per second."""
        busy, now = self._busy[who], time.monotonic()
        wait = busy.sent_until - now
        busy.sent_until = max(busy.sent_until, now) + size / rate
        if wait > 0:
            await asyncio.sleep(wait)


@dataclass(frozen=True)
class Visit:
    """A request that was let in."""

    gate: Gate
    who: str
    policy: Policy
    allowance: Allowance
    fields: MutableMapping[str, str]
    places: ExitStack  # among the requests under way; closed before the end by a request that lasts

    @property
    def parties(self) -> tuple[tuple[str, Policy], ...]:
        """Whose shares it uses."""
        return (self.who, self.policy), (FLEET, self.gate.fleet)

    async def take_request(self) -> None:
        for who, policy in self.parties:
            await self._take(policy.requests, who, 1)

    async def take_bytes(self, size: int) -> None:
        """Count the bytes of an upload. Raises TOO_MANY_REQUESTS."""
        for who, policy in self.parties:
            await self._take(policy.bytes, who, size)

    async def wait_for_bytes(self, size: int) -> None:
        """As `take_bytes`, for more bytes of a body that was let in: waits until they may come."""
        while True:
            try:
                return await self.take_bytes(size)
            except Problem as problem:
                await asyncio.sleep(float(problem.headers["Retry-After"]))

    async def _take(self, window: Window | None, who: str, cost: int) -> None:
        if window is None or not cost:
            return
        taken = await self.gate.rates.take(window, who, min(cost, window.quota))
        if who == self.who:
            await self._describe()
        if not taken:
            left = await self.gate.rates.left(window, who)
            wait = left.reset + max(0, cost - left.remaining) * window.seconds / window.quota
            whose = "the fleet" if who == FLEET else "this device"
            detail = f"The limit of {whose} is {window.quota} {window.unit} in {window.seconds} s. Try again later."
            headers = later(min(wait, 2 * window.seconds))
            raise Problem(Kind.TOO_MANY_REQUESTS, detail, headers=headers, limit=window.name)

    async def _describe(self) -> None:
        """Tell the device its own limits (https://datatracker.ietf.org/doc/draft-ietf-httpapi-ratelimit-headers/)."""
        windows = [found for found in (self.policy.requests, self.policy.bytes) if found]
        policies = [f'"{w.name}";q={w.quota};qu="{w.unit}";w={w.seconds}' for w in windows]
        if most := self.policy.share.concurrent_requests:
            policies.append(f'"concurrency";q={most};qu="concurrent-requests"')
        lefts = [await self.gate.rates.left(w, self.who) for w in windows]
        state = [f'"{w.name}";r={n.remaining};t={round(n.reset)}' for w, n in zip(windows, lefts, strict=True)]
        if state:
            self.fields.update({"RateLimit-Policy": ", ".join(policies), "RateLimit": ", ".join(state)})

    async def paced(self, blocks: AsyncGenerator[bytes, None]) -> AsyncGenerator[bytes, None]:
        """Blocks of a download, no faster than the shares allow. Closes them when it is closed itself."""
        rates = [(who, rate) for who, policy in self.parties if (rate := policy.share.bytes_per_second)]
        async with aclosing(blocks):
            async for block in blocks:
                for who, rate in rates:
                    await self.gate.pace(who, rate, len(block))
                yield block
