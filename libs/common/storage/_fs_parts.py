"""Parts of multipart uploads. Blocking calls, for threads."""

import os
import time
from contextlib import closing

from libs.common.storage import Origin, PartInfo
from libs.common.storage._bodies import Bytes
from libs.common.storage._checks import check_part_number
from libs.common.storage._fs_files import blocks, copy_bytes, write_all
from libs.common.storage._fs_places import original
from libs.common.storage._fs_uploads import NO_PART, Upload


class PartWriter:
    """Puts one part where it belongs in the data.

    Two processes may write the same bytes at once. A part that is recorded is compared before it is written, so
    that nobody overwrites what somebody else has been told is durable; one that differs is taken back first. The etag
    counts how often that was: two processes that put the same bytes give the same one, and no digest is needed."""

    def __init__(self, upload: Upload, number: int, size: int) -> None:
        """Raises ValueError for a part that the upload has no room for."""
        check_part_number(number)
        if size > upload.part_size:
            raise ValueError(f"a part of {size} bytes in an upload with parts of {upload.part_size}")
        self._upload = upload
        self._number = number
        self._size = size
        self._start = (number - 1) * upload.part_size
        self._compared = self._written = 0
        self._differs = False
        self._times = 0
        self._recorded: PartInfo | None = None
        self._fd = -1

    def open(self) -> None:
        """Raises UploadNotFound."""
        self._fd = self._upload.open()
        self._recorded, self._times = self._upload.part(self._number)

    @property
    def compares(self) -> bool:
        """Whether the bytes must be handed to `compare` before they are handed to `write`."""
        return self._recorded is not None

    def compare(self, block: Bytes) -> None:
        at, size = self._start + self._compared, len(block)
        self._differs = self._differs or os.pread(self._fd, size, at) != block
        self._compared += size

    def same(self) -> PartInfo | None:
        """The recorded part, if the bytes compared are its bytes; else it is taken back."""
        if self._recorded and self._recorded.size == self._size and not self._differs:
            return self._recorded
        self._upload.record(PartInfo(self._number, 0, NO_PART))
        self._times += 1
        return None

    def write(self, block: Bytes) -> None:
        write_all(self._fd, block, self._start + self._written)
        self._written += len(block)

    def copy(self, source: int) -> None:
        """The part is the beginning of another file."""
        copy_bytes(source, self._fd, self._size, self._start)

    def finish(self) -> PartInfo:
        os.fsync(self._fd)
        part = self._info()
        self._upload.record(part)
        return part

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)

    def _info(self) -> PartInfo:
        return PartInfo(self._number, self._size, f"{self._number}-{self._times}", time.time())


def put_part(upload: Upload, number: int, body: Bytes) -> PartInfo:
    """A part that is in memory."""
    with closing(PartWriter(upload, number, len(body))) as writer:
        writer.open()
        if writer.compares:
            writer.compare(body)
            if part := writer.same():
                return part
        writer.write(body)
        return writer.finish()


def copy_part(upload: Upload, number: int, origin: Origin) -> PartInfo:
    """A part that is an object already. Raises ObjectNotFound."""
    with original(origin) as path:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
    with open(fd, "rb", buffering=0), closing(PartWriter(upload, number, origin.size)) as writer:
        writer.open()
        if writer.compares:
            for block in blocks(fd, origin.size):
                writer.compare(block)
            if part := writer.same():
                return part
        writer.copy(fd)
        return writer.finish()
