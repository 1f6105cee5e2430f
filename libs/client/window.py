"""The in-flight window: a few chunks of one upload on their way at the same time."""

import asyncio
from collections.abc import Coroutine, Iterable, Sequence
from typing import Any

from libs.client.errors import AnswerError, FileTooLargeError, HiperError, ServerAwayError
from libs.client.files import Chunk, Files
from libs.client.pacing import Remaining
from libs.client.sources import read_chunk
from libs.client.upload import Upload
from libs.common.files.extents import Extent


class Window:
    """Sends the missing bytes of one session; `run` returns when the server has them all."""

    def __init__(self, files: Files, upload: Upload, missing: Sequence[Extent]) -> None:
        self._files = files
        self._upload = upload
        self._remaining = Remaining(missing)

    async def run(self) -> None:
        """Raises PreconditionError when the session is not the one that it was."""
        if self._upload.session is None:
            await self._work(1)  # opens the session that all others are pinned to
        await together(self._work() for _ in range(self._upload.jobs))

    async def _work(self, limit: int | None = None) -> None:
        """Send chunk after chunk, at most `limit`."""
        upload, backoff = self._upload, self._upload.patience.backoff()
        while limit != 0 and self._remaining:
            async with upload.slots:
                if (extent := self._remaining.take(upload.pacing.size)) is None:
                    return
                error = await self._try(extent)
            if error is None:
                backoff.reset()
                limit = None if limit is None else limit - 1
            elif not (_is_too_large(error) and upload.pacing.too_large(extent.length)):
                if isinstance(error, ServerAwayError) or error.retry_after == 0:
                    upload.pacing.failed()
                await backoff.pause(error)

    async def _try(self, extent: Extent) -> HiperError | None:
        """Send a chunk. Where it failed: why; its bytes are among the remaining ones again."""
        try:
            await self._send(extent)
        except HiperError as error:
            self._remaining.put_back(extent)
            return error
        return None

    async def _send(self, extent: Extent) -> None:
        upload = self._upload
        payload, sha256 = await read_chunk(upload.source, extent)
        whole = await self._declaration()
        chunk = Chunk(
            extent, upload.source.size, payload, sha256, upload.content_type, upload.session, whole, upload.labels
        )  # fmt: skip
        upload.tried.add(extent)
        began = upload.patience.clock.monotonic()
        answer = await self._files.send(upload.file, chunk)
        upload.pacing.succeeded(upload.patience.clock.monotonic() - began)
        upload.declared = upload.declared or whole is not None
        upload.stored(extent, answer)

    async def _declaration(self) -> bytes | None:
        """The whole file's digest if this chunk should declare it: as soon as it is known, and at the latest
        with the chunk that nothing is left to send after."""
        if not self._remaining or (self._upload.digest.done() and not self._upload.declared):
            return await asyncio.shield(self._upload.digest)
        return None


def _is_too_large(error: HiperError) -> bool:
    """Whether the server, or a proxy in front of it, takes no request as large as this one, but may take a smaller."""
    return isinstance(error, AnswerError) and error.status == 413 and not isinstance(error, FileTooLargeError)


async def together(jobs: Iterable[Coroutine[Any, Any, None]]) -> None:
    """Run them side by side; when one fails, cancel the others and raise its error, not a group of errors."""
    try:
        async with asyncio.TaskGroup() as group:
            for job in jobs:
                group.create_task(job)
    except ExceptionGroup as failures:
        raise failures.exceptions[0] from failures
