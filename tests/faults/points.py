"""Where a process can be killed: before or after a call of a port, named by what the call is about."""

import json
from typing import NamedTuple, Self

from libs.common.uploads.record import Record, parse
from tests.uploads.hooked_store import When

Service = str
BODIES = ("files", "partials", "rejected")


class FaultPoint(NamedTuple):
    """The n-th call of a method about a kind of key (or of event), of one file."""

    when: When
    call: str
    kind: str
    filename: str
    nth: int = 1

    def __str__(self) -> str:
        return " ".join(map(str, self))

    @classmethod
    def parse(cls, text: str) -> Self:
        when, call, kind, filename, nth = text.split(" ")
        return cls("before" if when == "before" else "after", call, kind, filename, int(nth))


def kind_of(key: str, body: object = b"") -> tuple[str, str]:
    """What a key is about: its kind (chunk, file, partial, rejected, record, entry of the feed) and filename. A record
    that is being written is of the kind that it becomes."""
    match key.split("/"):
        case ["uploads", _, _, filename, _]:
            return _becomes(parse(key, body)) if isinstance(body, bytes) and body else "record", filename
        case ["chunks", _, _, filename, *_]:
            return "chunk", filename
        case ["feed", *_] if isinstance(body, bytes) and body:
            return "entry", str(json.loads(body)["data"]["filename"])
        case [root, _, filename, *_] if root in BODIES:
            return root.removesuffix("s"), filename
    return "", ""


def _becomes(record: Record) -> str:
    """`+aborts`: the record names multipart uploads that have no use. They are to be aborted."""
    return _state(record) + ("+aborts" if record.aborts else "")


def _state(record: Record) -> str:
    if record.state == "closed":
        if record.file:
            return "completed"
        if record.rejected:
            return "refused"
        return "removing" if record.removing else "cancelled"
    if record.parked_at is not None:
        return "parked"
    return "assembly" if record.assembly else record.state


class Step(NamedTuple):
    """One step of the protocol, as a port sees it, and the story of a file in which it happens. `services`: those that
    may be the one that takes it."""

    call: str
    kind: str
    story: str
    nth: int = 1
    services: tuple[Service, ...] = ("assembler",)

    def __str__(self) -> str:
        return f"{self.call} {self.kind}" + (f" ({self.nth})" if self.nth > 1 else "") + f", {self.story}"


INGEST = ("ingest",)
TIDY = ("assembler", "janitor")  # whichever is there first
CHUNK = (
    Step("put", "opening", "whole", services=INGEST),
    Step("put", "open", "whole", services=INGEST),
    Step("put", "chunk", "whole", services=INGEST),
    Step("put", "chunk", "whole", 3, services=INGEST),  # the second object of a chunk that crosses a part's end
    Step("publish", "ChunkReceived", "whole", services=INGEST),  # the answer to the device comes after it
    Step("put", "open", "told", services=INGEST),  # the digest comes with a later chunk
    Step("put", "open", "resumed", services=INGEST),  # parked no longer
    Step("put", "open", "renewed", services=INGEST),  # where the name was cancelled before
    Step("put", "file", "small", services=INGEST),
    Step("put", "entry", "small", services=INGEST),
    Step("publish", "FileCompleted", "small", services=INGEST),
)
ADVANCE = (
    Step("create_multipart", "file", "whole"),
    Step("put", "assembly", "whole"),
    Step("put_part", "file", "whole"),
    Step("put_part", "file", "whole", 3),
    Step("complete_multipart", "file", "declared"),
    Step("put", "file", "single"),
    Step("put", "completed+aborts", "whole"),
    Step("put", "entry", "whole"),
    Step("publish", "FileCompleted", "whole"),
    Step("delete_many", "chunk", "whole"),
    Step("delete_many", "partial", "resumed"),
    Step("abort_multipart", "file", "whole"),
    Step("delete", "record", "whole"),
    Step("put", "assembly", "leftover", 2),  # it announces that the leftover is being deleted
    Step("delete_many", "file", "leftover"),
)
PARK = (
    Step("create_multipart", "partial", "gap"),
    Step("put_part", "partial", "gap"),
    Step("complete_multipart", "partial", "gap"),
    Step("put", "partial", "islands", 2),  # one of two runs is there
    Step("put", "parked+aborts", "gap"),
    Step("put", "entry", "gap"),
    Step("publish", "PartialFileMoved", "gap"),
    Step("put", "parked+aborts", "gap", 2),  # the outcome is told
    Step("delete_many", "chunk", "gap"),
    Step("delete_many", "partial", "grown"),
    Step("abort_multipart", "file", "gap", services=TIDY),
    Step("put", "parked", "gap", services=TIDY),
)
CANCEL = (
    Step("put", "opening", "deleted", services=INGEST),
    Step("put", "cancelled+aborts", "cancelled", services=INGEST),
    Step("delete_many", "file", "deleted", services=INGEST),
    Step("publish", "SessionCancelled", "cancelled", services=INGEST),
    Step("put", "entry", "cancelled", services=TIDY),
    Step("delete_many", "chunk", "cancelled", services=TIDY),
    Step("delete_many", "partial", "dropped", services=TIDY),
    Step("delete_many", "rejected", "dismissed", services=TIDY),
    Step("abort_multipart", "file", "cancelled", services=TIDY),
    Step("put", "cancelled", "cancelled", services=TIDY),
    Step("put", "removing", "cancelled", services=TIDY),
    Step("delete", "record", "cancelled", services=TIDY),
)
REJECT = (
    Step("create_multipart", "rejected", "wrong"),
    Step("complete_multipart", "rejected", "wrong"),
    Step("put", "refused+aborts", "wrong"),
    Step("delete_many", "file", "wrong"),
    Step("put", "entry", "wrong"),
    Step("publish", "FileRejected", "wrong"),
    Step("put", "refused+aborts", "wrong", 2),  # the outcome is told
    Step("delete_many", "chunk", "wrong", services=TIDY),
    Step("abort_multipart", "file", "wrong", services=TIDY),
    Step("put", "refused", "wrong", services=TIDY),
)
GROUPS = {"chunk": CHUNK, "advance": ADVANCE, "park": PARK, "cancel": CANCEL, "reject": REJECT}
