"""Which devices this process saw, and why it refused them last: kept in memory, put once a minute for the janitor."""

import asyncio
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import structlog

from libs.common.clock import Clock
from libs.common.fleet.rows import DeviceRow
from libs.common.fleet.seen import put_seen
from libs.common.problems import Kind, Problem
from libs.common.security.repeating import Repeating
from libs.common.security.tokens import Principal
from libs.common.storage import ObjectStore, StoreError
from libs.common.uploads.layout import new_seen_key

log = structlog.get_logger(__name__)
INTERVAL = 60.0  # seconds between two objects
KEPT = 3600.0  # seconds for which a sighting is told: so long the janitor may be away
MOST = 100_000  # devices; those that were not seen for longest are forgotten first
_WHY = 200  # characters


class Sightings:
    """Of one process. A request costs a look into a dictionary and no call of the store."""

    def __init__(self, perm: ObjectStore, clock: Clock) -> None:
        self._perm = perm
        self._clock = clock
        self._rows: OrderedDict[str, DeviceRow] = OrderedDict()
        self._changed = False
        self._key = new_seen_key()
        self._putting = Repeating("sightings", self._try_to_put, lambda: INTERVAL, clock)

    @contextmanager
    def of(self, caller: Principal) -> Iterator[None]:
        """A request of a device, and the problem that it ends with. That a file is not there is no refusal."""
        self._note(caller)
        try:
            yield
        except Problem as problem:
            if problem.kind is not Kind.NOT_FOUND:
                why = f"{problem.kind.slug}: {problem.detail}"[:_WHY]
                row = self._rows[caller.subject]
                self._rows[caller.subject] = row._replace(refused_at=self._clock.time(), refusal=why)
            raise

    def _note(self, caller: Principal) -> None:
        row = self._rows.pop(caller.subject, None) or DeviceRow(caller.subject)
        self._rows[caller.subject] = row._replace(last_seen=self._clock.time(), device_class=caller.device_class)
        if len(self._rows) > MOST:
            self._rows.popitem(last=False)
        self._changed = True

    def start(self) -> None:
        self._putting.start()

    async def close(self) -> None:
        """Put what was not put yet."""
        await self._putting.close()
        with suppress(StoreError, TimeoutError):
            async with asyncio.timeout(2):
                await self.put()

    async def put(self) -> None:
        """Put what was seen lately, if anything was seen since the last time. Raises StoreUnavailable."""
        if not self._changed:
            return
        self._changed, now = False, self._clock.time()
        while self._rows and next(iter(self._rows.values())).last_seen < now - KEPT:
            self._rows.popitem(last=False)
        try:
            await put_seen(self._perm, self._key, now, list(self._rows.values()))
        except BaseException:
            self._changed = True
            raise

    async def _try_to_put(self) -> None:
        try:
            await self.put()
        except StoreError as error:
            log.warning("which devices were seen cannot be put, will try again", error=str(error))
