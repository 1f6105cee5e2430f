"""What the API answers."""

from datetime import UTC, datetime
from typing import Annotated, Literal, Self

from pydantic import BaseModel, Field, WithJsonSchema

from libs.common.extents import Extent
from services.ingest.listing import Page
from services.ingest.purging import Purged
from services.ingest.states import FileState

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
    total_size: int = Field(description="Bytes.")
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
    total_size: int = Field(description="Bytes.")
    received_bytes: int = Field(description="Bytes that are durable, whether in the prefix or beyond gaps.")
    missing_ranges: list[Gap] = Field(
        description=f"The bytes still to be sent, as [start, end) pairs; the first {MAX_RANGES}."
    )
    missing_ranges_truncated: bool = Field(description="Whether there are more missing ranges than these.")
    content_type: str
    session: str = Field(description="The upload, as in the ETag; empty for a partial file.")

    @classmethod
    def of(cls, state: FileState) -> Self:
        missing = state.durable.missing(Extent(0, state.total_size))
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
            session=state.tag,
        )


class FileItem(BaseModel):
    """A file in a listing."""

    filename: str
    owner: str
    status: Literal["pending", "partial", "complete"]
    size: int = Field(description="Total size in bytes.")
    last_modified: datetime


class PurgedItem(BaseModel):
    """Bytes that go. A name may be there more than once: as a partial file and as the upload that resumes it."""

    filename: str
    status: Literal["pending", "partial", "rejected", "complete"]
    size: int = Field(description="Bytes stored; of a pending upload the total size.")


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
    """A page of files: complete ones first, then partial ones, then uploads in progress."""

    files: list[FileItem]
    next: str | None = Field(description="Give it as `after` for the next page; null at the end.")

    @classmethod
    def of(cls, owner: str, page: Page) -> Self:
        files = [
            FileItem(
                filename=item.filename,
                owner=owner,
                status=item.status,
                size=item.size,
                last_modified=datetime.fromtimestamp(item.modified, UTC),
            )
            for item in page.items
        ]
        return cls(files=files, next=page.next)
