"""The in-flight window: a few chunks of one upload on their way at the same time."""

import asyncio
from collections.abc import Callable, Coroutine, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from libs.client.errors import AnswerError, HiperError, ServerAwayError
from libs.client.files import Chunk, Files
from libs.client.models import ChunkAnswer
from libs.client.names import RemoteFile
from libs.client.pacing import Pacing, Remaining
from libs.client.retry import Patience
from libs.client.sources import Source, read_chunk
from libs.common.extents import Extent, Extents

Progress = Callable[[int, int], None]  # bytes that are durable on the server, bytes in all


@dataclass(slots=True)
class Upload:
    """What one call of `upload` works with, and what it knows so far."""

    file: RemoteFile
    source: Source
    content_type: str
    patience: Patience
    pacing: Pacing
    jobs: int
    digest: "asyncio.Task[bytes]"  # SHA-256 of the whole, being computed
    report: Progress
    session: str | None = None
    declared: bool = False  # whether the digest reached the server, in this session
    acked: Extents = field(default_factory=Extents)
    sent: int = 0  # bytes that this call sent and the server stored
    owner: str = ""  # as the server names it

    def adopt(self, session: str | None, missing: Sequence[Extent], horizon: int) -> None:
        """Go on with an upload as the server knows it: its session (None: none is open) and the bytes that it
        lacks below `horizon`."""
        if session is None or session != self.session:
            self.declared = False
        self.session = session
        self.acked = Extents()
        at = 0
        for gap in missing:
            self.acked.add(Extent(at, gap.start))
            at = gap.end
        self.acked.add(Extent(at, horizon))
        self.report(self.acked.total(), self.source.size)

    def stored(self, extent: Extent, answer: ChunkAnswer) -> None:
        """The server has these bytes."""
        self.session = answer.session or self.session
        self.owner = answer.owner
        before = self.acked.total()
        self.acked.add(extent)
        self.sent += self.acked.total() - before
        self.patience.progress()
        self.report(self.acked.total(), self.source.size)


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
        while limit != 0 and (extent := self._remaining.take(upload.pacing.size)) is not None:
            try:
                await self._send(extent)
            except HiperError as error:
                self._remaining.put_back(extent)
                if _is_too_large(error) and upload.pacing.too_large(extent.length):
                    continue
                if isinstance(error, ServerAwayError) or error.retry_after == 0:
                    upload.pacing.failed()
                await backoff.pause(error)
            else:
                backoff.reset()
                limit = None if limit is None else limit - 1

    async def _send(self, extent: Extent) -> None:
        upload = self._upload
        payload, sha256 = await read_chunk(upload.source, extent)
        whole = await self._declaration()
        chunk = Chunk(extent, upload.source.size, payload, sha256, upload.content_type, upload.session, whole)
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
    """Whether the server, or a proxy in front of it, takes no request as large as this one."""
    return isinstance(error, AnswerError) and error.status == 413


async def together(jobs: Iterable[Coroutine[Any, Any, None]]) -> None:
    """Run them side by side; when one fails, cancel the others and raise its error, not a group of errors."""
    try:
        async with asyncio.TaskGroup() as group:
            for job in jobs:
                group.create_task(job)
    except ExceptionGroup as failures:
        raise failures.exceptions[0] from failures
