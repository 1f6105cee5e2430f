"""Which tokens are void: a view of `revoked.json` that every service keeps for itself."""

from collections.abc import Mapping
from typing import Annotated

import structlog
from prometheus_client import Gauge
from pydantic import Field, TypeAdapter, ValidationError

from libs.common.clock import Clock, SystemClock
from libs.common.security.repeating import Repeating
from libs.common.security.tokens import Principal
from libs.common.settings import Settings
from libs.common.storage import ObjectNotFound, ObjectStore, StoreError
from libs.common.uploads.layout import REVOKED

log: structlog.stdlib.BoundLogger = structlog.stdlib.get_logger(__name__)

MOST_BYTES = 64 * 2**20  # of `revoked.json`: a million devices revoked within a day
_LAST = 253_402_300_799  # seconds since the epoch: the end of the year 9999
_ENTRIES = TypeAdapter(dict[str, Annotated[int, Field(ge=0, le=_LAST)]])
AGE = Gauge("hiper_revocations_age_seconds", "Since `revoked.json` was last read, or since the start.")


class DamagedRevocations(Exception):
    """What is stored as `revoked.json` is no list of revocations."""


async def read_revoked(store: ObjectStore) -> dict[str, int]:
    """Device id -> whole second since the epoch; tokens issued then or before are void.

    A missing object means none. Raises StoreUnavailable, or DamagedRevocations.
    """
    body = bytearray()
    try:
        async with store.get(REVOKED) as blocks:
            async for block in blocks:
                body += block
                if len(body) > MOST_BYTES:
                    raise DamagedRevocations(f"{REVOKED} has more than {MOST_BYTES} bytes")
        return _ENTRIES.validate_json(bytes(body))
    except ObjectNotFound:
        return {}
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = f" at {str(first['loc'][0])[:64]!r}" if first["loc"] else ""
        raise DamagedRevocations(f"{REVOKED} is damaged{where}: {first['msg'][:200]}") from None


class Revocations:
    """Reads `revoked.json` of the auth bucket every `interval` seconds. What was read counts for `max_age` seconds:
    then it is not known any more which tokens are void."""

    def __init__(self, store: ObjectStore, interval: float, clock: Clock | None = None, max_age: float = 600) -> None:
        self._store = store
        self._clock = clock or SystemClock()
        self._max_age = max_age
        self._revoked: Mapping[str, int] | None = None
        self._fresh_at = self._clock.monotonic()
        self._away = False
        self.damaged = False  # what the last reading found
        self._following = Repeating("revocations", self.refresh, lambda: interval, self._clock)

    @classmethod
    def of(cls, settings: Settings, store: ObjectStore, clock: Clock | None = None) -> "Revocations":
        return cls(store, settings.revocation_interval, clock, settings.revocation_max_age)

    @property
    def age(self) -> float:
        """Seconds since `revoked.json` was last read; before that, since the start."""
        return self._clock.monotonic() - self._fresh_at

    @property
    def ready(self) -> bool:
        """Whether `revoked.json` was read, and not too long ago. Else no token can be trusted."""
        return self._revoked is not None and self.age <= self._max_age

    @property
    def known(self) -> Mapping[str, int] | None:
        """What was read last; None before the first time."""
        return self._revoked

    def is_revoked(self, principal: Principal) -> bool:
        """`iat` has whole seconds, so a token of the very second of the revocation is void too."""
        if self._revoked is None:
            return True
        second = self._revoked.get(principal.subject)
        return second is not None and principal.issued_at <= second

    def learn(self, revoked: Mapping[str, int]) -> None:
        """Take over what was just read or written: the process that revokes need not wait for itself."""
        self._revoked = dict(revoked)
        self._fresh_at = self._clock.monotonic()

    async def start(self) -> None:
        """Read now and then in the background. A store that is away is logged once, and not raised."""
        AGE.set_function(lambda: self.age)
        await self.refresh()
        self._following.start()

    async def close(self) -> None:
        await self._following.close()

    async def refresh(self) -> None:
        """Read once. The last known state stays when the store is away or the object is damaged."""
        try:
            self.learn(await read_revoked(self._store))
        except (StoreError, DamagedRevocations) as error:
            if not self._away:
                log.warning("revocations_unreadable", error=f"{type(error).__name__}: {error}")
            self._away = True
            self.damaged = isinstance(error, DamagedRevocations)
        else:
            self._away = self.damaged = False
