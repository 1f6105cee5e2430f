"""A bucket as S3 has it: what is in it, and what each request does to it at the moment when it takes effect."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import md5
from random import Random

from libs.common.storage import (
    ConditionFailed,
    Fence,
    Listing,
    ObjectInfo,
    ObjectNotFound,
    PartInfo,
    UploadNotFound,
)


@dataclass(frozen=True, slots=True)
class Stored:
    data: bytes
    info: ObjectInfo


@dataclass(slots=True)
class Upload:
    """An open multipart upload. `by`: the process that opened it."""

    key: str
    by: str
    content_type: str
    metadata: Mapping[str, str]
    parts: dict[int, tuple[bytes, PartInfo]] = field(default_factory=dict)


class Bucket:
    """Synchronous, exact and consistent. `now` is the clock of one of the store's nodes; `changed` hears the
    key of every change."""

    def __init__(self, now: Callable[[], float], changed: Callable[[str], None]) -> None:
        self.objects: dict[str, Stored] = {}
        self.uploads: dict[str, Upload] = {}
        self._now = now
        self._changed = changed
        self._count = 0

    def check_condition(self, key: str, absent: bool, match: str) -> None:
        there = self.objects[key].info.etag if key in self.objects else ""
        if (absent and there) or (match and there != match):
            raise ConditionFailed(key)

    def put(
        self,
        key: str,
        data: bytes,
        content_type: str,
        metadata: Mapping[str, str],
        *,
        absent: bool = False,
        match: str = "",
    ) -> str:
        self.check_condition(key, absent, match)
        info = ObjectInfo(key, len(data), self._now(), content_type, dict(metadata), tag(data))
        self.objects[key] = Stored(data, info)
        self._changed(key)
        return info.etag

    def find(self, key: str, etag: str = "") -> Stored:
        found = self.objects.get(key)
        if not found or etag not in ("", found.info.etag):
            raise ObjectNotFound(key)
        return found

    def list(self, prefix: str, start_after: str, limit: int, issued: float) -> Listing:
        keys = [key for key in self.objects if key.startswith(prefix)]
        keys.sort(key=str.encode)
        if start_after:
            keys = [key for key in keys if key.encode() > start_after.encode()]
        page = [self.objects[key].info for key in keys[:limit]]
        return Listing(page, len(keys) > limit, Fence(issued))

    def delete(self, key: str) -> None:
        if self.objects.pop(key, None):
            self._changed(key)

    def create_multipart(self, upload: Upload) -> str:
        self._count += 1
        upload_id = f"u{self._count * 7919 % 9973:04d}"  # in no order: the smallest counts, not the oldest
        self.uploads[upload_id] = upload
        return upload_id

    def upload(self, key: str, upload_id: str) -> Upload:
        upload = self.uploads.get(upload_id)
        if upload is None or upload.key != key:
            raise UploadNotFound(upload_id)
        return upload

    def put_part(self, key: str, upload_id: str, number: int, data: bytes) -> PartInfo:
        info = PartInfo(number, len(data), tag(data), self._now())
        self.upload(key, upload_id).parts[number] = data, info
        return info

    def list_parts(self, key: str, upload_id: str) -> Sequence[PartInfo]:
        parts = self.upload(key, upload_id).parts
        return [parts[number][1] for number in sorted(parts)]

    def complete(self, key: str, upload_id: str, parts: Sequence[PartInfo], *, absent: bool) -> None:
        upload = self.upload(key, upload_id)
        if not parts:
            raise ValueError("no parts")
        if any(upload.parts.get(part.number, (b"", None))[1] != part for part in parts):
            raise ValueError("parts that are not the upload's")
        data = b"".join(upload.parts[part.number][0] for part in parts)
        self.put(key, data, upload.content_type, upload.metadata, absent=absent)
        del self.uploads[upload_id]

    def abort(self, upload_id: str) -> None:
        self.uploads.pop(upload_id, None)

    def purge(self, chance: Random) -> str:
        """Abort an open upload, as stores do with those that they take for forgotten. Its id, or empty."""
        upload_id = chance.choice(list(self.uploads)) if self.uploads else ""
        self.abort(upload_id)
        return upload_id


def tag(data: bytes) -> str:
    """As S3 makes it: the same bytes have the same etag."""
    return md5(data, usedforsecurity=False).hexdigest()
