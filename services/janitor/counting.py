"""How many bytes each owner has in complete files: a rare listing of all of them, and what was completed since."""

from collections import Counter, deque
from collections.abc import Awaitable, Callable

import structlog

from libs.common.bus.events import Event, FileCompleted
from libs.common.fleet.rows import DeviceRow
from libs.common.fleet.tables import Table
from libs.common.storage import ObjectInfo, ObjectStore
from libs.common.uploads.layout import FileId, files_root, parse_file_key
from libs.common.uploads.ours import walk_ours

Visitor = Callable[[FileId, ObjectInfo], Awaitable[None]]
log = structlog.get_logger(__name__)
_HEARD = 100_000  # completions that wait to be added; with more the next listing is right again


class Stored:
    """Bytes of complete files by owner. `visitors` see every file of each listing."""

    def __init__(self, perm: ObjectStore, interval: float, *visitors: Visitor) -> None:
        """`interval`: seconds between two listings."""
        self._perm = perm
        self._interval = interval
        self._visitors = visitors
        self._listed: Counter[str] = Counter()
        self._listed_at = 0.0
        self._heard: deque[tuple[float, str, int]] = deque(maxlen=_HEARD)

    def is_due(self, now: float, known: Table[DeviceRow] | None) -> bool:
        """Whether the last listing, of whichever janitor, is too old at `now` of the store's time."""
        last = max(self._listed_at, known.counted_at if known else 0.0)
        return now - last >= self._interval

    async def list_all(self, now: float) -> None:
        """List every complete file: one call for each 1,000. `now`: the store's time. Raises StoreUnavailable, and
        then counts nothing."""
        listed = Counter[str]()
        async for file, info in walk_ours(self._perm, files_root(), parse_file_key):
            listed[file.owner] += info.size
            for visit in self._visitors:
                await visit(file, info)
        self._listed, self._listed_at = listed, now
        log.info("complete files counted", owners=len(listed), bytes=listed.total())

    def hear(self, event: Event, now: float) -> None:
        """A file was completed, heard at `now` of the store's time."""
        if isinstance(event, FileCompleted):
            self._heard.append((now, event.data.owner, event.data.total_size))

    def applied(
        self, devices: dict[str, DeviceRow], known: Table[DeviceRow] | None, now: float
    ) -> tuple[float, list[DeviceRow]]:
        """When the files were counted, and the devices with their stored bytes at `now` of the store's time. What was
        heard counts from the last table on, whichever janitor put that: so two janitors add nothing twice."""
        counted_at, since = (known.counted_at, known.at) if known else (0.0, 0.0)
        if self._listed_at > counted_at:
            counted_at, since = self._listed_at, self._listed_at
            for owner in self._listed.keys() - devices.keys():
                devices[owner] = DeviceRow(owner)
            devices = {name: row._replace(bytes_stored=self._listed[name]) for name, row in devices.items()}
        if not counted_at:
            return 0.0, list(devices.values())
        more = Counter[str]()
        for heard_at, owner, size in self._heard:
            if since < heard_at <= now:
                more[owner] += size
        rows = (row._replace(bytes_stored=(row.bytes_stored or 0) + more[name]) for name, row in devices.items())
        return counted_at, list(rows)

    def applied_until(self, now: float) -> None:
        """What was heard until `now` is in the table."""
        while self._heard and self._heard[0][0] <= now:
            self._heard.popleft()
