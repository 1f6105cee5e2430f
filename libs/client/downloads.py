"""A download that goes on after a break, from the byte where it was, and never mixes two versions of a file."""

from dataclasses import dataclass, field

import aiohttp

from libs.client.errors import ChecksumError, GatewayError, HiperError, RangeError, ServerAwayError, UnverifiableError
from libs.client.files import Files
from libs.client.names import RemoteFile
from libs.client.ratelimit import RateLimit
from libs.client.retry import Patience
from libs.client.sinks import Sink
from libs.client.transport import Request, Transport
from libs.client.upload import Progress
from libs.client.versions import Version
from libs.client.wire import parse_content_range


@dataclass(frozen=True, slots=True)
class Demands:
    """When a file is not taken that the server knows no digest of: if one is required, and if the file would replace
    another, unless that was asked for."""

    require_digest: bool = False
    replace_unverified: bool = False

    def check(self, file: RemoteFile, version: Version, sink: Sink) -> None:
        """Before a byte is written. Raises UnverifiableError."""
        if version.sha256 is not None:
            return
        message = f"the server knows no digest of {file.filename!r}"
        if self.require_digest:
            raise UnverifiableError(message, "upload it with a digest (hiper upload does), or do not require one")
        if sink.replaces and not self.replace_unverified:
            raise UnverifiableError(
                f"{message}: it replaces no file unverified", "allow that with --unverified, or choose another place"
            )


@dataclass(slots=True)
class Downloader:
    transport: Transport
    files: Files
    file: RemoteFile
    sink: Sink
    patience: Patience
    report: Progress
    demands: Demands = field(default_factory=Demands)
    limit: RateLimit = field(default_factory=RateLimit)
    received: int = 0  # bytes that this download fetched
    _furthest: int = 0  # where attempts before this one came to, with this version

    async def run(self) -> bytes:
        """Returns the SHA-256 of what was written. Raises ChecksumError if the server declares another."""
        backoff = self.patience.backoff()
        self._furthest = self.sink.offset
        while True:
            try:
                await self._attempt()
                break
            except HiperError as error:
                if self.sink.offset > self._furthest:
                    self._furthest = self.sink.offset
                    backoff.reset()
                await backoff.pause(error)
        digest = await self.sink.sha256()
        if self.sink.version.sha256 not in {None, digest}:
            hint = await self.sink.discard()
            raise ChecksumError(f"the bytes of {self.file.filename!r} are not those that the server declares", hint)
        await self.sink.finish()
        return digest

    async def _attempt(self) -> None:
        try:
            async with self.transport.exchange(self._request()) as response:
                skip = await self._begin(response)
                await self._receive(response, skip)
        except RangeError:
            await self._past_the_end()

    def _request(self) -> Request:
        sink, resume = self.sink, {}
        if sink.offset and sink.version.is_recognizable:
            resume = {"Range": f"bytes={sink.offset}-"}
            if sink.version.etag:
                resume["If-Range"] = sink.version.etag
        return Request("GET", self.file.path, self.file.query, resume, timeout=None)

    async def _begin(self, response: aiohttp.ClientResponse) -> int:
        """See which bytes of which version come: the sink is ready for them when so many were skipped."""
        if response.headers.get("Content-Encoding", "identity") != "identity":
            raise self._not_ours(response, "the file in a coding that was not asked for")
        if response.status == 206:
            await self._continue(response)
            self.demands.check(self.file, self.sink.version, self.sink)
            return 0
        if response.status != 200:
            raise self._not_ours(response, "the file with a status that does not fit")
        seen = Version.of(response.headers, response.content_length)
        if seen.contradicts(self.sink.version):
            raise self._not_ours(response, "another size or digest of the same version")
        if seen.size is None and seen.sha256 is None:
            raise self._not_ours(response, "a file without a size or a digest")
        if seen.is_same(self.sink.version):  # something on the way ignores ranges
            self.sink.version = seen.merged(self.sink.version)
            self.demands.check(self.file, self.sink.version, self.sink)
            return self.sink.offset
        self.demands.check(self.file, seen, self.sink)
        self._furthest = 0
        await self.sink.begin(seen)
        return 0

    async def _continue(self, response: aiohttp.ClientResponse) -> None:
        """The answer goes on where the sink is, with the same version."""
        known = self.sink.version
        place = parse_content_range(response.headers.get("Content-Range", ""))
        asked = self.sink.offset and known.is_recognizable
        if place is None or place[0].start != self.sink.offset or not asked:
            raise self._not_ours(response, "another range than asked for")
        seen = Version.of(response.headers, place[1])
        pinned = bool(known.etag) and not seen.is_recognizable and known.size in {None, seen.size}  # by If-Range
        if pinned or seen.is_same(known):
            self.sink.version = known.merged(seen)
        elif known.etag:
            raise self._not_ours(response, "a range of another version than asked for")
        else:
            await self._begin_anew()

    async def _receive(self, response: aiohttp.ClientResponse, skip: int) -> None:
        sink, size = self.sink, self.sink.version.size
        async for block in response.content.iter_chunked(self.limit.block):
            await self.limit.spend(len(block))
            self.received += len(block)
            skipped, skip = min(skip, len(block)), max(0, skip - len(block))
            if size is not None and sink.offset + len(block) - skipped > size:
                raise self._not_ours(response, "more bytes than the file has")
            if skipped < len(block):
                await sink.write(block[skipped:])
            if sink.offset > self._furthest:
                self.patience.progress()
            self.report(sink.offset, sink.offset if size is None else size)
        if size is not None and sink.offset < size:
            raise ServerAwayError("the server", f"it sent {sink.offset} of {size} bytes")

    async def _past_the_end(self) -> None:
        """Nothing follows what the sink has: it is complete, or of a version that is gone."""
        head = Version.of_head(await self.files.head(self.file, self.patience))
        if not head.is_same(self.sink.version) or head.size != self.sink.offset:
            await self._begin_anew()
        self.sink.version = head.merged(self.sink.version)
        self.demands.check(self.file, self.sink.version, self.sink)

    async def _begin_anew(self) -> None:
        await self.sink.begin(Version())
        raise ServerAwayError("the server", "the file changed during the download")

    def _not_ours(self, response: aiohttp.ClientResponse, what: str) -> GatewayError:
        error = GatewayError(
            f"a gateway answered with {what} instead of {response.url.origin()}",
            "look at the proxy on the way",
            status=response.status,
        )
        error.retry = "few"
        return error
