"""Multipart uploads as files. Blocking calls, for threads."""

import json
import os
import re
import shutil
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict

from libs.common.storage import PartInfo, UploadNotFound
from libs.common.storage._checks import check_key, check_parts
from libs.common.storage._fs_files import FOLDER_MODE, opened, remove, sync, write_all, write_file
from libs.common.storage._fs_places import Places
from libs.common.storage._fs_tree import LEFTOVER_AGE, Attributes, Tree, When

NO_PART = ""  # etag of a record that takes an earlier one back
_UPLOAD_ID = re.compile(r"[0-9a-f]{32}")


class Upload:
    """One open upload: `.hiper/multipart/{upload_id}/`, which holds

    data         the object to be: part n at (n - 1) * part_size. Where it is missing, the upload is over
    upload.json  key, part size, attributes
    parts        a line of JSON for each part that is durable; of two for one part, the later counts
    """

    def __init__(self, places: Places, key: str, upload_id: str) -> None:
        """Raises UploadNotFound."""
        check_key(key)
        self._places = places
        self._key = key
        self._folder = os.path.join(places.uploads, upload_id.encode())
        self._data = os.path.join(self._folder, b"data")
        self._parts = os.path.join(self._folder, b"parts")
        self._id = upload_id
        if not _UPLOAD_ID.fullmatch(upload_id):
            raise UploadNotFound(upload_id)
        with self.not_over(), open(os.path.join(self._folder, b"upload.json"), "rb") as file:
            about = json.load(file)
            over = os.stat(self._data).st_nlink > 1  # its completion was killed: it is the object already
        if over or about["key"] != key:
            raise UploadNotFound(upload_id)
        self.part_size: int = about["part_size"]
        self._attributes = Attributes(**about["attributes"])

    @classmethod
    def create(cls, places: Places, key: str, part_size: int, attributes: Attributes) -> str:
        check_key(key)
        upload_id = uuid.uuid4().hex
        folder = os.path.join(places.uploads, upload_id.encode())
        os.mkdir(folder, FOLDER_MODE)
        about = {"key": key, "part_size": part_size, "attributes": asdict(attributes)}
        write_file(os.path.join(folder, b"upload.json"), json.dumps(about).encode())
        write_file(os.path.join(folder, b"parts"), b"")
        write_file(os.path.join(folder, b"data"), b"")
        sync(folder)
        sync(places.uploads)
        return upload_id

    def parts(self) -> list[PartInfo]:
        """Every durable part, by ascending number."""
        found = {part.number: part for part in self._records()}
        return [part for _, part in sorted(found.items()) if part.etag != NO_PART]

    def part(self, number: int) -> tuple[PartInfo | None, int]:
        """A durable part, if there is one, and how often an earlier one was taken back."""
        recorded = [part for part in self._records() if part.number == number]
        taken_back = sum(part.etag == NO_PART for part in recorded)
        return (recorded[-1] if recorded and recorded[-1].etag != NO_PART else None), taken_back

    def _records(self) -> Iterator[PartInfo]:
        with self.not_over(), open(self._parts, "rb") as file:
            for line in file:
                if line.endswith(b"}\n"):  # a power cut can leave half a line, or zeros
                    yield PartInfo(**json.loads(line))

    def complete(self, tree: Tree, parts: Sequence[PartInfo], when: When) -> None:
        check_parts(parts)
        recorded = set(self.parts())
        if not recorded.issuperset(parts) or any(p.size != self.part_size for p in parts[:-1]):
            raise ValueError("the parts are not those of the upload")
        size = sum(part.size for part in parts)
        with self.not_over():
            tree.name(self._data, self._key, self._attributes, when, size)
        shutil.rmtree(self._folder, ignore_errors=True)

    def abort(self) -> None:
        remove(self._data)
        shutil.rmtree(self._folder, ignore_errors=True)

    def record(self, part: PartInfo) -> None:
        line = f"\n{json.dumps(asdict(part))}\n".encode()  # the first newline ends what a power cut left
        with self.not_over(), opened(self._parts, os.O_WRONLY | os.O_APPEND) as fd:
            write_all(fd, line)
            os.fsync(fd)

    def open(self) -> int:
        """A file descriptor to write the data, and to read it."""
        with self.not_over():
            return os.open(self._data, os.O_RDWR)

    @contextmanager
    def not_over(self) -> Iterator[None]:
        """What is not there any more was completed or aborted by somebody else."""
        try:
            yield
        except FileNotFoundError:
            self._places.check_there()
            raise UploadNotFound(self._id) from None


def abort(places: Places, key: str, upload_id: str) -> None:
    with suppress(UploadNotFound):
        Upload(places, key, upload_id).abort()


def purge(places: Places) -> None:
    """Remove uploads that nobody has touched for a day, as S3 stores do: they are only a cache."""
    with os.scandir(places.uploads) as entries:
        for entry in entries:
            with suppress(FileNotFoundError), os.scandir(entry.path) as files:
                times = [entry.stat().st_mtime, *(file.stat().st_mtime for file in files)]
                if time.time() - max(times) > LEFTOVER_AGE:
                    shutil.rmtree(entry.path, ignore_errors=True)
