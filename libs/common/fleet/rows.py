"""The rows of the fleet's view: an upload in progress, and a device."""

from collections.abc import Iterable, Mapping
from typing import Literal, NamedTuple

from libs.common.uploads.layout import FileId
from libs.common.uploads.sweeping import SweptName

NO_LABELS: Mapping[str, str] = {}


class UploadRow(NamedTuple):
    """An upload in progress. Sizes in bytes, times in seconds since the epoch by the store's clock. `device_class`:
    empty while it is not known. `rate`: bytes per second; it comes last, for it changes without news of the upload."""

    owner: str
    filename: str
    session: str
    total_size: int | None
    received_bytes: int
    next_expected_byte: int
    last_updated: float
    parked: bool
    labels: Mapping[str, str] = NO_LABELS
    device_class: str = ""
    rate: float = 0.0

    @property
    def file(self) -> FileId:
        return FileId(self.owner, self.filename)

    @property
    def status(self) -> Literal["pending", "partial"]:
        return "partial" if self.parked else "pending"

    @property
    def waiting_for(self) -> Literal["device", "assembler"]:
        """`assembler` once every byte is durable."""
        whole = self.total_size is not None and self.next_expected_byte >= self.total_size
        return "assembler" if whole else "device"

    def parks_at(self, stale_threshold: float) -> float | None:
        """When it is parked if no chunk comes; None where that does not happen."""
        return None if self.parked or self.waiting_for == "assembler" else self.last_updated + stale_threshold

    def is_stuck(self, now: float, after: float) -> bool:
        """Whether nothing came for `after` seconds although something is due: a chunk of an upload that is not parked,
        or the file where every byte is durable."""
        due = not self.parked or self.waiting_for == "assembler"
        return due and now - self.last_updated >= after

    def same_but_rate(self, other: "UploadRow | None") -> bool:
        return other is not None and self[:-1] == other[:-1]


class DeviceRow(NamedTuple):
    """A device as the fleet's view knows it. Times in seconds since the epoch; 0 where there was none. `refusal`: why
    ingest refused it last. `bytes_stored`: of its complete files; None before they are counted."""

    device_id: str
    last_seen: float = 0.0
    refused_at: float = 0.0
    refusal: str = ""
    device_class: str = ""
    uploads_open: int = 0
    bytes_stored: int | None = None

    def merged(self, other: "DeviceRow") -> "DeviceRow":
        """What both know of when the device was seen and refused: the later counts. The rest is this one's."""
        seen = max(self, other, key=lambda row: row.last_seen)
        refused = max(self, other, key=lambda row: row.refused_at)
        return self._replace(
            last_seen=seen.last_seen,
            device_class=seen.device_class,
            refused_at=refused.refused_at,
            refusal=refused.refusal,
        )


def row_of(swept: SweptName) -> UploadRow | None:
    """The row of a name that a sweep saw; None where no upload is in progress."""
    record = swept.upload
    if not record:
        return None
    durable = swept.durable
    return UploadRow(
        swept.file.owner,
        swept.file.filename,
        record.session,
        record.total_size,
        durable.total(),
        durable.prefix_end(),
        swept.newest,
        record.parked_at is not None,
        record.labels or NO_LABELS,
    )


def merge_devices(*tables: Iterable[DeviceRow]) -> dict[str, DeviceRow]:
    """The devices of several tables, each once. The first table that has a device says how much it has."""
    found: dict[str, DeviceRow] = {}
    for table in tables:
        for row in table:
            known = found.get(row.device_id)
            found[row.device_id] = known.merged(row) if known else row
    return found
