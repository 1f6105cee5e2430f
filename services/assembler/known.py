"""What this process knows to be in multipart uploads."""

from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager

from libs.common.gather import Assembly, counting_upload
from libs.common.look import Look

LIMIT = 50_000  # parts; about 20 MB


class KnownParts:
    """A memory of parts, for without it each event would list those of its file, and a file of n parts would cost n
    times n. Parts are never taken out of an upload, so that what is known may lack some, and no more than that; an
    upload that is gone says so when it is used.

    At most `limit` uploads and parts together, or one upload: those that were used least recently are forgotten first.
    """

    def __init__(self, limit: int = LIMIT) -> None:
        self._limit = limit
        self._uploads: OrderedDict[str, tuple[Assembly, int]] = OrderedDict()  # with what they count
        self._count = 0

    def of(self, look: Look) -> Assembly | None:
        """The multipart upload that counts, if this process knows it."""
        return self._uploads.get(counting_upload(look), (None, 0))[0]

    def keep(self, assembly: Assembly) -> None:
        self._drop(assembly.upload_id)
        self._uploads[assembly.upload_id] = assembly, 1 + len(assembly.parts)
        self._count += 1 + len(assembly.parts)
        while len(self._uploads) > 1 and self._count > self._limit:
            self._drop(next(iter(self._uploads)))

    @contextmanager
    def doubted(self, look: Look) -> Iterator[None]:
        """Forget the upload if anything goes wrong, so that the next try lists it again."""
        try:
            yield
        except BaseException:
            self.forget(look)
            raise

    def forget(self, look: Look) -> None:
        self._drop(counting_upload(look))

    def _drop(self, upload_id: str) -> None:
        self._count -= self._uploads.pop(upload_id, (None, 0))[1]
