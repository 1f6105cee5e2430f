"""The security events that the audit trail knows: a closed set, one class for each. See audit_trail.py.

The first word of a docstring says which service writes the line. A name or a field that is documented stays: readers of
the trail are programs.
"""

import re
from dataclasses import dataclass


@dataclass(kw_only=True)
class AuditEvent:
    """What a line says beside who, from where, by which request, and with which outcome."""

    @classmethod
    def name(cls) -> str:
        """`TokenIssued` is `token_issued` in the trail."""
        return re.sub(r"(?<=[a-z])(?=[A-Z])", "_", cls.__name__).lower()


@dataclass(kw_only=True)
class TokenIssued(AuditEvent):
    """Auth: a client got a token."""

    scopes: list[str]
    device_class: str


@dataclass(kw_only=True)
class AuthenticationFailed(AuditEvent):
    """Auth: a client got no token, because its id, secret or certificate is wrong, or because it asks too often."""


@dataclass(kw_only=True)
class AccessRefused(AuditEvent):
    """Any: a request was refused for its token or certificate, or because a scope is missing."""


@dataclass(kw_only=True)
class DeviceRegistered(AuditEvent):
    """Auth: a device was registered."""

    device: str
    scopes: list[str]
    device_class: str


@dataclass(kw_only=True)
class DeviceReclassified(AuditEvent):
    """Auth: a device was put into another class."""

    device: str
    old_class: str = ""
    new_class: str


@dataclass(kw_only=True)
class SecretRenewed(AuditEvent):
    """Auth: a device got a new secret. `old_refused`: the old one was refused at once."""

    device: str
    old_refused: bool


@dataclass(kw_only=True)
class TokensRevoked(AuditEvent):
    """Auth: every token of a device was made void."""

    device: str


@dataclass(kw_only=True)
class DeviceDeleted(AuditEvent):
    """Auth: a device was deleted. Scopes and class are those that it had."""

    device: str
    old_scopes: list[str]
    old_class: str = ""


@dataclass(kw_only=True)
class DeviceDamaged(AuditEvent):
    """Auth: what is stored of a device cannot be read; one line in an hour from each process."""

    device: str


@dataclass(kw_only=True)
class FleetPublished(AuditEvent):
    """Ingest: a replica took the first chunk that it got of an upload to `fleet`."""

    file: str
    session: str


@dataclass(kw_only=True)
class ForeignFilesListed(AuditEvent):
    """Ingest: a client listed the files of another device, or uploads: `*` stands for those of all devices."""

    owner: str


@dataclass(kw_only=True)
class ForeignFileRead(AuditEvent):
    """Ingest: a client read the file of another device, or a range of it."""

    owner: str
    file: str


@dataclass(kw_only=True)
class ForeignFileDeleted(AuditEvent):
    """Ingest: a client deleted a file that is not its own, or cancelled its upload."""

    owner: str
    file: str


@dataclass(kw_only=True)
class OwnerPurged(AuditEvent):
    """Ingest: everything that a device has was deleted, or with `dry_run` only listed; one line for each page.
    `size` in bytes."""

    owner: str
    dry_run: bool
    files: int = 0
    size: int = 0


@dataclass(kw_only=True)
class WebhookCreated(AuditEvent):
    """Ingest: an operator made a webhook. `target`: scheme and host of its address; the rest of it may be a secret."""

    webhook: str
    target: str


@dataclass(kw_only=True)
class WebhookDeleted(AuditEvent):
    """Ingest: an operator deleted a webhook."""

    webhook: str


@dataclass(kw_only=True)
class WebhookTested(AuditEvent):
    """Ingest: an operator asked for a test call of a webhook."""

    webhook: str


EVENTS: tuple[type[AuditEvent], ...] = tuple(AuditEvent.__subclasses__())
