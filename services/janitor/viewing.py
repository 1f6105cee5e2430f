"""Putting what a sweep saw where every replica reads it: the tables of the fleet."""

from collections import Counter
from collections.abc import Iterable

import structlog

from libs.common.fleet.rows import DeviceRow, UploadRow, merge_devices, row_of
from libs.common.fleet.seen import collect, discard
from libs.common.fleet.store import Found, load, save, save_newer
from libs.common.fleet.tables import DEVICES, UPLOADS, Table
from libs.common.storage import ObjectStore
from libs.common.uploads.layout import FileId
from libs.common.uploads.sweeping import SweptName
from services.janitor.counting import Stored

log = structlog.get_logger(__name__)
FORGET_AFTER = 90 * 86400.0  # seconds without a request, of a device that has nothing


class Viewing:
    """The tables of the fleet, as one janitor writes them. Any number of janitors may: the newer look wins, and what
    each knows of devices is merged."""

    def __init__(self, perm: ObjectStore, interval: float, stored: Stored) -> None:
        """`interval`: seconds between two looks, unless a look takes more than a tenth of that."""
        self.interval = interval
        self._perm = perm
        self._stored = stored
        self._rows: list[UploadRow] = []
        self._before: dict[FileId, UploadRow] = {}
        self._before_at = 0.0
        self._devices: Found[DeviceRow] | None = None

    def begin(self) -> None:
        """A sweep begins: forget what one saw that broke off."""
        self._rows = []

    def saw(self, swept: SweptName) -> None:
        """The sweep saw a name."""
        if row := row_of(swept):
            self._rows.append(row)

    async def count_if_due(self) -> None:
        """List the complete files, if the last listing is too old at the time of the last look. Raises
        StoreUnavailable."""
        known = self._devices.table if self._devices else None
        if self._before_at and self._stored.is_due(self._before_at, known):
            await self._stored.list_all(self._before_at)

    async def put(self, at: float) -> None:
        """Put what was seen since `begin`, by a look that began at `at` of the store's time. Raises StoreUnavailable,
        and ConditionFailed where another janitor put the devices meanwhile."""
        self._devices = await load(self._perm, DEVICES, self._devices)
        known = self._devices.table if self._devices else None
        seen = await collect(self._perm)
        devices = merge_devices(known.rows if known else [], *(found.rows for found in seen))
        rows = [self._finished(row, devices.get(row.owner), at) for row in self._rows]
        rows.sort()
        if await save_newer(self._perm, UPLOADS, Table(at, rows)):
            log.debug("fleet put", uploads=len(rows), devices=len(devices))
        await self._put_devices(at, known, _counted(devices, rows))
        await discard(self._perm, seen, at)
        self._before, self._before_at = {row.file: row for row in rows}, at

    async def _put_devices(self, at: float, known: Table[DeviceRow] | None, devices: dict[str, DeviceRow]) -> None:
        counted_at, rows = self._stored.applied(devices, known)
        table = Table(at, sorted(row for row in rows if _matters(row, at)), counted_at)
        if known and known.rows == table.rows and known.counted_at == counted_at:
            return
        etag = await save(self._perm, DEVICES, table, replaces=self._devices.etag if self._devices else "")
        self._devices = Found(etag, table)

    def _finished(self, row: UploadRow, device: DeviceRow | None, at: float) -> UploadRow:
        """The row with what one look at the upload does not tell: its device's class, and how fast it goes."""
        before = self._before.get(row.file)
        gained = row.received_bytes - before.received_bytes if before and before.session == row.session else 0
        rate = max(0.0, gained / (at - self._before_at)) if at > self._before_at else 0.0
        return row._replace(device_class=device.device_class if device else "", rate=round(rate, 1))


def _matters(row: DeviceRow, at: float) -> bool:
    return bool(row.uploads_open or row.bytes_stored) or at - max(row.last_seen, row.refused_at) < FORGET_AFTER


def _counted(devices: dict[str, DeviceRow], rows: Iterable[UploadRow]) -> dict[str, DeviceRow]:
    """The devices with how many uploads each has open."""
    uploads = Counter(row.owner for row in rows)
    for owner in uploads.keys() - devices.keys():
        devices[owner] = DeviceRow(owner)
    return {name: row._replace(uploads_open=uploads[name]) for name, row in devices.items()}
