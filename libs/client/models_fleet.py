"""What the server tells of the uploads of a fleet. Sizes and offsets are in bytes."""

from datetime import datetime
from typing import Literal

from pydantic import ConfigDict, Field

from libs.client.models import Record


class UploadEntry(Record):
    """An upload in progress. `rate` in bytes per second; `total_size` is None until the device has told it. `stuck`:
    nothing came for long, although something is due."""

    model_config = ConfigDict(populate_by_name=True)

    filename: str
    owner: str
    status: Literal["pending", "partial"]
    session: str
    total_size: int | None
    received_bytes: int
    next_expected_byte: int
    rate: float
    last_updated: datetime
    waiting_for: str
    parks_at: datetime | None
    stuck: bool
    labels: dict[str, str]
    device_class: str | None = Field(None, alias="class")


class FleetChange(Record):
    """`list`: a list begins; what was shown before and does not come again until the `bookmark` behind it is over.
    `listed`, `added`, `changed`, `removed`: of one upload. A `bookmark` comes now and then after that too.

    `as_of`, of `list` and `bookmark`: when the janitor looked at all uploads last; None: never. `live`: whether what
    came since is heard of, within about a second."""

    change: Literal["list", "listed", "added", "changed", "removed", "bookmark"]
    upload: UploadEntry | None = None
    as_of: datetime | None = None
    live: bool = False
