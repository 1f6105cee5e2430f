"""The record of a name: what is true of it, in one object that changes by compare-and-swap alone."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from libs.common.bus.events import Outcome
from libs.common.files.extents import Extent
from libs.common.storage import StoreUnavailable
from libs.common.uploads.layout import MIN_PART_SIZE, parse_run_key

State = Literal["none", "opening", "open", "closed"]


class Record(BaseModel):
    """A name that has, or just had, an upload.

    `none`: there is no record, and the file in `files/` is the truth. `opening`: a replica wants the name, and none has
    looked yet whether a file is there. Without a session it is a
    DELETE that asks. `open`: an upload in progress. `closed`: with `file`, that session's file is complete; without,
    there is none. Times are in seconds since the epoch, by the store's clock; sizes in bytes.
    """

    model_config = ConfigDict(frozen=True)

    state: State
    version: str = Field(description="Random, and new in every write: a writer without an answer knows its own write.")
    session: str = Field("", description="The upload in progress, or the one that wants the name.")
    total_size: int | None = Field(None, description="Null until it is known.")
    part_size: int = Field(MIN_PART_SIZE, description="Bytes in each part but the last.")
    content_type: str = "application/octet-stream"
    labels: dict[str, str] = Field(default_factory=dict, description="What the first chunk said of the file.")
    digest: str = Field("", description="Declared SHA-256 of the whole file, in hex.")
    assembly: str = Field("", description="The multipart upload that collects full parts.")
    aborts: tuple[str, ...] = Field((), description="Multipart uploads that have no use; they are to be aborted.")
    runs: tuple[str, ...] = Field((), description="Keys of the runs that hold what was parked.")
    opened_at: float = Field(0.0, description="When the upload was opened.")
    parked_at: float | None = Field(None, description="When the upload went stale; null while it is in progress.")
    quiet: float = Field(0.0, description="Until then no file is made: an announced delete may be under way.")
    file: str = Field("", description="The session whose file is complete; empty: there is none.")
    ended: str = Field("", description="The session that a DELETE ended, so that a repeated DELETE is answered alike.")
    rejected: str = Field("", description="Why the upload was rejected; empty if it was not.")
    kept: tuple[str, ...] = Field((), description="Rejected sessions whose bytes are kept under rejected/.")
    owes: tuple[Annotated[Outcome, Field(discriminator="type")], ...] = Field(
        (), description="Outcomes that became true, and that the feed perhaps does not tell yet."
    )
    folder: float = Field(
        0.0,
        description="When a sweep looks whether names lie below this one still; 0: it is no folder.",
    )
    removing: float = Field(0.0, description="Until then this record may be being deleted.")

    def changed(self, **changes: Any) -> "Record":
        return self.model_copy(update=changes)

    def closing(self, *outcomes: Outcome, **changes: Any) -> dict[str, Any]:
        """The changes that end its upload, and some more. `outcomes`: those that become true by that."""
        ended = {"state": "closed", "session": "", "file": "", "runs": (), "assembly": "", "parked_at": None}
        return ended | {"aborts": self.uploads, "owes": (*self.owes, *outcomes)} | changes

    def parts_of(self, *extents: Extent) -> list[int]:
        """Numbers of the parts that some extents lie in."""
        size = self.part_size
        return sorted({part for at in extents for part in range(at.start // size, -(-at.end // size))})

    def part_extent(self, part: int) -> Extent:
        """The bytes of part number `part`, from 0; those below the total size where that is known."""
        end = (part + 1) * self.part_size
        return Extent(part * self.part_size, end if self.total_size is None else min(self.total_size, end))

    @property
    def part_count(self) -> int:
        """How many parts the file has; none while its length is unknown."""
        return -(-(self.total_size or 0) // self.part_size)

    @property
    def is_single(self) -> bool:
        """Whether the file has one part at most, so that it is put, not assembled."""
        return self.total_size is not None and self.total_size <= self.part_size

    @property
    def whole(self) -> Extent | None:
        """All bytes of the file; None while its length is unknown."""
        return None if self.total_size is None else Extent(0, self.total_size)

    @property
    def run_extents(self) -> dict[str, Extent]:
        return {key: parse_run_key(key).extent for key in self.runs}

    @property
    def uploads(self) -> tuple[str, ...]:
        """Every multipart upload that it names: what is to be aborted when it ends."""
        return (*self.aborts, *([self.assembly] if self.assembly else []))


NOTHING = Record(state="none", version="")
OPENING = Record(state="opening", version="")  # of a process that only wants to know what is there


class Unreadable(StoreUnavailable):
    """A record that cannot be read is not overwritten, nor believed to be absent: the name waits for an operator."""


def parse(key: str, data: bytes) -> Record:
    """Raises Unreadable."""
    try:
        return Record.model_validate_json(data)
    except ValidationError:
        raise Unreadable(f"{key}: the record cannot be read") from None
