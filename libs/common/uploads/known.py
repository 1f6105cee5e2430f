"""What this process knows to be in multipart uploads."""

from collections import OrderedDict

from libs.common.storage import PartInfo

LIMIT = 50_000  # parts; about 20 MB


class KnownParts:
    """A memory of parts, for without it each event would list those of its file, and a file of n parts would cost n
    times n. Parts are never taken out of an upload, so that what is known may lack some, and no more than that; an
    upload that is gone says so when it is used.

    At most `limit` uploads and parts together, or one upload: those that were used least recently are forgotten first.
    """

    def __init__(self, limit: int = LIMIT) -> None:
        self._limit = limit
        self._uploads: OrderedDict[str, dict[int, PartInfo]] = OrderedDict()
        self._count = 0

    def of(self, upload_id: str) -> dict[int, PartInfo] | None:
        """The parts of an upload, by number from 0; None where this process does not know it."""
        return self._uploads.get(upload_id)

    def keep(self, upload_id: str, parts: dict[int, PartInfo]) -> None:
        self.forget(upload_id)
        self._uploads[upload_id] = parts
        self._count += 1 + len(parts)
        while len(self._uploads) > 1 and self._count > self._limit:
            self.forget(next(iter(self._uploads)))

    def forget(self, upload_id: str) -> None:
        gone = self._uploads.pop(upload_id, None)
        if gone is not None:
            self._count -= 1 + len(gone)
