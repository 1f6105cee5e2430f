"""What devices do with a file, told so that it can be checked whatever is killed meanwhile."""

import asyncio
import base64
import hashlib
import random
import time
from collections.abc import Awaitable, Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property

import aiohttp

from libs.common.files.extents import Extent, Extents
from libs.common.storage import Buckets, ObjectNotFound, ObjectStore, list_all, read
from libs.common.uploads import outcomes
from libs.common.uploads.layout import (
    FileId,
    file_key,
    parse_run_key,
    partials_root,
    record_key,
    rejected_prefix,
)
from libs.common.uploads.record import Record
from tests.e2e.device import Device


async def until(happened: Callable[[], Awaitable[bool]], within: float = 60) -> None:
    """Ask again until it has happened."""
    deadline = time.monotonic() + within
    while not await happened():
        assert time.monotonic() < deadline, f"never happened: {happened.__qualname__}"
        await asyncio.sleep(0.1)


@dataclass
class Upload:
    """A file of two and a half parts, sent in chunks of five eighths of a part, and what became of it.

    `acknowledged`: bytes that were answered with 200."""

    device: Device
    name: str
    part: int
    buckets: Buckets  # to look behind the API
    acknowledged: Extents = field(default_factory=Extents)
    ended: str = ""
    returned: int = 0  # acknowledged bytes that were read back, and equal
    digest: str = ""  # of the whole file in hex, as the device declares it
    session: str = ""
    pinned: bool = False  # whether chunks are for that session only

    @cached_property
    def content(self) -> bytes:
        return random.Random(self.name).randbytes(self.part * 5 // 2)

    @property
    def file(self) -> FileId:
        return FileId(self.device.name, self.name)

    @property
    def chunks(self) -> list[Extent]:
        size, total = self.part * 5 // 8, len(self.content)
        return [Extent(start, min(start + size, total)) for start in range(0, total, size)]

    async def send(self, *chunks: Extent, total: int | None = None) -> None:
        for start, end in chunks:
            await self._send(start, self.content[start:end], total or len(self.content))

    async def _send(self, start: int, payload: bytes, total: int) -> None:
        """Until it is acknowledged, or the upload that it belongs to is no more."""
        while True:
            code, answer = await self.device.try_once(self.name, total, start, payload, headers=self._headers())
            if code == 200:
                break
            if code == 412:
                return
            assert code in (0, 401, 408, 429, 503, 507), (code, answer)
            await asyncio.sleep(random.uniform(0.05, 0.3))
        self.session = answer["session"]
        before = self.acknowledged.prefix_end()
        self.acknowledged.add(Extent(start, start + len(payload)))
        assert answer["next_expected_byte"] >= max(before, self.acknowledged.prefix_end())

    def _headers(self) -> dict[str, str]:
        headers = {}
        if self.digest:
            headers["Repr-Digest"] = f"sha-256=:{base64.b64encode(bytes.fromhex(self.digest)).decode()}:"
        if self.pinned and self.session:
            headers["If-Match"] = f'"{self.session}"'
        return headers

    async def cancel(self) -> None:
        """DELETE until it is done; from then on nothing of it counts as acknowledged."""
        await until(self._try_to_cancel)
        self.acknowledged = Extents()

    async def _try_to_cancel(self) -> bool:
        return (await self.device.request("DELETE", f"/files/{self.name}"))[0] in (204, 404)

    async def assembled(self) -> None:
        """Wait until the assembler began with it."""

        async def has_begun() -> bool:
            with suppress(ObjectNotFound):
                stored = await read(self.buckets.temp, record_key(self.file))
                return bool(Record.model_validate_json(stored).assembly)
            return False

        await until(has_begun)

    async def end(self, status: str) -> None:
        """Wait until the file is what it is to become, through any number of restarts."""
        async with asyncio.timeout(90):
            while (found := await self._status()) != status:
                assert found in ("away", "pending", "partial", "complete"), found
                await asyncio.sleep(0.2)
        self.ended = status

    async def _status(self) -> str:
        code, answer = await self.device.status(self.name)
        names = {200: answer.get("status", ""), 404: "gone", 410: "rejected", 0: "away", 503: "away"}
        return str(names.get(code, code))


async def count_returned(upload: Upload, perm: ObjectStore) -> None:
    """Read back, piece by piece, what was acknowledged: as the device does it, and where it may not read, from the
    bucket."""
    upload.returned = 0
    for extent in upload.acknowledged:
        found = await (_from_bucket if upload.ended == "rejected" else _from_api)(upload, perm, extent)
        expected = upload.content[extent.start : extent.end]
        upload.returned += extent.length if found == expected else 0


async def _from_api(upload: Upload, perm: ObjectStore, extent: Extent) -> bytes:
    found = bytearray()

    async def is_read() -> bool:
        with suppress(aiohttp.ClientError, TimeoutError):
            async with upload.device.download(upload.name, Range=f"bytes={extent.start}-{extent.end - 1}") as answer:
                found[:] = await answer.read() if answer.status == 206 else b""
                return answer.status in (206, 409, 416)
        return False

    await until(is_read)
    return bytes(found) or await _from_bucket(upload, perm, extent)  # behind a gap, which the API does not serve


async def _from_bucket(upload: Upload, perm: ObjectStore, extent: Extent) -> bytes:
    found = bytearray(extent.length)
    for prefix in (partials_prefix(upload.file), rejected_prefix(upload.file)):
        for info in await list_all(perm, prefix):
            held = parse_run_key(info.key).extent
            both = held.intersection(extent)
            if both.length:
                data = await read(perm, info.key, both.start - held.start, both.end - held.start)
                found[both.start - extent.start : both.end - extent.start] = data
    return bytes(found)


def expected_key(upload: Upload) -> str:
    """Where in the permanent bucket the file is found at the end; empty if nowhere."""
    file = upload.file
    places = {"complete": file_key(file), "partial": partials_prefix(file), "rejected": rejected_prefix(file)}
    return places.get(upload.ended, "")


def partials_prefix(file: FileId) -> str:
    return f"{partials_root(file.owner)}{file.filename}/"


def kept_records(uploads: Iterable[Upload]) -> set[str]:
    """The records that stay: of uploads that went stale, and of those whose rejected bytes are kept."""
    return {record_key(upload.file) for upload in uploads if upload.ended in ("partial", "rejected")}


Act = Callable[[Upload], Awaitable[None]]


@dataclass(frozen=True)
class Story:
    """`prepare` happens before the process that is to die starts, `act` in its life and after it."""

    act: Act
    prepare: Act | None = None
    ends: str = "complete"


async def _whole(upload: Upload) -> None:
    await upload.send(*upload.chunks)


async def _small(upload: Upload) -> None:
    await upload.send(upload.chunks[0], total=upload.chunks[0].end)


async def _single(upload: Upload) -> None:
    """A file of one part in two chunks."""
    first = upload.chunks[0]
    half = first.end // 2
    await upload.send(Extent(0, half), Extent(half, first.end), total=first.end)


async def _declared(upload: Upload) -> None:
    upload.digest = hashlib.sha256(upload.content).hexdigest()
    await _whole(upload)


async def _wrong(upload: Upload) -> None:
    upload.digest = hashlib.sha256(b"another").hexdigest()
    upload.pinned = True  # else a last chunk whose answer was lost would begin another upload
    await _whole(upload)


async def _all_but_the_last(upload: Upload) -> None:
    await upload.send(*upload.chunks[:-1])


async def _first_chunk(upload: Upload) -> None:
    await upload.send(upload.chunks[0])


async def _first_and_third(upload: Upload) -> None:
    await upload.send(upload.chunks[0], upload.chunks[2])


async def _renew(upload: Upload) -> None:
    await _first_chunk(upload)
    await upload.cancel()


async def _leftover(upload: Upload) -> None:
    """A file is put under the name while the upload is in progress, and its put was never acknowledged."""
    key, metadata = file_key(upload.file), outcomes.metadata("0" * 16, None, "", {})
    await upload.buckets.perm.put(key, b"never acknowledged", absent=True, metadata=metadata)
    await _whole(upload)


async def _partial(upload: Upload) -> None:
    await _first_chunk(upload)
    await upload.end("partial")


async def _second_chunk(upload: Upload) -> None:
    await upload.send(upload.chunks[1])


async def _completed(upload: Upload) -> None:
    await _whole(upload)
    await upload.end("complete")

    async def record_is_gone() -> bool:
        return not (await upload.buckets.temp.fetch(record_key(upload.file))).info

    await until(record_is_gone)  # so that a DELETE opens the name


async def _rejected(upload: Upload) -> None:
    await _wrong(upload)
    await upload.end("rejected")


async def _cancelled(upload: Upload) -> None:
    await _all_but_the_last(upload)
    await upload.assembled()  # so that there is a multipart upload to abort
    await upload.cancel()


STORIES = {
    "whole": Story(_whole),
    "small": Story(_small),
    "single": Story(_single),
    "declared": Story(_declared),
    "told": Story(_declared, prepare=_first_chunk),
    "renewed": Story(_whole, prepare=_renew),
    "leftover": Story(_leftover, prepare=_first_chunk),
    "resumed": Story(_whole, prepare=_partial),
    "gap": Story(_all_but_the_last, ends="partial"),
    "islands": Story(_first_and_third, ends="partial"),
    "grown": Story(_second_chunk, prepare=_partial, ends="partial"),
    "cancelled": Story(_cancelled, ends="gone"),
    "deleted": Story(Upload.cancel, prepare=_completed, ends="gone"),
    "dropped": Story(Upload.cancel, prepare=_partial, ends="gone"),
    "wrong": Story(_wrong, ends="rejected"),
    "dismissed": Story(Upload.cancel, prepare=_rejected, ends="gone"),
}
