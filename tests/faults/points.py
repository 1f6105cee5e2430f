"""Where a process can be killed: before or after a call of a port, named by what the call is about."""

from typing import NamedTuple, Self

from tests.unit.core.hooked_store import When

Service = str  # the service that makes the call: ingest or assembler


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


def kind_of(key: str) -> tuple[str, str]:
    """What a key is about: its kind (a fact like `open`, or chunk, file, partial, rejected, checked) and filename."""
    parts = key.split("/")
    match parts:
        case ["sessions", _, _, filename, _, fact, *_]:
            return fact, filename
        case ["chunks", _, _, filename, *_]:
            return "chunk", filename
        case [root, _, filename, *_]:
            return {"files": "file", "partials": "partial", "digests": "checked"}.get(root, root), filename
    return "", ""


class Step(NamedTuple):
    """One step of the protocol, as a port sees it, and the story of a file in which it happens."""

    call: str
    kind: str
    story: str
    nth: int = 1
    service: Service = "assembler"

    def __str__(self) -> str:
        return f"{self.call} {self.kind}" + (f" ({self.nth})" if self.nth > 1 else "") + f", {self.story}"


CHUNK = (
    Step("put", "open", "whole", service="ingest"),
    Step("put", "digest", "declared", service="ingest"),
    Step("put", "writer", "rejoined", service="ingest"),
    Step("put", "chunk", "whole", service="ingest"),
    Step("put", "chunk", "whole", 3, service="ingest"),  # the second object of a chunk that crosses a part's end
    Step("publish", "ChunkReceived", "whole", service="ingest"),  # the answer to the device comes after it
)
ADVANCE = (
    Step("create_multipart", "file", "whole"),
    Step("put", "assembly", "whole"),
    Step("put_part", "file", "whole"),
    Step("put_part", "file", "whole", 3),
    Step("put", "checked", "declared"),
    Step("complete_multipart", "file", "whole"),
    Step("put", "file", "small"),
    Step("publish", "FileCompleted", "whole"),
    Step("delete_many", "partial", "resumed"),
    Step("delete_many", "chunk", "whole"),
    Step("abort_multipart", "file", "whole"),
    Step("delete_many", "assembly", "whole"),
    Step("delete_many", "open", "whole"),
)
PARK = (
    Step("put", "closing", "gap"),
    Step("create_multipart", "partial", "gap"),
    Step("put_part", "partial", "gap"),
    Step("complete_multipart", "partial", "gap"),
    Step("complete_multipart", "partial", "islands", 2),  # one of two runs is there
    Step("delete_many", "partial", "grown"),
    Step("publish", "PartialFileMoved", "gap"),
    Step("delete_many", "chunk", "gap"),
    Step("put", "closed", "gap"),
    Step("delete_many", "open", "gap"),
    Step("delete_many", "closing", "gap"),
    Step("delete_many", "closed", "gap"),
)
CANCEL = (
    Step("put", "closing", "cancelled", service="ingest"),
    Step("publish", "SessionCancelled", "cancelled", service="ingest"),
    Step("delete_many", "chunk", "cancelled"),
    Step("delete_many", "file", "deleted"),
    Step("delete_many", "partial", "dropped"),
    Step("put", "closed", "cancelled"),
    Step("abort_multipart", "file", "cancelled"),
    Step("delete_many", "open", "cancelled"),
    Step("delete_many", "closing", "cancelled"),
    Step("delete_many", "closed", "cancelled"),
)
REJECT = (
    Step("put", "closing", "wrong"),
    Step("complete_multipart", "rejected", "wrong"),
    Step("publish", "FileRejected", "wrong"),
    Step("delete_many", "chunk", "wrong"),
    Step("put", "closed", "wrong"),
    Step("abort_multipart", "file", "wrong"),
    Step("delete_many", "open", "wrong"),
    Step("delete_many", "closing", "wrong"),
    Step("delete_many", "closed", "wrong"),
)
GROUPS = {"chunk": CHUNK, "advance": ADVANCE, "park": PARK, "cancel": CANCEL, "reject": REJECT}
