"""The client: one connection pool, one token, and a method for everything that the server can do."""

import asyncio
import mimetypes
import ssl
import unicodedata
from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Mapping
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Literal, Self

import aiohttp
from yarl import URL

from libs.client.address import check_server, host_field
from libs.client.devices import Devices
from libs.client.downloads import Demands, Downloader
from libs.client.errors import HiperError
from libs.client.feed import Feed, Outcomes, feed_query
from libs.client.files import Files
from libs.client.fleet import Fleet
from libs.client.models import DownloadResult, FileEntry, State, Status, UploadResult
from libs.client.names import RemoteFile
from libs.client.opening import Uploadable
from libs.client.pacing import Ceiling, Pacing
from libs.client.ratelimit import RateLimit
from libs.client.replacing import Order, Sender
from libs.client.retry import Notify, Patience
from libs.client.sinks import FileSink
from libs.client.targets import already_there, open_sink
from libs.client.tokens import ClientCredentials, TokenProvider
from libs.client.transport import Transport
from libs.client.upload import Progress

CHUNK_SIZE = 8 * 2**20  # bytes: one part of most files
JOBS = 4  # chunks in flight at the same time
TRANSFER_PATIENCE = 900.0  # seconds without progress before a transfer gives up
CALL_PATIENCE = 30.0  # seconds that a small request goes on trying


