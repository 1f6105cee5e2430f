"""The closed set of events, as CloudEvents 1.0 in structured JSON (https://github.com/cloudevents/spec, v1.0.2).

Versioning: the version is the last segment of `type`. A new optional field keeps the version (consumers ignore
fields that they do not know); anything else makes a new type beside the old one, and the old one is published
too until no consumer asks for it.
"""

import secrets
from datetime import UTC, datetime
from typing import Annotated, ClassVar, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, TypeAdapter

from libs.common.uploads.layout import FileId

OWNER = "owner"  # the first word of the second routing key of an event
PROGRESS = "progress"  # the last word of the routing key of a chunk that the assembler need not hear of


class _Data(BaseModel):
    model_config = ConfigDict(frozen=True)

    owner: str
    filename: str
    session: str = Field(description="The id of one upload of the name; empty where the file has none.")

    @property
    def file(self) -> FileId:
        return FileId(self.owner, self.filename)


class ChunkReceivedData(_Data):
    start: int = Field(ge=0, description="First byte of the chunk, from 0.")
    length: int = Field(ge=0, description="Bytes in the chunk.")
    offset: int = Field(ge=0, description="Length in bytes of the gap-free durable prefix.")
    total_size: int | None = Field(None, ge=0, description="Bytes of the whole file; null where that is not told.")
    filled_parts: list[Annotated[int, Field(ge=0)]] = Field(
        description="Parts (from 0) that this chunk seems to have filled: a hint."
    )

    @property
    def is_last(self) -> bool:
        """Whether no byte of the file is missing."""
        return self.total_size is not None and self.offset >= self.total_size


class SessionData(_Data):
    pass


class FileCompletedData(_Data):
    total_size: int = Field(ge=0, description="Bytes.")
    sha256: str = Field("", description="SHA-256 of the file, hex, where it was checked; else empty.")
    content_type: str = Field("", description="Media type; empty where it is not told.")
    labels: dict[str, str] = Field(default_factory=dict, description="What the device said of the file.")
    key: str = Field("", description="The object in the permanent bucket; empty where it is not told.")


class PartialFileMovedData(_Data):
    received_bytes: int = Field(ge=0, description="Bytes in permanent storage.")
    total_size: int | None = Field(None, ge=0, description="Bytes of the whole file; null where that is not told.")


class FileRejectedData(_Data):
    declared: str = Field(description="The declared SHA-256, hex.")
    computed: str = Field(description="The SHA-256 of the bytes, hex, where it was computed; else empty.")
    total_size: int | None = Field(None, ge=0, description="Bytes of the whole file; null where that is not told.")
    why: str = Field("", description="In words; empty where it is not told.")


class _Envelope(BaseModel):
    """The attributes of every event (section 3.1 of the specification, and the distributed tracing extension)."""

    model_config = ConfigDict(frozen=True, json_schema_serialization_defaults_required=True)

    for_assembler: ClassVar[bool] = False  # whether its queue takes the type

    specversion: Literal["1.0"] = "1.0"
    id: str = Field(
        default_factory=lambda: secrets.token_hex(16),
        min_length=1,
        description="With `source`, names one fact: an event that repeats a fact may repeat its id.",
    )
    source: str = Field(min_length=1, description="The service that says so, as `/hiper/{service}`.")
    subject: str = Field(min_length=1, description="`{owner}/{filename}`")
    time: AwareDatetime = Field(default_factory=lambda: datetime.now(UTC), description="RFC 3339, with its offset.")
    datacontenttype: Literal["application/json"] = "application/json"
    traceparent: str | None = Field(
        None,
        exclude_if=lambda value: value is None,
        description="What the event belongs to, where traces are recorded (W3C Trace Context).",
    )

    @property
    def wakes_assembler(self) -> bool:
        """Whether the assembler has something to do now."""
        return self.for_assembler


