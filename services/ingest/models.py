"""What the API answers."""

from datetime import UTC, datetime
from typing import Annotated, Literal, Self

from pydantic import BaseModel, Field, WithJsonSchema

from libs.common.files.extents import Extent
from libs.common.uploads.states import FileState
from services.ingest.listing import Page
from services.ingest.purging import Purged

MAX_RANGES = 100  # missing ranges in one answer
# In words that every reader of OpenAPI knows: few know prefixItems.
Gap = Annotated[
    tuple[int, int],
    WithJsonSchema({"type": "array", "items": {"type": "integer"}, "minItems": 2, "maxItems": 2}),
]


class UploadAnswer(BaseModel):
    """What is known after a chunk."""

    filename: str
    owner: str
    status: Literal["pending", "complete"] = Field(
        description="`complete` once the file is one object in permanent storage, a moment after its last byte."
    )
    next_expected_byte: int = Field(description="Length in bytes of the gap-free durable prefix.")
    total_size: int | None = Field(description="Bytes; null while it is not known.")
    session: str = Field(description="The upload that the chunk went to, as in the ETag.")


class StatusAnswer(BaseModel):
    """The state of a file."""

    filename: str
    owner: str
    status: Literal["pending", "partial", "complete"] = Field(
        description="`pending`: an upload is open. `partial`: it went stale and was moved to permanent storage; send "
        "the missing bytes to resume it. `complete`: the file can be downloaded."
    )
    next_expected_byte: int = Field(description="Length in bytes of the gap-free durable prefix.")
    last_updated: datetime
    total_size: int | None = Field(description="Bytes; null while the device has not told it.")
    received_bytes: int = Field(description="Bytes that are durable, whether in the prefix or beyond gaps.")
    missing_ranges: list[Gap] = Field(
        description=f"The bytes still to be sent, as [start, end) pairs; the first {MAX_RANGES}."
    )
    missing_ranges_truncated: bool = Field(description="Whether there are more missing ranges than these.")
    content_type: str
    labels: dict[str, str] = Field(description="What the first chunk said of the file.")
    session: str = Field(description="The upload, as in the ETag; parking and resuming keep it.")
    version: str = Field(description="Opaque; another one after every change.")
    waiting_for: Literal["device", "assembler"] | None = Field(
        description="`device`: bytes are missing. `assembler`: all bytes are durable, and the file is being made. "
        "Null: it is complete."
    )
    parks_at: datetime | None = Field(
        description="When a pending upload becomes `partial` if no chunk comes; null where that does not happen."
    )

    @classmethod
    def of(cls, state: FileState, stale_threshold: float) -> Self:
        """`stale_threshold`: seconds without a chunk after which an upload is stale."""
        waits = state.state != "complete"
        parks = state.state == "pending" and state.waits_for_device
        missing = state.durable.missing(Extent(0, state.end))
        return cls(
            filename=state.file.filename,
            owner=state.file.owner,
            status=state.state,
            next_expected_byte=state.offset,
            last_updated=datetime.fromtimestamp(state.modified, UTC),
            total_size=state.total_size,
            received_bytes=state.durable.total(),
            missing_ranges=[(gap.start, gap.end) for gap in missing[:MAX_RANGES]],
            missing_ranges_truncated=len(missing) > MAX_RANGES,
            content_type=state.content_type,
            labels=dict(state.labels),
            session=state.session,
            version=state.version,
            waiting_for=("device" if state.waits_for_device else "assembler") if waits else None,
            parks_at=datetime.fromtimestamp(state.modified + stale_threshold, UTC) if parks else None,
        )


class FileItem(BaseModel):
    """A file in a listing."""

    filename: str
    owner: str
    status: Literal["pending", "partial", "complete", "rejected"]
    size: int | None = Field(description="Total size in bytes; null while it is not known.")
    last_modified: datetime
    labels: dict[str, str] | None = Field(
        description="What the first chunk said of the file; null for a complete file, unless `labels` is asked for."
    )


class PurgedItem(BaseModel):
    """A file or an upload that goes, with all its bytes."""

    filename: str
    status: Literal["pending", "partial", "rejected", "complete"]
    size: int | None = Field(description="Total size in bytes; null while it is not known.")


class PurgeAnswer(BaseModel):
    """A page of a purge."""

    owner: str
    dry_run: bool = Field(description="Whether this only says what would go.")
    files: list[PurgedItem]
    next: str | None = Field(description="Give it as `after` for the next page; null at the end.")

    @classmethod
    def of(cls, owner: str, dry_run: bool, page: Purged) -> Self:
        files = [PurgedItem(filename=h.filename, status=h.section, size=h.size) for h in page.holdings]
        return cls(owner=owner, dry_run=dry_run, files=files, next=page.next.encoded() if page.next else None)


class FilesAnswer(BaseModel):
    """A page of files: complete ones first, then parked ones, then uploads in progress, then rejected ones."""

    files: list[FileItem]
    folders: list[str] = Field(
        description="With `delimiter`: what names have in common up to it, each once in a page; a later page may name "
        "one again, for files of another status."
    )
    next: str | None = Field(description="Give it as `after` for the next page; null at the end.")

    @classmethod
    def of(cls, owner: str, page: Page) -> Self:
        files = [
            FileItem(
                filename=item.filename,
                owner=owner,
                status=item.section,
                size=item.size,
                last_modified=datetime.fromtimestamp(item.modified, UTC),
                labels=None if item.labels is None else dict(item.labels),
            )
            for item in page.items
        ]
        return cls(files=files, folders=page.folders, next=page.next)
