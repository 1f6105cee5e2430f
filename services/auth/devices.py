"""The register of devices, in the auth bucket.

Changes through one process follow one another. Through two replicas at the same moment the later write of a
device stands; a revocation stands in any case, because it is in the ledger before the device is touched.
"""

import asyncio
import math
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import NamedTuple

from libs.common.clock import Clock
from libs.common.problems import Kind, Problem
from libs.common.security.allowance import DEFAULT_CLASS
from libs.common.storage import Buckets, ObjectStore, StoreRefused
from libs.common.uploads.holdings import holds_anything
from libs.common.uploads.layout import DEVICES, device_key, parse_device_key
from libs.common.uploads.ours import walk_ours
from services.auth.client_secrets import new_secret
from services.auth.ledger import Ledger
from services.auth.models import Device, Scope
from services.auth.namesakes import OF_SETTINGS, namesake
from services.auth.records import Records

_READS_AT_ONCE = 16


class Page(NamedTuple):
    devices: list[Device]
    damaged: list[str]
    next: str | None  # the id to go on after


class Revoked(NamedTuple):
    """What became of a revocation. `devices`: as they were before; `damaged`: ids of those whose record cannot be read;
    `revoked`: the ids of both, and those of clients of the settings."""

    devices: list[Device]
    damaged: list[str]
    revoked: list[str]
    unknown: list[str]