class HiperClient:
    """Uploads to and downloads from one server::

        async with HiperClient("https://files.example", "car-7", secret) as client:
            await client.upload("drive.mcap")

    Every method raises HiperError (libs/client/errors.py) and, for local files, OSError. A cancelled or broken
    transfer is taken up again by the same call, from where it was. `retry_for`: seconds without any progress
    after which a transfer gives up; `on_retry` is told what failed and how long the client waits. `tls`: whom to trust,
    and the certificate to show (`libs.client.identity`). `proxy`: the HTTP proxy on the way (`libs.client.proxies`).
    `limit_rate`: bytes per second of all transfers together.
    """

    def __init__(
        self,
        server: str,
        device_id: str = "",
        client_secret: str = "",
        *,
        tokens: TokenProvider | None = None,
        retry_for: float = TRANSFER_PATIENCE,
        on_retry: Notify | None = None,
        tls: ssl.SSLContext | None = None,
        proxy: URL | None = None,
        limit_rate: float | None = None,
    ) -> None:
        self._tls = tls
        self._proxy = proxy
        self._limit = RateLimit(limit_rate)
        self.server = check_server(server)
        self._login = (device_id, client_secret)
        self.tokens = tokens
        self._retry_for = retry_for
        self._on_retry = on_retry
        self._ceiling = Ceiling()

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(ssl=self._tls or True),
            cookie_jar=aiohttp.DummyCookieJar(),
            proxy=self._proxy,
            headers=host_field(self.server),
        )
        self.tokens = self.tokens or ClientCredentials(self._session, self.server, *self._login)
        self._transport = Transport(self._session, self.server, self.tokens, self._limit)
        self._files = Files(self._transport)
        self._feed = Feed(self._transport)
        self.fleet = Fleet(self._transport, self._patience)
        self.devices = Devices(self._transport, min(CALL_PATIENCE, self._retry_for))
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._session.close()

    async def verify(self) -> None:
        """Check that the server is there and accepts the id and secret."""
        assert self.tokens is not None  # noqa: S101  # set by __aenter__
        await self.tokens.token()

    async def upload(
        self,
        source: Uploadable,
        filename: str | None = None,
        *,
        owner: str | None = None,
        size: int | None = None,
        replace: bool = False,
        chunk_size: int = CHUNK_SIZE,
        jobs: int = JOBS,
        slots: asyncio.Semaphore | None = None,
        content_type: str | None = None,
        labels: Mapping[str, str] | None = None,
        progress: Progress | None = None,
        wait: bool = True,
    ) -> UploadResult:
        """Upload a file (`filename` is the path's last segment unless given), a stream with a descriptor, or bytes; or
        go on with it.

        Sends only what the server lacks; nothing if an equal file is there. Other content that the server has under
        the name is thrown away with replace=True, and an error otherwise. Pipes are read to their end first; `size` in
        bytes is what the source must have. `chunk_size` in bytes is the most that one request holds; `jobs` of them are
        in memory and on their way at once, or as many as `slots` of several uploads allow. `progress` is called with
        the bytes durable on the server and the total. `labels` count where this call begins the upload. Returns when
        the file is complete, or with wait=False when all its bytes are durable. A file that changed is begun anew, if
        it still has all bytes that the server has. Raises SizeConflictError, NameTakenError, ContentConflictError,
        RejectedError, SourceChangedError.
        """
        name = filename if filename is not None else _name_of(source)
        kind = content_type or mimetypes.guess_type(name)[0] or "application/octet-stream"
        pacing = Pacing(min(chunk_size, self._limit.comfortable(jobs)), self._ceiling)
        order = Order(
            RemoteFile.of(name, owner), source, kind, self._patience(), pacing, jobs, slots or asyncio.Semaphore(jobs),
            progress or _ignore, labels or {}, size, replace, wait,
        )  # fmt: skip
        return await Sender(self._files, order).run()

    async def download(
        self,
        filename: str,
        dest: Path | str | BinaryIO,
        *,
        owner: str | None = None,
        progress: Progress | None = None,
        replace: bool = True,
        replace_unverified: bool = False,
        require_digest: bool = False,
    ) -> DownloadResult:
        """Download a complete file to a path, or into a binary stream.

        A path gets the file at the end and whole; until then the bytes are in `{dest}.part`, which the next call takes
        up, and which belongs to one process at a time. A file that is there is replaced unless replace=False; with a
        file that the server knows no digest of only with replace_unverified=True. Nothing is fetched if it is equal.
        Named pipes and character devices are written into. `progress` is called with the bytes that are here and the
        total. Raises NotFoundError, IncompleteError, ChecksumError, TargetExistsError, UnverifiableError.
        """
        file, patience = RemoteFile.of(filename, owner), self._patience()
        sink = await open_sink(dest, replace=replace)
        path = Path(dest) if isinstance(sink, FileSink) else None  # type: ignore[arg-type]  # no stream then
        try:
            if isinstance(sink, FileSink) and (there := await already_there(self._files, file, sink, patience)):
                (progress or _ignore)(there.size, there.size)
                return DownloadResult(filename, path, there.size, 0, there.sha256.hex(), True)
            task = Downloader(
                self._transport, self._files, file, sink, patience, progress or _ignore,
                Demands(require_digest, replace_unverified), self._limit,
            )  # fmt: skip
            sha256 = await task.run()
            verified = sink.version.sha256 is not None
            return DownloadResult(filename, path, sink.offset, task.received, sha256.hex(), verified)
        finally:
            await sink.close()

    async def status(self, filename: str, *, owner: str | None = None) -> Status:
        """How far a file is. Raises NotFoundError and RejectedError."""
        file = RemoteFile.of(filename, owner)
        return await self._files.status(file, self._patience(CALL_PATIENCE))

    def watch(self, filename: str, *, owner: str | None = None) -> AsyncGenerator[Status, None]:
        """How far a file is now, and after each change, as an asynchronous iterator without an end. Raises
        NotFoundError (also once the file is deleted) and RejectedError."""
        return self._files.changes(RemoteFile.of(filename, owner), self._patience())

    def outcomes(
        self,
        *,
        after: str | None = None,
        owner: str | None = None,
        kinds: Iterable[str] = (),
        follow: bool = False,
    ) -> Outcomes:
        """What became of files, in the order of the feed, as an asynchronous iterator: up to the present, or with
        follow=True without an end.

        It begins behind the outcome whose `cursor` is given as `after`; with "now", behind all that is known; else
        with the first one that is kept. No outcome is missed, whatever breaks; one may come twice, with the same `id`.
        `owner`, and some `kinds` (models.OutcomeKind), choose among them. Raises FeedExpiredError."""
        query = feed_query(after, owner, kinds)
        if follow:
            return self._feed.follow(query, self._patience())
        return self._feed.read(query, self._patience(CALL_PATIENCE))

    def list(
        self, *, owner: str | None = None, status: State | Literal["rejected"] | None = None, prefix: str = ""
    ) -> AsyncIterator[FileEntry]:
        """Every file of an owner whose name begins with `prefix`, as an asynchronous iterator."""
        query = {"owner": owner, "status": status, "prefix": unicodedata.normalize("NFC", prefix)}
        return self._files.pages({k: v for k, v in query.items() if v}, self._patience(CALL_PATIENCE))

    async def delete(self, filename: str, *, owner: str | None = None) -> None:
        """Delete a file or cancel its upload: the one that is there now, none that comes later."""
        file = RemoteFile.of(filename, owner)
        await self._files.delete(file, self._patience(CALL_PATIENCE))

    def _patience(self, at_most: float = float("inf")) -> Patience:
        return Patience(min(at_most, self._retry_for), notify=self._on_retry)


def _name_of(source: Uploadable) -> str:
    if isinstance(source, (str, Path)):
        return Path(source).name
    raise HiperError("bytes and streams need a file name to be uploaded under")


def _ignore(_done: int, _total: int) -> None:
    pass
