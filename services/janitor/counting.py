"""How many bytes each owner has in complete files: a listing of all of them, now and then."""

from collections import Counter
from collections.abc import Awaitable, Callable

import structlog

from libs.common.clock import Clock
from libs.common.fleet.rows import DeviceRow
from libs.common.fleet.tables import Table
from libs.common.storage import ObjectInfo, ObjectStore
from libs.common.uploads.layout import FileId, files_root, parse_file_key
from libs.common.uploads.ours import walk_ours

Visitor = Callable[[FileId, ObjectInfo], Awaitable[None]]
SHARE = 100  # a listing takes at most one hundredth of the time
log = structlog.get_logger(__name__)


class Stored:
    """Bytes of complete files by owner. `visitors` see every file of each listing."""

    def __init__(self, perm: ObjectStore, clock: Clock, interval: float, *visitors: Visitor) -> None:
        """`interval`: seconds, the longest time between two listings. Where a listing is short they come more often."""
        self._perm = perm
        self._clock = clock
        self._interval = interval
        self._visitors = visitors
        self._listed: Counter[str] = Counter()
        self._listed_at = 0.0
        self._took = float("inf")  # seconds, of the last listing

    def is_due(self, now: float, known: Table[DeviceRow] | None) -> bool:
        """Whether the last listing, of whichever janitor, is too old at `now` of the store's time."""
        last = max(self._listed_at, known.counted_at if known else 0.0)
        return now - last >= min(self._interval, SHARE * self._took)

    async def list_all(self, now: float) -> None:
        """List every complete file: one call for each 1,000. `now`: the store's time. Raises StoreUnavailable, and
        then counts nothing."""
        listed, began = Counter[str](), self._clock.monotonic()
        async for file, info in walk_ours(self._perm, files_root(), parse_file_key):
            listed[file.owner] += info.size
            for visit in self._visitors:
                await visit(file, info)
        self._listed, self._listed_at, self._took = listed, now, self._clock.monotonic() - began
        log.debug("complete files counted", owners=len(listed), bytes=listed.total())

    def applied(self, devices: dict[str, DeviceRow], known: Table[DeviceRow] | None) -> tuple[float, list[DeviceRow]]:
        """When the files were counted, and the devices with their stored bytes: by this listing, or by the newer one of
        another janitor."""
        counted_at = known.counted_at if known else 0.0
        if self._listed_at <= counted_at:
            return counted_at, list(devices.values())
        for owner in self._listed.keys() - devices.keys():
            devices[owner] = DeviceRow(owner)
        rows = (row._replace(bytes_stored=self._listed[name]) for name, row in devices.items())
        return self._listed_at, list(rows)
