"""A file at one moment, as it is shown to who asks."""

from dataclasses import dataclass
from typing import Literal

from libs.common.extents import Extents
from libs.common.layout import FileId

State = Literal["pending", "partial", "complete"]


@dataclass(frozen=True)
class FileState:
    """A file at one moment. `sessions`: the open ones, the first-opened first, or the one that made the file; `below`:
    those that were parked before, of which the partial file is; `modified` in seconds since the epoch, by the store's
    clock."""

    file: FileId
    state: State
    total_size: int
    durable: Extents
    modified: float
    sessions: tuple[str, ...] = ()
    content_type: str = "application/octet-stream"
    sha256: str = ""
    etag: str = ""  # the store's, of a complete file
    below: frozenset[str] = frozenset()

    @property
    def offset(self) -> int:
        """next_expected_byte."""
        return self.durable.prefix_end()

    @property
    def tag(self) -> str:
        """The session that names this upload; empty for a partial file, which nobody is uploading."""
        return self.sessions[0] if self.sessions else ""
