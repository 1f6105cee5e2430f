"""What GET /uploads answers."""

from datetime import UTC, datetime
from typing import Literal, Self

from pydantic import BaseModel, Field

from libs.common.fleet.hearing import rate_now
from libs.common.fleet.rows import UploadRow


class UploadItem(BaseModel):
    """An upload in progress."""

    filename: str
    owner: str
    status: Literal["pending", "partial"] = Field(
        description="`pending`: the upload is open. `partial`: it went stale and was moved to permanent storage."
    )
    session: str = Field(description="The upload, as in the ETag of its status.")
    total_size: int | None = Field(description="Bytes; null while the device has not told it.")
    received_bytes: int = Field(
        description="Bytes that are durable, in the prefix or beyond gaps, as of the last sweep; since then at least "
        "so many."
    )
    next_expected_byte: int = Field(description="Length in bytes of the gap-free durable prefix.")
    rate: float = Field(description="Bytes per second, an average over about half a minute.")
    last_updated: datetime = Field(description="When its newest byte came.")
    waiting_for: Literal["device", "assembler"] = Field(
        description="`device`: bytes are missing. `assembler`: all bytes are durable, and the file is being made."
    )
    parks_at: datetime | None = Field(
        description="When a pending upload becomes `partial` if no chunk comes; null where that does not happen."
    )
    stuck: bool = Field(
        description="Whether nothing came for STUCK_AFTER seconds although something is due: a byte of a pending "
        "upload, or the file once all bytes are durable."
    )
    labels: dict[str, str] = Field(description="What the first chunk said of the file, as of the last sweep.")
    device_class: str | None = Field(
        serialization_alias="class",
        description="The class of the device when it was last seen; null if that is not known.",
    )

    @classmethod
    def of(cls, row: UploadRow, now: float, *, stuck: bool, stale_threshold: float) -> Self:
        """`now`: the store's time, in seconds since the epoch; `stale_threshold` in seconds."""
        parks_at = row.parks_at(stale_threshold)
        return cls(
            filename=row.filename,
            owner=row.owner,
            status=row.status,
            session=row.session,
            total_size=row.total_size,
            received_bytes=row.received_bytes,
            next_expected_byte=row.next_expected_byte,
            rate=rate_now(row, now),
            last_updated=datetime.fromtimestamp(row.last_updated, UTC),
            waiting_for=row.waiting_for,
            parks_at=datetime.fromtimestamp(parks_at, UTC) if parks_at else None,
            stuck=stuck,
            labels=dict(row.labels),
            device_class=row.device_class or None,
        )


class UploadsAnswer(BaseModel):
    """A page of uploads in progress, in the order of owners and names."""

    uploads: list[UploadItem]
    next: str | None = Field(description="Give it as `after` for the next page; null at the end.")
    version: str = Field(description="Opaque; another one after every change.")
    as_of: datetime | None = Field(
        description="When the janitor's last sweep began: every change before it is in this list. Null: no janitor "
        "has swept yet."
    )
    live: bool = Field(
        description="Whether later changes are heard too, within about a second, and are in this list. False while the "
        "broker is away, and in the first minute or so after somebody asks."
    )

    @classmethod
    def of(
        cls, items: list[UploadItem], following: str | None, version: str, as_of: float | None, hears_all: bool
    ) -> Self:
        when = None if as_of is None else datetime.fromtimestamp(as_of, UTC)
        return cls(uploads=items, next=following, version=version, as_of=when, live=hears_all)
