"""How much a device, and the whole fleet, may use: the values of LIMITS_CLASSES and LIMITS_FLEET."""

import re
from collections.abc import Mapping

from pydantic import BaseModel, ConfigDict, Field

DEFAULT_CLASS = "default"  # of devices that have no other
CLASS = "[a-z0-9][a-z0-9_-]{0,31}"  # a regular expression


def valid_class(name: str) -> bool:
    """Whether a class of devices may have this name."""
    return bool(re.fullmatch(CLASS, name))


class Share(BaseModel):
    """What all devices together may use. 0: no limit."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    requests_per_second: float = Field(0, ge=0, description="In the long run.")
    request_burst: int = Field(0, ge=0, description="Requests at once; at least what a second allows.")
    bytes_per_second: int = Field(0, ge=0, description="Of payloads sent and received, in the long run.")
    concurrent_requests: int = Field(0, ge=0, description="Under way at once, through one replica.")


class Allowance(Share):
    """What each device of a class may use. 0: no limit."""

    open_uploads: int = Field(0, ge=0, description="Files that are being uploaded.")
    stored_bytes: int = Field(0, ge=0, description="Of all its files; an upload counts whole from its first chunk on.")
    stored_files: int = Field(0, ge=0, description="Complete, parked and rejected files, and uploads in progress.")


def check_classes(classes: Mapping[str, Allowance]) -> Mapping[str, Allowance]:
    """Raises ValueError for a name that no class can have, and where devices without a class would have none."""
    for name in classes:
        if not valid_class(name):
            raise ValueError(f"has a class {name!r}; a name has 1 to 32 of a-z, 0-9, '_', '-'")
    if classes and DEFAULT_CLASS not in classes:
        raise ValueError("""needs a class `default`, for devices without one: write e.g. {"default": {}, ...}""")
    return classes
