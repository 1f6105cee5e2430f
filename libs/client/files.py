"""The routes under /files and /upload, as typed calls."""

from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from dataclasses import dataclass

from libs.client.errors import GatewayError, HiperError, NotFoundError, PreconditionError, ServerAwayError
from libs.client.events import ServerEvent
from libs.client.following import Follower
from libs.client.models import ChunkAnswer, FileEntry, FilePage, RemoteHead, Status
from libs.client.names import RemoteFile
from libs.client.retry import Patience
from libs.client.transport import CHUNK_TIMEOUT, Answer, Request, Transport
from libs.client.wire import content_range, digest_field, parse_digest_field
from libs.common.files.extents import Extent
from libs.common.files.labels import join_labels

SOON = 3  # looks at a file that is about to be complete, before one that waits
PAGE = 1000  # entries in one page of a listing


@dataclass(frozen=True, slots=True)
class Chunk:
    """A chunk to send. `session` is the upload that it belongs to; None opens a new one, if none is open.
    `whole` is the SHA-256 of the whole file, to declare it."""

    extent: Extent
    total_size: int
    payload: bytes
    sha256: bytes
    content_type: str
    session: str | None
    whole: bytes | None
    labels: Mapping[str, str]

    def headers(self) -> dict[str, str]:
        pin = {"If-Match": f'"{self.session}"'} if self.session else {"If-None-Match": "*"}
        declared = {"Repr-Digest": digest_field(self.whole)} if self.whole else {}
        return {
            "Content-Type": self.content_type,
            "Content-Range": content_range(self.extent, self.total_size),
            "Content-Digest": digest_field(self.sha256),
            **({} if self.session else self._labels()),
            **pin,
            **declared,
        }

    def _labels(self) -> dict[str, str]:
        """Only the chunk that opens the upload tells them."""
        return {"Hiper-Label": join_labels(self.labels)} if self.labels else {}


class _FileStatus:
    """The state of a file. A newer state replaces an older one: none is kept for a reader that was away."""

    rest = 0.0

    def __init__(self, file: RemoteFile) -> None:
        self._file = file
        self._seen: Status | None = None

    @property
    def is_present(self) -> bool:
        return self._seen is not None

    def request(self) -> Request:
        after = {"after": self._seen.version} if self._seen and self._seen.version else {}
        return Request("GET", f"{self._file.path}/status", {**self._file.query, **after})

    def take_event(self, event: ServerEvent) -> Sequence[Status]:
        return self._take(event.data)

    def take_answer(self, answer: Answer) -> Sequence[Status]:
        return self._take(answer.body)

    def _take(self, document: str | bytes) -> Sequence[Status]:
        """Nothing where it is the state that was seen last."""
        before, self._seen = self._seen, Status.model_validate_json(document)
        return [] if self._seen == before else [self._seen]


class Files:
    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    async def send(self, file: RemoteFile, chunk: Chunk) -> ChunkAnswer:
        """One attempt. Raises PreconditionError if another upload (or a file) has that name."""
        query = {"filename": file.filename, "total_size": str(chunk.total_size), **file.query}
        request = Request("POST", "/upload", query, chunk.headers(), chunk.payload, CHUNK_TIMEOUT)
        return self._transport.parse(ChunkAnswer, await self._transport.once(request))

    async def status(self, file: RemoteFile, patience: Patience) -> Status:
        """Raises NotFoundError and RejectedError."""
        request = Request("GET", f"{file.path}/status", file.query)
        return self._transport.parse(Status, await self._transport.call(request, patience))

    def changes(self, file: RemoteFile, patience: Patience) -> AsyncGenerator[Status, None]:
        """The state of a file now, and each later one, for ever. Raises NotFoundError and RejectedError."""
        return Follower(self._transport, _FileStatus(file), patience).run()

    def last_changes(self, file: RemoteFile, patience: Patience) -> AsyncGenerator[Status, None]:
        """The same of a file that is about to be complete: most are within a fraction of a second."""
        return Follower(self._transport, _FileStatus(file), patience, streams=False, soon=SOON).run()

    async def head(self, file: RemoteFile, patience: Patience) -> RemoteHead:
        """Of a complete file."""
        answer = await self._transport.call(Request("HEAD", file.path, file.query), patience)
        return RemoteHead(
            size=int(answer.headers.get("Content-Length", 0)),
            etag=answer.headers.get("ETag", ""),
            sha256=parse_digest_field(answer.headers.get("Repr-Digest", "")),
        )

    async def delete(self, file: RemoteFile, patience: Patience) -> None:
        """Delete what is there now, and nothing that comes later. Raises NotFoundError and RejectedError (a rejected
        upload is gone already)."""
        await self.end(file, (await self.status(file, patience)).session, patience)

    async def end(self, file: RemoteFile, session: str | None, patience: Patience) -> None:
        """The same for the upload or the file of one session, or for a partial file (None). Raises PreconditionError if
        the name has another one."""
        backoff = patience.backoff()
        pin = {"If-Match": f'"{session}"'} if session else {}
        lost = False  # an attempt whose answer never came: it may have deleted the file
        while True:
            try:
                await self._transport.once(Request("DELETE", file.path, file.query, pin))
            except (NotFoundError, PreconditionError):
                if not lost:
                    raise
            except HiperError as error:
                await backoff.pause(error)
                lost = lost or isinstance(error, (ServerAwayError, GatewayError))
                continue
            return

    async def pages(self, query: dict[str, str], patience: Patience) -> AsyncIterator[FileEntry]:
        """Every entry of a listing, page after page."""
        cursor: str | None = ""
        while cursor is not None:
            after = {"after": cursor} if cursor else {}
            request = Request("GET", "/files", {**query, "limit": str(PAGE), **after})
            page = self._transport.parse(FilePage, await self._transport.call(request, patience))
            for entry in page.files:
                yield entry
            cursor = page.next
