"""A download that goes on after a break, from the byte where it was, and never mixes two versions of a file."""

from dataclasses import dataclass

import aiohttp

from libs.client.errors import ChecksumError, HiperError, RangeError, ServerAwayError
from libs.client.files import Files
from libs.client.names import RemoteFile
from libs.client.retry import Patience
from libs.client.sinks import Sink
from libs.client.transport import Request, Transport
from libs.client.window import Progress
from libs.client.wire import parse_content_range, parse_digest_field

BLOCK = 2**20  # bytes read from the connection at once, at most


@dataclass(slots=True)
class Downloader:
    transport: Transport
    files: Files
    file: RemoteFile
    sink: Sink
    patience: Patience
    report: Progress
    received: int = 0  # bytes that this download fetched
    _declared: bytes | None = None
    _furthest: int = 0  # where attempts before this one came to, with this version

    async def run(self) -> bytes | None:
        """Returns the digest that was verified, None if the server knows none."""
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
        if self._declared not in {None, self.sink.sha256()}:
            await self.sink.discard()
            raise ChecksumError(
                f"the bytes of {self.file.filename!r} are not those that the server declares",
                "nothing was kept; download it again",
            )
        await self.sink.finish()
        return self._declared

    async def _attempt(self) -> None:
        try:
            async with self.transport.exchange(self._request()) as response:
                await self._receive(response)
        except RangeError:
            await self._past_the_end()

    def _request(self) -> Request:
        sink = self.sink
        resume = {"Range": f"bytes={sink.offset}-", "If-Range": sink.etag} if sink.offset and sink.etag else {}
        return Request("GET", self.file.path, self.file.query, resume, timeout=None)

    async def _receive(self, response: aiohttp.ClientResponse) -> None:
        total = response.content_length
        if response.status == 206:
            place = parse_content_range(response.headers.get("Content-Range", ""))
            if place is None or place[0].start != self.sink.offset:
                raise HiperError("the server answered with another range than asked for")
            if response.headers.get("ETag", self.sink.etag) != self.sink.etag:
                raise HiperError("the server answered with a range of another version than asked for")
            total = place[1]
        else:
            etag = response.headers.get("ETag", "")
            etag = "" if etag.startswith("W/") else etag
            if etag != self.sink.etag:
                self._furthest = 0
            await self.sink.begin(etag)
        self._declared = parse_digest_field(response.headers.get("Repr-Digest", ""))
        async for block in response.content.iter_chunked(BLOCK):
            await self.sink.write(block)
            self.received += len(block)
            if self.sink.offset > self._furthest:
                self.patience.progress()
            self.report(self.sink.offset, self.sink.offset if total is None else total)
        if total is not None and self.sink.offset < total:
            raise ServerAwayError("the server", f"it sent {self.sink.offset} of {total} bytes")

    async def _past_the_end(self) -> None:
        """Nothing follows what the sink has: it is complete, or of a version that is gone."""
        head = await self.files.head(self.file, self.patience)
        if (head.etag, head.size) == (self.sink.etag, self.sink.offset):
            self._declared = head.sha256
            return
        await self.sink.begin("")
        raise ServerAwayError("the server", "the file changed during the download")
