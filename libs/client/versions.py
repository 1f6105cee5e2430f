"""Which bytes a name stands for: a file that is deleted and uploaded again is another version."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Self

from libs.client.models import RemoteHead
from libs.client.wire import digest_field, parse_digest_field


@dataclass(frozen=True, slots=True)
class Version:
    """What is known of one version. `etag` is empty where it is unknown; `size` in bytes. A weak ETag counts like a
    strong one: the server gives strong ones only, and a proxy on the way may have weakened it."""

    etag: str = ""
    size: int | None = None
    sha256: bytes | None = None

    @classmethod
    def of(cls, headers: Mapping[str, str], size: int | None) -> Self:
        """As an answer describes it."""
        etag = headers.get("ETag", "").removeprefix("W/")
        return cls(etag, size, parse_digest_field(headers.get("Repr-Digest", "")))

    @classmethod
    def of_head(cls, head: RemoteHead) -> Self:
        return cls(head.etag.removeprefix("W/"), head.size, head.sha256)

    @property
    def is_recognizable(self) -> bool:
        """Whether a later answer can be seen to be of the same version."""
        return bool(self.etag or self.sha256)

    def is_same(self, other: "Version") -> bool:
        """Whether both are known to be one version."""
        if self._differs(other):
            return False
        return self.etag == other.etag if self.etag and other.etag else None not in {self.sha256, other.sha256}

    def contradicts(self, other: "Version") -> bool:
        """Whether one version has two sizes or two digests: one of them is not the server's word."""
        return bool(self.etag) and self.etag == other.etag and self._differs(other)

    def merged(self, other: "Version") -> "Version":
        """All that is known of one version."""
        return Version(
            self.etag or other.etag,
            other.size if self.size is None else self.size,
            self.sha256 or other.sha256,
        )

    def to_note(self) -> str:
        return json.dumps({**asdict(self), "sha256": digest_field(self.sha256) if self.sha256 else ""})

    @classmethod
    def from_note(cls, note: str) -> Self:
        """What a note says; nothing is known from a broken one. HiPER 0.1 noted the ETag alone."""
        try:
            document: Any = json.loads(note)
        except ValueError:
            return cls()
        if isinstance(document, str):
            return cls(f'"{document}"')
        if not isinstance(document, dict):
            return cls()
        size = document.get("size")
        digest = parse_digest_field(str(document.get("sha256")))
        return cls(str(document.get("etag", "")), size if isinstance(size, int) else None, digest)

    def _differs(self, other: "Version") -> bool:
        sizes, digests = {self.size, other.size} - {None}, {self.sha256, other.sha256} - {None}
        return len(sizes) > 1 or len(digests) > 1
