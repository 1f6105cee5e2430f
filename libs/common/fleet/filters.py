"""Which uploads a reader asks for."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from libs.common.fleet.rows import UploadRow


@dataclass(frozen=True)
class Filter:
    """Every condition that is set must hold. `prefix`: with what the filename begins. `labels`: each of them."""

    owner: str | None = None
    status: str | None = None
    stuck: bool | None = None
    prefix: str = ""
    device_class: str | None = None
    labels: Mapping[str, str] = field(default_factory=dict)

    def matches(self, row: UploadRow | None, *, stuck: bool) -> bool:
        """`stuck`: whether the upload is. No row matches nothing."""
        return (
            row is not None
            and self.owner in (None, row.owner)
            and self.status in (None, row.status)
            and self.stuck in (None, stuck)
            and row.filename.startswith(self.prefix)
            and self.device_class in (None, row.device_class)
            and self.labels.items() <= row.labels.items()
        )
