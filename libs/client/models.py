"""What the server tells, as typed records. Sizes and offsets are in bytes."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from libs.common.files.extents import Extent, Extents

State = Literal["pending", "partial", "complete"]


class OutcomeKind(StrEnum):
    COMPLETE = "complete"
    PARKED = "parked"
    REJECTED = "rejected"
    DELETED = "deleted"


_KINDS = {
    "FileCompleted": OutcomeKind.COMPLETE,
    "PartialFileMoved": OutcomeKind.PARKED,
    "FileRejected": OutcomeKind.REJECTED,
    "FileDeleted": OutcomeKind.DELETED,
}
# From the document, not from the ETag that says the same: proxies take that away, or make it weak.
Session = Annotated[str | None, AfterValidator(lambda session: session or None)]


class Record(BaseModel):
    """A document of the server. An error does not show what was in it."""

    model_config = ConfigDict(frozen=True, hide_input_in_errors=True)


class Status(Record):
    """How far a file is. `session` names the upload. `total_size` is None until the device has told it. A server of
    0.1 leaves some fields out: they are None."""

    filename: str
    owner: str
    status: State
    total_size: int | None
    next_expected_byte: int
    received_bytes: int = 0
    missing_ranges: list[tuple[int, int]] = []  # [start, end)
    missing_ranges_truncated: bool = False
    last_updated: datetime | None = None
    content_type: str | None = None
    labels: dict[str, str] = {}
    session: Session = None
    version: str | None = None
    waiting_for: str | None = None
    parks_at: datetime | None = None

    def missing(self) -> list[Extent]:
        """The bytes to send, in order: as far as the server lists them."""
        return [Extent(start, end) for start, end in self.missing_ranges]

    def there(self) -> Extents:
        """The bytes that the server has, as far as it lists those that it lacks."""
        there, at = Extents(), 0
        for gap in self.missing():
            there.add(Extent(at, gap.start))
            at = gap.end
        there.add(Extent(at, self.horizon()))
        return there

    def horizon(self) -> int:
        """The bytes below this one are either missing or there; of those above, the server did not tell."""
        if self.missing_ranges_truncated:
            return self.missing_ranges[-1][1]
        return self.next_expected_byte if self.total_size is None else self.total_size


class ChunkAnswer(Record):
    """The answer to a chunk: it is durable."""

    filename: str
    owner: str
    status: Literal["pending", "complete"]
    total_size: int
    next_expected_byte: int
    session: Session = None


class FileEntry(Record):
    """One line of a listing."""

    filename: str
    owner: str
    status: Literal["pending", "partial", "complete", "rejected"]
    size: int | None = None
    last_modified: datetime | None = None
    labels: dict[str, str] | None = None


class Outcome(Record):
    """What became of a file, as a CloudEvent. `cursor`: where to go on in the feed so that nothing after this outcome
    is missed; a few before it may come again, with their `id`."""

    model_config = ConfigDict(extra="allow")

    id: str
    type: str
    time: datetime
    data: dict[str, Any]
    cursor: str = ""

    @property
    def kind(self) -> str:
        """An OutcomeKind; of a type that this client does not know, its name."""
        name = self.type.removeprefix("hiper.").partition(".")[0]
        return _KINDS.get(name, name)

    @property
    def owner(self) -> str:
        return str(self.data.get("owner", ""))

    @property
    def filename(self) -> str:
        return str(self.data.get("filename", ""))

    @property
    def size(self) -> int | None:
        """Bytes of the whole file; None where that is not known."""
        size = self.data.get("total_size")
        return size if isinstance(size, int) else None


class Device(Record):
    device_id: str
    scopes: list[str]
    created_at: datetime | None = None
    device_class: str = "default"


class Refusal(Record):
    """When and why the server last refused a request of a device."""

    when: datetime
    why: str


class ListedDevice(Device):
    """A line of the list of devices. Of one whose stored record is `damaged` only the id is known. `last_seen` (within
    two minutes), and what follows it, are None where the server does not know."""

    damaged: bool = False
    last_seen: datetime | None = None
    last_refusal: Refusal | None = None
    uploads_open: int | None = None
    bytes_stored: int | None = None
    bytes_allowed: int | None = None


class NewDevice(Device):
    """A device just registered. The secret is told this once."""

    client_secret: str = Field(repr=False)


class PurgedFile(Record):
    """What a purge deletes, or would delete. `size`: of the whole file, in bytes; None while it is not known."""

    filename: str
    status: Literal["pending", "partial", "rejected", "complete"]
    size: int | None


class PurgePage(Record):
    files: list[PurgedFile]
    next: str | None = None


class FilePage(Record):
    files: list[FileEntry]
    next: str | None = None


class RevocationResult(Record):
    """What became of a call that revokes devices."""

    unknown: list[str]


class DevicePage(Record):
    devices: list[ListedDevice]
    damaged: list[str] = []
    next: str | None = None


@dataclass(frozen=True, slots=True)
class RemoteHead:
    """What a HEAD request says of a complete file. `sha256` is known where the uploader declared it."""

    size: int
    etag: str
    sha256: bytes | None


@dataclass(frozen=True, slots=True)
class UploadResult:
    """`sent_bytes` is what this call sent and the server stored: less than `total_size` after a resume."""

    filename: str
    owner: str
    status: State
    total_size: int
    sent_bytes: int
    sha256: str
    session: str | None


@dataclass(frozen=True, slots=True)
class DownloadResult:
    """`received_bytes` is what this call fetched: less than `total_size` after a resume. `verified` says that
    the server told a digest and that the bytes have it. `path` is None for a stream."""

    filename: str
    path: Path | None
    total_size: int
    received_bytes: int
    sha256: str
    verified: bool
