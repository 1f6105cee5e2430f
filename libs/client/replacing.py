"""One call of `upload`: it begins anew where the server has other bytes under the name, if that loses nothing."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass

from libs.client.errors import HiperError, NotFoundError, PreconditionError, RejectedError, SourceChangedError
from libs.client.files import Files
from libs.client.models import UploadResult
from libs.client.names import RemoteFile
from libs.client.opening import Uploadable, open_source
from libs.client.pacing import Pacing
from libs.client.retry import Patience
from libs.client.sources import Hashing
from libs.client.upload import Progress, Upload
from libs.client.uploads import Uploader

MOST_CHANGES = 3  # in one call: a file that somebody writes to all the time is given up
REST = 2.0  # seconds until a file that changed is looked at again


@dataclass(frozen=True, slots=True)
class Order:
    """What to upload, and how. `size` in bytes is what the source must have, if it is known. `replace`: whether other
    content that the server has under the name is thrown away."""

    file: RemoteFile
    source: Uploadable
    content_type: str
    patience: Patience
    pacing: Pacing
    jobs: int
    slots: asyncio.Semaphore
    report: Progress
    labels: Mapping[str, str]
    size: int | None
    replace: bool
    wait: bool


class Sender:
    def __init__(self, files: Files, order: Order) -> None:
        self._files = files
        self._order = order
        self._free: str | None = None  # a session to end without being asked: the source has all of its bytes

    async def run(self) -> UploadResult:
        """Raises what HiperClient.upload does."""
        changes = ways = 0
        while True:
            async with self._opened() as upload:
                try:
                    return await Uploader(self._files, upload).run(self._order.wait)
                except SourceChangedError as error:
                    changes += 1
                    await self._after_change(upload, error, last=changes == MOST_CHANGES)
                except HiperError as error:
                    ways += 1
                    if not error.replaceable or ways > MOST_CHANGES or not await self._made_way():
                        raise

    @asynccontextmanager
    async def _opened(self) -> AsyncIterator[Upload]:
        order = self._order
        source = await open_source(order.source, order.size)
        hashing = Hashing(source.read)
        digest = asyncio.create_task(hashing.up_to(source.size))
        try:
            yield Upload(
                order.file, source, order.content_type, order.patience, order.pacing, order.jobs, order.slots,
                hashing, digest, order.report, order.labels,
            )  # fmt: skip
        finally:
            digest.cancel()
            await asyncio.gather(digest, return_exceptions=True)
            source.close()

    async def _after_change(self, upload: Upload, error: SourceChangedError, *, last: bool) -> None:
        """Wait for the file to come to rest. Raises the error when that is in vain, or would lose bytes that the server
        acknowledged and that may be nowhere else."""
        self._free = await self._session_to_end(upload)
        if self._free is None and not self._order.replace:
            error.replaceable = True
            raise error
        try:
            if last:
                raise error
            await self._order.patience.wait(error, REST)
        except SourceChangedError:
            await self._made_way()  # or the next call would find an upload of another size
            raise

    async def _session_to_end(self, upload: Upload) -> str | None:
        """The open session if the source has all of its bytes; "" if none is open; None if bytes would be lost."""
        upload.digest.cancel()
        await asyncio.gather(upload.digest, return_exceptions=True)
        try:
            status = await self._files.status(upload.file, upload.patience)
        except (NotFoundError, RejectedError):
            return ""
        if status.session is None or status.missing_ranges_truncated:
            return None
        return status.session if await upload.has_all(status.there()) else None

    async def _made_way(self) -> bool:
        """Whether what the server has under the name was deleted: because that was asked for, or loses nothing."""
        order = self._order
        try:
            if order.replace:
                await self._files.delete(order.file, order.patience)
            elif self._free:
                await self._files.end(order.file, self._free, order.patience)
            else:
                return self._free is not None
        except (NotFoundError, RejectedError):
            pass  # gone already
        except PreconditionError:
            return order.replace  # it is another one now
        order.patience.progress()
        return True
