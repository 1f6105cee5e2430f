"""Writes `revoked.json`: which device's tokens are void.

It is one object that every replica reads, changes and writes, and stores have no compare-and-swap that can be
relied on, so two replicas at once can lose one another's entry. Each replica therefore remembers the entries it
made, reads back what it wrote, and looks every few seconds whether one of its own is missing.
"""

import asyncio
import json
from collections.abc import Mapping

import structlog

from libs.common.clock import Clock, SystemClock
from libs.common.security.repeating import Repeating
from libs.common.security.revocations import DamagedRevocations, Revocations, read_revoked
from libs.common.storage import ObjectStore, StoreError, StoreUnavailable
from libs.common.uploads.layout import REVOKED

log: structlog.stdlib.BoundLogger = structlog.stdlib.get_logger(__name__)

REPAIR_INTERVAL = 3.0  # seconds
# Seconds that a revocation reaches into the future. It covers tokens minted by a replica whose clock is ahead and
# those minted between a revocation and the change of the device. New tokens get a later `iat`, within the leeway
# that verifiers give (libs.common.security.tokens.LEEWAY).
MARGIN = 5
# Seconds that an entry outlives the tokens it voids, so that a lowered ACCESS_TOKEN_EXPIRE_MINUTES does not bring
# tokens back that were made under the old one.
RETENTION = 24 * 3600
_ATTEMPTS = 5


class Ledger:
    """The revocations as this replica knows and writes them."""

    def __init__(self, store: ObjectStore, view: Revocations, token_life: int, clock: Clock | None = None) -> None:
        """`view` is this process's own, to be told at once. `token_life` is in seconds."""
        self._store = store
        self._view = view
        self._retention = token_life + RETENTION
        self._clock = clock or SystemClock()
        self._own: dict[str, int] = {}
        self._writing = asyncio.Lock()
        self._repairing = Repeating("ledger", self._try_to_repair, lambda: REPAIR_INTERVAL, self._clock)

    async def start(self) -> None:
        """Begin to look, in the background, whether own entries are missing."""
        self._repairing.start()

    async def close(self) -> None:
        await self._repairing.close()

    async def last_revoked(self, device_id: str) -> int:
        """The newest second whose tokens are void, or 0. Raises StoreUnavailable."""
        stored = await self._read()
        return max(stored.get(device_id, 0), self._own.get(device_id, 0))

    async def revoke(self, device_id: str, latest: int = 0) -> int:
        """Void the device's tokens. Returns the second up to which they are void, at least `latest`.

        Raises StoreUnavailable; the revocation then stays wanted, and is written when the store is back.
        """
        return (await self.revoke_all({device_id: latest}))[device_id]

    async def revoke_all(self, latest: Mapping[str, int]) -> Mapping[str, int]:
        """As `revoke`, for many devices in one write."""
        second = int(self._clock.time()) + MARGIN
        revoked = {device: max(second, least, self._own.get(device, 0)) for device, least in latest.items()}
        self._own |= revoked
        await self._write()
        return revoked

    async def repair(self) -> None:
        """Write again what another replica overwrote, or somebody damaged. Raises StoreUnavailable."""
        self._own = self._recent(self._own)
        if (self._own or self._view.damaged) and self._missing(await self._read()):
            await self._write()

    async def _write(self) -> None:
        async with self._writing:
            stored = await self._read()
            attempts = 0
            while self._missing(stored) and attempts < _ATTEMPTS:
                await self._put(self._recent(_latest(stored, self._own)))
                stored = await self._read()
                attempts += 1
            if missing := self._missing(stored):
                log.warning("revocations_contended", missing=missing)
            self._view.learn(_latest(stored, self._own))

    async def _put(self, revoked: Mapping[str, int]) -> None:
        await self._store.put(REVOKED, json.dumps(revoked).encode(), content_type="application/json")

    async def _read(self) -> Mapping[str, int]:
        """What is stored. A damaged object is written anew with what this replica read before: nobody can revoke
        otherwise. Raises StoreUnavailable, also for a replica that never read one that was whole."""
        try:
            return await read_revoked(self._store)
        except DamagedRevocations as error:
            known = self._view.known
            if known is None:
                raise StoreUnavailable(f"{error} (docs/runbooks/HiperRevocationsStale.md)") from None
            log.error("revocations_damaged", error=str(error), remedy="written anew with what was read before")
            await self._put(known)
            return known

    def _missing(self, stored: Mapping[str, int]) -> list[str]:
        return [device for device, second in self._own.items() if stored.get(device, 0) < second]

    def _recent(self, revoked: Mapping[str, int]) -> dict[str, int]:
        oldest = self._clock.time() - self._retention
        return {device: second for device, second in revoked.items() if second >= oldest}

    async def _try_to_repair(self) -> None:
        try:
            await self.repair()
        except StoreError as error:
            log.warning("revocations_not_repaired", error=f"{type(error).__name__}: {error}")


def _latest(one: Mapping[str, int], other: Mapping[str, int]) -> dict[str, int]:
    return {device: max(one.get(device, 0), other.get(device, 0)) for device in {*one, *other}}
