"""What became of an upload: the metadata of the file, and the events that tell of it."""

from libs.common.events import (
    FileCompleted,
    FileCompletedData,
    FileRejected,
    FileRejectedData,
    PartialFileMoved,
    PartialFileMovedData,
    subject,
)
from libs.common.layout import FileId
from libs.common.uploads.layout import file_key
from libs.common.uploads.record import Record


def about(session: str, digest: str) -> dict[str, str]:
    """The metadata of a file: the session that made it, and its SHA-256 in hex where that was checked."""
    return {"session": session, **({"digest": digest} if digest else {})}


def completed(file: FileId, session: str, size: int, sha256: str, content_type: str, source: str) -> FileCompleted:
    """Told at least once; its id is the session, so that a repeat says the same."""
    data = FileCompletedData(
        owner=file.owner, filename=file.filename, session=session, total_size=size, sha256=sha256,
        content_type=content_type, key=file_key(file),
    )  # fmt: skip
    return FileCompleted(id=session, source=source, subject=subject(file), data=data)


def rejected(file: FileId, record: Record, why: str, computed: str) -> FileRejected:
    data = FileRejectedData(
        owner=file.owner, filename=file.filename, session=record.session, declared=record.digest, computed=computed,
        total_size=record.total_size, why=why,
    )  # fmt: skip
    return FileRejected(id=record.session, source="/hiper/assembler", subject=subject(file), data=data)


def parked(file: FileId, record: Record, received: int) -> PartialFileMoved:
    data = PartialFileMovedData(
        owner=file.owner, filename=file.filename, session=record.session, received_bytes=received,
        total_size=record.total_size,
    )  # fmt: skip
    return PartialFileMoved(source="/hiper/assembler", subject=subject(file), data=data)
