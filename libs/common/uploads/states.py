"""A name at one moment, as it is shown to who asks."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from libs.common.files.extents import Extent, Extents
from libs.common.uploads.layout import FileId

State = Literal["pending", "partial", "complete"]


@dataclass(frozen=True)
class FileState:
    """A file at one moment. `session`: the upload in progress, or the one that made the file; `modified` in seconds
    since the epoch, by the store's clock; `version`: another one after every change."""

    file: FileId
    state: State
    total_size: int | None  # bytes; None while the device has not told it
    durable: Extents
    modified: float
    session: str
    version: str = ""
    part_size: int = 0
    content_type: str = "application/octet-stream"
    labels: Mapping[str, str] = field(default_factory=dict)
    sha256: str = ""
    etag: str = ""  # the store's, of a complete file

    @property
    def offset(self) -> int:
        """next_expected_byte."""
        return self.durable.prefix_end()

    @property
    def waits_for_device(self) -> bool:
        """Whether bytes are missing."""
        return self.total_size is None or not self.durable.covers(Extent(0, self.total_size))

    @property
    def end(self) -> int:
        """Where the file ends as far as that is known: its total size, or the end of what is there without a gap."""
        return self.offset if self.total_size is None else self.total_size
