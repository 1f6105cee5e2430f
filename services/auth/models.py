"""What the auth service stores of a device, and what it takes and answers."""

from datetime import datetime
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StrictBool

from libs.common.files.names import SUBJECT
from libs.common.security.allowance import CLASS, DEFAULT_CLASS
from libs.common.security.tokens import valid_subject
from services.auth.client_secrets import SecretHash
from services.auth.namesakes import OF_SETTINGS, looks_reserved

ID_RULE = (
    "1 to 64 letters (A-Z, a-z), digits, '.', '_' or '-'; the first is a letter or a digit; without '..'; nothing that "
    "looks like 'fleet', 'admin' or 'helm-test'; no id of another device in upper or lower case"
)
LAST_SECOND = 253_402_300_799  # of the year 9999, since the epoch
MOST_REVOKED = 1000  # devices in one call
Scope = Literal["files:read", "files:write", "fleet:read", "fleet:write", "fleet:manage", "admin"]


DeviceClass = Annotated[str, Field(description="A class of LIMITS_CLASSES, or `default`.", pattern=f"^{CLASS}$")]


def valid_device_id(device_id: str) -> bool:
    """Whether a device may have this id; `admin`, `helm-test` and `fleet` are taken."""
    return valid_subject(device_id) and device_id not in OF_SETTINGS


def _device_id(device_id: str) -> str:
    if not valid_subject(device_id) or looks_reserved(device_id):
        raise ValueError(ID_RULE)
    return device_id


class Device(BaseModel):
    """`devices/{device_id}.json`."""

    model_config = ConfigDict(frozen=True, hide_input_in_errors=True)

    device_id: str
    scopes: list[Scope]
    created_at: datetime
    secrets: list[SecretHash] = Field(description="The current one first; then older ones that still overlap.")
    tokens_from: int = Field(0, ge=0, le=LAST_SECOND, description="Least `iat` of its tokens, since the epoch.")
    device_class: DeviceClass = DEFAULT_CLASS


class NewDevice(BaseModel):
    """Asks for a device."""

    model_config = ConfigDict(extra="forbid")

    device_id: Annotated[str, AfterValidator(_device_id)] = Field(
        description=f"{ID_RULE}.", json_schema_extra={"pattern": f"^{SUBJECT}$"}
    )
    scopes: list[Scope] = Field(["files:read", "files:write"], min_length=1)
    device_class: DeviceClass = DEFAULT_CLASS


class DeviceChange(BaseModel):
    """Changes a device."""

    model_config = ConfigDict(extra="forbid")

    device_class: DeviceClass


class Revocation(BaseModel):
    """Asks to revoke devices."""

    model_config = ConfigDict(extra="forbid")

    device_ids: list[str] = Field(min_length=1, max_length=MOST_REVOKED, description="`admin` too.")
    forget: StrictBool = Field(False, description="Delete the devices too: their secrets are refused at once.")


class RevocationResult(BaseModel):
    """What became of a revocation."""

    revoked: list[str] = Field(description="Whose tokens are void.")
    unknown: list[str] = Field(description="Ids of no device; nothing was done about them.")


class DeviceInfo(BaseModel):
    """A device, without anything secret."""

    device_id: str
    scopes: list[Scope]
    created_at: datetime
    device_class: str = Field(description="Whose limits count for it.")


class Refusal(BaseModel):
    """Why ingest refused a request of a device."""

    when: datetime
    why: str = Field(description="The slug of the problem, and its detail.")


class DeviceGlance(DeviceInfo):
    """A device, and what the janitor knew of it at its last sweep. Null: that is not known."""

    last_seen: datetime | None = Field(description="When ingest last answered it, to about two minutes.")
    last_refusal: Refusal | None = Field(description="The last request that ingest refused, of a valid token.")
    uploads_open: int | None = Field(description="Uploads in progress, parked ones too.")
    bytes_stored: int | None = Field(
        description="Of its complete files, when they were last counted: at least once in FLEET_COUNT_INTERVAL."
    )
    bytes_allowed: int | None = Field(description="`stored_bytes` of its class; null: no limit.")


class DeviceSecret(DeviceInfo):
    """A device with its secret, shown this once."""

    client_secret: str = Field(repr=False)


class DevicePage(BaseModel):
    devices: list[DeviceGlance]
    damaged: list[str] = Field([], description="Ids of devices of this page whose record cannot be read.")
    next: str | None = Field(description="Send as `after` for the next page; null on the last.")


class TokenAnswer(BaseModel):
    """RFC 6749, section 5.1."""

    access_token: str = Field(repr=False)
    token_type: Literal["bearer"] = "bearer"  # noqa: S105  # a type's name, not a secret
    expires_in: int = Field(description="Seconds.")
    scope: str = Field(description="Space-separated.")


class KeySet(BaseModel):
    """RFC 7517, section 5."""

    keys: list[dict[str, str]]
