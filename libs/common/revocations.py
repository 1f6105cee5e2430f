"""Which tokens are void: a view of `revoked.json` that every service keeps for itself."""

import asyncio
import contextlib
import json
from collections.abc import Mapping

import structlog

from libs.common.clock import Clock, SystemClock
from libs.common.layout import REVOKED
from libs.common.store import ObjectNotFound, ObjectStore, StoreError, read
from libs.common.tokens import Principal

log: structlog.stdlib.BoundLogger = structlog.stdlib.get_logger(__name__)


async def read_revoked(store: ObjectStore) -> dict[str, int]:
    """Device id -> whole second since the epoch; tokens issued then or before are void.

    A missing object means none. Raises StoreUnavailable, or ValueError for a damaged object.
    """
    try:
        document = json.loads(await read(store, REVOKED))
    except ObjectNotFound:
        return {}
    if not isinstance(document, dict):
        raise ValueError(f"{REVOKED} is not a JSON object")
    return {str(device): int(second) for device, second in document.items()}


class Revocations:
    """Reads `revoked.json` of the auth bucket every `interval` seconds."""

    def __init__(self, store: ObjectStore, interval: float, clock: Clock | None = None) -> None:
        self._store = store
        self._interval = interval
        self._clock = clock or SystemClock()
        self._revoked: Mapping[str, int] | None = None
        self._away = False
        self._task: asyncio.Task[None] | None = None

    @property
    def ready(self) -> bool:
        """Whether `revoked.json` was read at least once. Until then no token can be trusted."""
        return self._revoked is not None

    def is_revoked(self, principal: Principal) -> bool:
        """`iat` has whole seconds, so a token of the very second of the revocation is void too."""
        if self._revoked is None:
            return True
        second = self._revoked.get(principal.subject)
        return second is not None and principal.issued_at <= second

    def learn(self, revoked: Mapping[str, int]) -> None:
        """Take over what was just read or written: the process that revokes need not wait for itself."""
        self._revoked = dict(revoked)

    async def start(self) -> None:
        """Read now and then in the background. A store that is away is logged once, and not raised."""
        await self.refresh()
        self._task = asyncio.create_task(self._refresh_forever(), name="revocations")

    async def close(self) -> None:
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task

    async def refresh(self) -> None:
        """Read once. The last known state stays when the store is away or the object is damaged."""
        try:
            self.learn(await read_revoked(self._store))
        except (StoreError, ValueError, TypeError) as error:
            if not self._away:
                log.warning("revocations_unreadable", error=f"{type(error).__name__}: {error}")
            self._away = True
        else:
            self._away = False

    async def _refresh_forever(self) -> None:
        while True:
            await self._clock.sleep(self._interval)
            await self.refresh()
