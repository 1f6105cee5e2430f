"""What became of an upload: the metadata of the file, and the events that tell of it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

from libs.common.bus.events import (
    FileCompleted,
    FileCompletedData,
    FileDeleted,
    FileRejected,
    FileRejectedData,
    PartialFileMoved,
    PartialFileMovedData,
    SessionData,
    subject,
)
from libs.common.files.labels import from_metadata, to_metadata
from libs.common.storage import ObjectInfo
from libs.common.uploads.layout import FileId, file_key
from libs.common.uploads.record import Record


def session_of(done: ObjectInfo) -> str:
    """The session whose upload a file is. A file that was put there by hand has its etag for one."""
    return done.metadata.get("session", "") or done.etag.strip('"')


@dataclass(frozen=True)
class About:
    """What a complete file says of itself: the session that made it, its size in bytes, its SHA-256 in hex where that
    is known, its media type and its labels."""

    session: str
    size: int
    sha256: str
    content_type: str
    labels: Mapping[str, str]

    @classmethod
    def of(cls, done: ObjectInfo) -> Self:
        """Of a file that is there."""
        sha256, labels = done.metadata.get("digest", ""), from_metadata(done.metadata)
        return cls(session_of(done), done.size, sha256, done.content_type, labels)


def metadata(session: str, size: int | None, sha256: str, labels: Mapping[str, str]) -> dict[str, str]:
    """What the object of a file says of itself, but for its media type."""
    known = {"session": session, "size": "" if size is None else str(size), "digest": sha256}
    return {name: value for name, value in known.items() if value} | to_metadata(labels)


def is_whole(done: ObjectInfo) -> bool:
    """Whether an object has as many bytes as it says. Some stores keep those of a sender that died on the way."""
    return done.metadata.get("size", str(done.size)) == str(done.size)


def completed(file: FileId, about: About, source: str) -> FileCompleted:
    """Told at least once; its id is the session, so that a repeat says the same."""
    data = FileCompletedData(
        owner=file.owner, filename=file.filename, session=about.session, total_size=about.size, sha256=about.sha256,
        content_type=about.content_type, labels=dict(about.labels), key=file_key(file),
    )  # fmt: skip
    return FileCompleted(id=about.session, source=source, subject=subject(file), data=data)


def rejected(file: FileId, record: Record, why: str, computed: str) -> FileRejected:
    """Told at least once; its id is the session, which no complete file has."""
    data = FileRejectedData(
        owner=file.owner, filename=file.filename, session=record.session, declared=record.digest, computed=computed,
        total_size=record.total_size, why=why,
    )  # fmt: skip
    return FileRejected(id=record.session, source="/hiper/assembler", subject=subject(file), data=data)


def parked(file: FileId, record: Record, received: int) -> PartialFileMoved:
    """Told at least once for each time that the upload is parked with more bytes (`received`, in all)."""
    data = PartialFileMovedData(
        owner=file.owner, filename=file.filename, session=record.session, received_bytes=received,
        total_size=record.total_size,
    )  # fmt: skip
    name = f"{record.session}.parked.{received}"
    return PartialFileMoved(id=name, source="/hiper/assembler", subject=subject(file), data=data)


def deleted(file: FileId, session: str, source: str) -> FileDeleted:
    """Told at least once; its id is made of the session (which is not empty), so that a repeat says the same."""
    data = SessionData(owner=file.owner, filename=file.filename, session=session)
    return FileDeleted(id=f"{session}.deleted", source=source, subject=subject(file), data=data)
