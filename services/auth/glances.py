"""What the janitor knew of devices at its last look: when each was seen and refused, and how much it has."""

import asyncio
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

import structlog

from libs.common.clock import Clock
from libs.common.fleet.rows import DeviceRow
from libs.common.fleet.store import Found, load
from libs.common.fleet.tables import DEVICES
from libs.common.security.allowance import DEFAULT_CLASS, Allowance
from libs.common.storage import ObjectStore, StoreError
from services.auth.models import Device, DeviceGlance, Refusal

log = structlog.get_logger(__name__)
FRESH = 5.0  # seconds for which no newer table is asked for


class Glances:
    """Reads the table of devices, at most once in FRESH seconds however many ask. Where it cannot, nothing is known:
    the devices are shown all the same."""

    def __init__(self, perm: ObjectStore, classes: Mapping[str, Allowance], clock: Clock) -> None:
        self._perm = perm
        self._classes = classes
        self._clock = clock
        self._asked_at = float("-inf")
        self._found: Found[DeviceRow] | None = None
        self._rows: dict[str, DeviceRow] = {}
        self._turn = asyncio.Lock()

    async def at(self, devices: Sequence[Device]) -> list[DeviceGlance]:
        async with self._turn:
            if self._clock.monotonic() - self._asked_at >= FRESH:
                await self._read()
        return [self._glance(device) for device in devices]

    async def _read(self) -> None:
        try:
            found = await load(self._perm, DEVICES, self._found)
        except StoreError as error:
            log.warning("what is known of devices cannot be read", key=DEVICES.key, error=str(error))
            found = None
        table = found.table if found else None
        if not (table and self._found and self._found.table is table):
            self._rows = {row.device_id: row for row in table.rows} if table else {}
        self._found, self._asked_at = found, self._clock.monotonic()

    def _glance(self, device: Device) -> DeviceGlance:
        row = self._rows.get(device.device_id) or self._unseen(device.device_id)
        allowance = self._classes.get(device.device_class) or self._classes.get(DEFAULT_CLASS) or Allowance()
        return DeviceGlance(
            device_id=device.device_id,
            scopes=device.scopes,
            created_at=device.created_at,
            device_class=device.device_class,
            last_seen=_when(row.last_seen) if row else None,
            last_refusal=_refusal(row) if row and row.refused_at else None,
            uploads_open=row.uploads_open if row else None,
            bytes_stored=row.bytes_stored if row else None,
            bytes_allowed=allowance.stored_bytes or None,
        )

    def _unseen(self, device_id: str) -> DeviceRow | None:
        """The row of a device that the table does not have; None where there is no table."""
        table = self._found.table if self._found else None
        return DeviceRow(device_id, bytes_stored=0 if table.counted_at else None) if table else None


def _when(seconds: float) -> datetime | None:
    return datetime.fromtimestamp(seconds, UTC) if seconds else None


def _refusal(row: DeviceRow) -> Refusal:
    return Refusal(when=datetime.fromtimestamp(row.refused_at, UTC), why=row.refusal)
