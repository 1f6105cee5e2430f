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

    At most `limit` parts, or one upload: those that were used least recently are forgotten first.
    """

    def __init__(self, limit: int = LIMIT) -> None:
        self._limit = limit
        self._uploads: OrderedDict[str, Assembly] = OrderedDict()

    def of(self, look: Look) -> Assembly | None:
        """The multipart upload that counts, if this process knows it."""
        return self._uploads.get(counting_upload(look))

    def keep(self, assembly: Assembly) -> None:
        self._uploads[assembly.upload_id] = assembly
        self._uploads.move_to_end(assembly.upload_id)
        while len(self._uploads) > 1 and sum(len(each.parts) for each in self._uploads.values()) > self._limit:
            self._uploads.popitem(last=False)

    @contextmanager
    def doubted(self, look: Look) -> Iterator[None]:
        """Forget the upload if anything goes wrong, so that the next try lists it again."""
        try:
            yield
        except BaseException:
            self.forget(look)
            raise

    def forget(self, look: Look) -> None:
        self._uploads.pop(counting_upload(look), None)
