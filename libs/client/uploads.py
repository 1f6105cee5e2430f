"""An upload from its first question to the complete file: ask what the server has, send the rest, see it done."""

import asyncio
from contextlib import aclosing

from libs.client.errors import (
    HiperError,
    NameTakenError,
    NotFoundError,
    PreconditionError,
    RejectedError,
    SizeConflictError,
)
from libs.client.files import Files
from libs.client.models import State, Status, UploadResult
from libs.client.upload import Upload
from libs.client.window import Window
from libs.common.files.extents import Extent, Extents

MAX_ROUNDS = 6  # times that an upload may be replaced under us before it is given up, unless it gets further
FIRST_PAUSE = 0.5  # seconds before such an upload is looked at again; doubles
LEAST_SETTLE = 60.0  # seconds that a file may take to become complete, however impatient the caller is


class Uploader:
    def __init__(self, files: Files, upload: Upload) -> None:
        self._files = files
        self._upload = upload
        self._furthest = 0  # bytes that were durable at the same time
        self._delivered = False  # whether the server had all bytes and their digest

    async def run(self, wait: bool) -> UploadResult:
        """Returns when the file is complete; with wait=False, when all of its bytes are durable."""
        rounds = 0
        while True:
            try:
                result = await self._round(wait)
                error = HiperError("the server loses the bytes of this upload again and again")
            except PreconditionError as replaced:
                result, error = None, replaced
            if result is not None:
                return result
            rounds = 0 if self._gained() else rounds + 1
            if rounds == MAX_ROUNDS:
                raise error
            if rounds:  # what the server tells and what it takes may differ for seconds after a deletion
                await self._upload.patience.wait(error, FIRST_PAUSE * 2**rounds)

    def _gained(self) -> bool:
        durable = self._upload.acked.total()
        gained, self._furthest = durable > self._furthest, max(durable, self._furthest)
        return gained

    async def _round(self, wait: bool) -> UploadResult | None:
        """Ask, send, see. None: not done, ask again."""
        status = await self._status()
        if status is not None and status.status == "complete":
            return await self._complete(status)
        await self._send_missing(status)
        if status is not None and status.missing_ranges_truncated:
            return None
        if not wait:
            return await self._result("pending")
        self._delivered = True
        status = await self._settled()
        return None if status is None else await self._complete(status)

    async def _status(self) -> Status | None:
        """What the server has; None if nothing. An upload that was rejected before this one is nothing."""
        try:
            return await self._files.status(self._upload.file, self._upload.patience)
        except NotFoundError:
            return None
        except RejectedError:
            if self._delivered:
                raise
            return None

    async def _send_missing(self, status: Status | None) -> None:
        upload, size = self._upload, self._upload.source.size
        if status is None:
            upload.adopt(None, Extents())
        elif status.total_size not in (size, None):
            raise SizeConflictError(
                f"an unfinished upload of {upload.file.filename!r} has {status.total_size} bytes, yours has {size}",
                "throw the unfinished one away: --replace, or hiper rm NAME",
            )
        else:
            upload.adopt(status.session, status.there())
        missing = upload.acked.missing(
            Extent(0, status.horizon() if status and status.total_size is not None else size)
        )
        if not missing and not upload.declared:
            missing = [Extent(max(0, size - 1), size)]  # once more, to declare the digest with it
        await Window(self._files, upload, missing).run()

    async def _settled(self) -> Status | None:
        """Wait for the file to become complete. None: its upload was parked or replaced. Raises RejectedError, and
        NotFoundError where somebody deleted it. (While it is being rejected, bytes go missing from its status.)"""
        upload = self._upload
        try:
            async with asyncio.timeout(max(LEAST_SETTLE, upload.patience.retry_for)):
                async with aclosing(self._files.last_changes(upload.file, upload.patience)) as states:
                    async for status in states:
                        if status.status == "complete":
                            return status
                        if status.session != upload.session:
                            return None
        except NotFoundError as error:
            name = upload.file.filename
            raise NotFoundError(f"{name!r} was deleted before it was complete", status=error.status) from error
        except TimeoutError:
            pass
        raise HiperError(
            f"all bytes of {upload.file.filename!r} are stored, but the server does not complete the file",
            "look at it later: hiper status NAME",
        )

    async def _complete(self, status: Status) -> UploadResult:
        """A complete file of that name is there: this upload's, or an equal one, or NameTakenError."""
        upload = self._upload
        if upload.session is None or status.session != upload.session:
            await self._check_equal(status.horizon())
        upload.report(upload.source.size, upload.source.size)
        upload.owner, upload.session = status.owner, status.session
        return await self._result("complete")

    async def _check_equal(self, size: int) -> None:
        upload, name = self._upload, self._upload.file.filename
        if size != upload.source.size:
            difference = f"with {size} bytes instead of {upload.source.size}"
        else:
            sha256 = (await self._files.head(upload.file, upload.patience)).sha256
            if size == 0 or sha256 == await asyncio.shield(upload.digest):
                return
            difference = "with other content" if sha256 else "and the server knows no digest to compare"
        raise NameTakenError(
            f"a file {name!r} is there already, {difference}",
            "replace it (--replace), or upload under another name (--name)",
        )

    async def _result(self, state: State) -> UploadResult:
        upload = self._upload
        sha256 = (await asyncio.shield(upload.digest)).hex()
        size = upload.source.size
        return UploadResult(upload.file.filename, upload.owner, state, size, upload.sent, sha256, upload.session)