class Devices:
    """Every method raises StoreUnavailable. Those that need a device to be there raise Problem DEVICE_NOT_FOUND;
    those that need to read it, Problem DEVICE_DAMAGED."""

    def __init__(self, store: ObjectStore, files: Buckets, ledger: Ledger, overlap: float, clock: Clock) -> None:
        """`files`: the buckets in which it looks for what an id has. `overlap`: seconds that a rotated secret stays
        valid."""
        self._store = store
        self._records = Records(store)
        self._files = files
        self._ledger = ledger
        self._overlap = overlap
        self._clock = clock
        self._changing = asyncio.Lock()
        self._reading = asyncio.Semaphore(_READS_AT_ONCE)

    async def find(self, device_id: str) -> Device | None:
        return await self._records.find(device_id)

    async def get(self, device_id: str) -> Device:
        if device := await self.find(device_id):
            return device
        if device_id in OF_SETTINGS:
            detail = f"{device_id} is a client of the settings, which say its secret. Its tokens can be revoked"
            raise Problem(Kind.DEVICE_NOT_FOUND, detail)
        raise Problem(Kind.DEVICE_NOT_FOUND, "Register it with POST /devices, or look at GET /devices")

    async def page(self, after: str, limit: int) -> Page:
        """At most `limit` devices that come after the id `after`, in the order of their keys."""
        start_after = device_key(after) if after else ""
        ids = list[str]()
        async for device_id, _ in walk_ours(self._store, DEVICES, parse_device_key, start_after):
            if len(ids) == limit:
                return Page(*await self._read_all(ids), ids[-1])
            ids.append(device_id)
        return Page(*await self._read_all(ids), None)

    async def register(
        self, device_id: str, scopes: Sequence[Scope], device_class: str = DEFAULT_CLASS
    ) -> tuple[Device, str]:
        """A new device and its secret. Raises Problem DEVICE_EXISTS, and DEVICE_HAS_FILES where it would read what an
        earlier device of this id left."""
        async with self._changing:
            if await self.find(device_id):
                detail = "Choose another id; or renew its secret with POST /devices/{device_id}/secret"
                raise Problem(Kind.DEVICE_EXISTS, detail)
            if other := await namesake(self._store, device_id):
                detail = f"There is a device {other!r}, which differs in case alone. Choose another id"
                raise Problem(Kind.DEVICE_EXISTS, detail)
            await self._refuse_heir(device_id)
            secret, hashed = new_secret()
            device = Device(
                device_id=device_id,
                scopes=sorted(set(scopes)),
                created_at=datetime.fromtimestamp(int(self._clock.time()), UTC),
                secrets=[hashed],
                # The tokens of a device that had this id before stay void; those of this one come later.
                tokens_from=await self._ledger.last_revoked(device_id) + 1,
                device_class=device_class,
            )
            await self._save(device)
            return device, secret

    async def classify(self, device_id: str, device_class: str) -> tuple[Device, Device]:
        """Put a device into another class; the device before and after. Its next token says so."""
        async with self._changing:
            before = await self.get(device_id)
            after = before.model_copy(update={"device_class": device_class})
            await self._save(after)
            return before, after

    async def rotate(self, device_id: str, *, revoke_old: bool) -> tuple[Device, str]:
        """The device and its new secret. Older ones end with the overlap, or at once with `revoke_old`."""
        async with self._changing:
            device, now = await self.get(device_id), self._clock.time()
            kept = [] if revoke_old else [old.until(now + self._overlap) for old in device.secrets]
            secret, hashed = new_secret()
            secrets = [hashed, *(old for old in kept if not old.expired(now))]
            device = device.model_copy(update={"secrets": secrets})
            await self._save(device)
            return device, secret

    async def tokens_from(self, client_id: str) -> int:
        """Least `iat` of the tokens of a client that is no device: later than its last revocation."""
        return await self._ledger.last_revoked(client_id) + 1

    async def revoke(self, device_id: str) -> None:
        """Void every token that the device has, or a client of the settings; it can get new ones."""
        if not (await self.revoke_all([device_id], forget=False)).revoked:
            await self.get(device_id)

    async def revoke_all(self, device_ids: Sequence[str], *, forget: bool) -> Revoked:
        """Void every token of these devices and clients of the settings, in one write; then, with `forget`, delete the
        devices. A failure in between leaves nothing usable, and the same call goes on."""
        async with self._changing:
            ids = list(dict.fromkeys(device_ids))
            devices, damaged = await self._read_all(ids)
            latest = {device.device_id: device.tokens_from for device in devices} | dict.fromkeys(damaged, 0)
            revoked = await self._ledger.revoke_all(latest | {name: 0 for name in ids if name in OF_SETTINGS})
            if forget:
                await self._store.delete_many([device_key(i) for i in (*damaged, *(d.device_id for d in devices))])
                if self._clock.time() > min(revoked.values(), default=math.inf):  # a token may have been made meanwhile
                    await self._ledger.revoke_all(revoked)
            else:
                later = [d.model_copy(update={"tokens_from": revoked[d.device_id] + 1}) for d in devices]
                await asyncio.gather(*map(self._save_in_turn, later))
            return Revoked(devices, damaged, [*revoked], [name for name in ids if name not in revoked])

    async def delete(self, device_id: str) -> Device | None:
        """Void every token, then forget the device; what it was, None where its record cannot be read. A failure
        between the two leaves nothing usable, and deleting again goes on."""
        devices, damaged = await self._read_all([device_id])
        before = devices[0] if devices else None if damaged else await self.get(device_id)
        return next(iter((await self.revoke_all([device_id], forget=True)).devices), before)

    async def _refuse_heir(self, device_id: str) -> None:
        try:
            inherits = await holds_anything(self._files, device_id)
        except StoreRefused as error:
            detail = f"Auth may not see what an id has: give it the rights of deploy/policies/auth.json ({error})"
            raise Problem(Kind.STORE_UNAVAILABLE, detail) from error
        if inherits:
            detail = (
                f"There are files or uploads of an earlier device {device_id!r}, which the new one would read. Delete "
                f"them first (hiper device purge {device_id}; it takes some seconds), or choose another id."
            )
            raise Problem(Kind.DEVICE_HAS_FILES, detail)

    async def _save(self, device: Device) -> None:
        body = device.model_dump_json().encode()
        await self._store.put(device_key(device.device_id), body, content_type="application/json")

    async def _save_in_turn(self, device: Device) -> None:
        async with self._reading:
            await self._save(device)

    async def _read_all(self, device_ids: Sequence[str]) -> tuple[list[Device], list[str]]:
        """Those of the devices that are there, and the ids of those whose record cannot be read."""
        damaged = list[str]()

        async def read_one(device_id: str) -> Device | None:
            async with self._reading:
                try:
                    return await self.find(device_id)
                except Problem:  # of the record: it was reported, and the others go on
                    damaged.append(device_id)
                    return None

        found = await asyncio.gather(*map(read_one, device_ids))
        return [device for device in found if device is not None], sorted(damaged)