class ChunkReceived(_Envelope):
    """Ingest: a chunk is durable."""

    for_assembler: ClassVar[bool] = True
    type: Literal["hiper.ChunkReceived.v1"] = "hiper.ChunkReceived.v1"
    data: ChunkReceivedData

    @property
    def wakes_assembler(self) -> bool:
        return bool(self.data.filled_parts) or self.data.is_last


class SessionCancelled(_Envelope):
    """Ingest: an upload or a file was deleted."""

    for_assembler: ClassVar[bool] = True
    type: Literal["hiper.SessionCancelled.v1"] = "hiper.SessionCancelled.v1"
    data: SessionData


class SessionStalled(_Envelope):
    """Janitor: the bytes are there and the file is not, or chunks came lately."""

    for_assembler: ClassVar[bool] = True
    type: Literal["hiper.SessionStalled.v1"] = "hiper.SessionStalled.v1"
    data: SessionData


class SessionStale(_Envelope):
    """Janitor: no chunk came for STALE_THRESHOLD."""

    for_assembler: ClassVar[bool] = True
    type: Literal["hiper.SessionStale.v1"] = "hiper.SessionStale.v1"
    data: SessionData


class FileCompleted(_Envelope):
    """Assembler, ingest, janitor: the file is one object in permanent storage. Its id is the session: a repeat says the
    same."""

    type: Literal["hiper.FileCompleted.v1"] = "hiper.FileCompleted.v1"
    data: FileCompletedData


class PartialFileMoved(_Envelope):
    """Assembler: the bytes of the stale upload are in permanent storage. It can be resumed."""

    type: Literal["hiper.PartialFileMoved.v1"] = "hiper.PartialFileMoved.v1"
    data: PartialFileMovedData


class FileRejected(_Envelope):
    """Assembler: the bytes are not what was declared, or contradict each other. They are kept under rejected/."""

    type: Literal["hiper.FileRejected.v1"] = "hiper.FileRejected.v1"
    data: FileRejectedData


class FileDeleted(_Envelope):
    """Assembler, ingest, janitor: a device or an operator deleted a file, or cancelled an upload. Its id is made of the
    session: a repeat says the same."""

    type: Literal["hiper.FileDeleted.v1"] = "hiper.FileDeleted.v1"
    data: SessionData


Outcome = FileCompleted | PartialFileMoved | FileRejected | FileDeleted  # what the feed tells
AssemblerEvent = ChunkReceived | SessionCancelled | SessionStalled | SessionStale
Event = Annotated[
    AssemblerEvent | Outcome,
    Field(discriminator="type"),
]
EVENTS: TypeAdapter[Event] = TypeAdapter(Event)
EVENT_TYPES: tuple[type[_Envelope], ...] = (
    ChunkReceived, SessionCancelled, SessionStalled, SessionStale, FileCompleted, PartialFileMoved, FileRejected,
    FileDeleted,
)  # fmt: skip


def type_of(event: type[_Envelope]) -> str:
    """The CloudEvents `type` of an event class."""
    return str(event.model_fields["type"].default)


def routing_key(event: Event) -> str:
    """By what a broker knows who gets an event: its type; of one that could be for the assembler and tells it nothing,
    a longer key, to which its queue is not bound."""
    return f"{event.type}.{PROGRESS}" if event.for_assembler and not event.wakes_assembler else event.type


def owner_key(event: Event) -> str:
    """A second routing key, for those who follow single devices: the owner, then the type. A dot would begin a new word
    in a key, so that of an owner is written as `~`, which no owner has."""
    return f"{OWNER}.{event.data.owner.replace('.', '~')}.{routing_key(event)}"


def owner_binding(owner: str) -> str:
    """By what a queue is bound to the events of one owner."""
    return f"{OWNER}.{owner.replace('.', '~')}.#"


ASSEMBLER_TYPES: tuple[str, ...] = tuple(type_of(event) for event in EVENT_TYPES if event.for_assembler)


def subject(file: FileId) -> str:
    return f"{file.owner}/{file.filename}"
