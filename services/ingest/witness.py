"""What the audit trail learns of ingest: publishing, and what is done to the files of others."""

from collections.abc import Iterator
from contextlib import contextmanager

from libs.common.files.names import FLEET
from libs.common.security import audit
from libs.common.security.audit_trail import record, recorded
from libs.common.security.recent import Recent
from libs.common.security.tokens import Principal
from libs.common.uploads.layout import FileId

EVERY_OWNER = "*"
_HOUR = 3600.0  # seconds
_REMEMBER, _REMEMBERED = 86_400.0, 10_000  # seconds, uploads: their chunks make no further lines


class Witness:
    """Records security events of files. Reading what is published to the fleet is none: that is what it is for."""

    def __init__(self) -> None:
        self._published = Recent[bool](_REMEMBER, _REMEMBERED)
        self._watched = Recent[bool](_HOUR, _REMEMBERED)

    def stored(self, caller: Principal, file: FileId, session: str) -> None:
        """A chunk was acknowledged: one line for each upload and publisher, not for each chunk."""
        upload = f"{caller.subject}/{session}"
        if file.owner == FLEET and not self._published.get(upload):
            self._published.put(upload, True)
            record(audit.FleetPublished(file=file.filename, session=session))

    def listed(self, caller: Principal, owner: str) -> None:
        if owner not in {caller.subject, FLEET}:
            record(audit.ForeignFilesListed(owner=owner))

    def watched(self, caller: Principal, owner: str | None) -> None:
        """The uploads of an owner (None: of all) were shown: one line an hour, for a reader asks again and again."""
        whose = owner or EVERY_OWNER
        if whose not in {caller.subject, FLEET} and not self._watched.get(f"{caller.subject}/{whose}"):
            self._watched.put(f"{caller.subject}/{whose}", True)
            record(audit.ForeignFilesListed(owner=whose))

    def read(self, caller: Principal, file: FileId) -> None:
        if file.owner not in {caller.subject, FLEET}:
            record(audit.ForeignFileRead(owner=file.owner, file=file.filename))

    @contextmanager
    def deleting(self, caller: Principal, file: FileId) -> Iterator[None]:
        """Delete a file, and record it with its outcome if it is another's."""
        if file.owner == caller.subject:
            yield
            return
        with recorded(audit.ForeignFileDeleted(owner=file.owner, file=file.filename)):
            yield
