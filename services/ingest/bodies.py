"""The body of a chunk: taken in and verified as a whole, or stored piece by piece where it has no checksum."""

from collections.abc import AsyncIterator

from fastapi import Request
from starlette.requests import ClientDisconnect

from libs.common.files.extents import Extent
from libs.common.problems import Kind, Problem
from libs.common.uploads.layout import part_size
from libs.common.uploads.writing import Ack
from libs.common.web.requests import Head
from services.ingest.gate import Visit
from services.ingest.receive import Inflow, Received, receive, timed, wrong_length
from services.ingest.state import Ingest
from services.ingest.streaming import Store, Streamer
from services.ingest.wire import HEADER, Claim, parse_content_range, parse_header, refuse_unreachable


class Body:
    """The body of one request. No byte of it is read before one of the methods is called."""

    def __init__(self, request: Request, head: Head, state: Ingest, visit: Visit) -> None:
        self._length = declared_length(head)
        self._blocks = _body(request)
        self._state = state
        self._visit = visit
        self._drain = request.app.state.drain

    async def framed(self, total_size: int, sent: dict[str, bytes], store: Store) -> Ack:
        """The 9-byte header and the payload."""
        refuse_unreachable(total_size)
        if self._length is not None:
            self._refuse_large(self._length - HEADER.size)
        await self._visit.take_bytes(self._length or 0)
        inflow = Inflow(timed(self._blocks, self._state.deadline, self._drain))
        header = b"".join([block async for block in inflow.upto(HEADER.size)])
        claim = header_claim(header, total_size)
        self._refuse_large(claim.extent.length)
        if self._length is None:
            await self._visit.take_bytes(claim.extent.length)
        return await self._verified(inflow.rest(), claim, header, sent, store)

    async def raw(self, claim: Claim, sent: dict[str, bytes], store: Store) -> Ack:
        """The payload alone, with a digest: nothing is stored before it is verified."""
        self._refuse_large(claim.extent.length)
        await self._visit.take_bytes(claim.extent.length)
        return await self._verified(timed(self._blocks, self._state.deadline, self._drain), claim, b"", sent, store)

    async def stream(self, extent: Extent, store: Store) -> Ack:
        """The payload alone, of any length. Each piece is stored while the next one comes."""
        self._refuse_length(extent, 0)
        streamer = Streamer(self._state.budget, self._state.deadline, self._drain)
        return await streamer.take(
            Inflow(self._blocks), extent, self._visit.take_bytes, self._visit.wait_for_bytes, store
        )

    async def _verified(
        self, blocks: AsyncIterator[bytes], claim: Claim, header: bytes, sent: dict[str, bytes], store: Store
    ) -> Ack:
        self._refuse_length(claim.extent, len(header))
        size = part_size(claim.total_size)
        async with receive(blocks, claim.extent, size, sent, header, self._state.budget) as received:
            verify(received, claim, sent)
            return await store(received, None)

    def _refuse_length(self, extent: Extent, before: int) -> None:
        if self._length is not None and self._length != before + extent.length:
            raise wrong_length(extent, str(self._length - before))

    def _refuse_large(self, payload: int) -> None:
        limit = self._state.settings.max_chunk_size
        if payload > limit:
            detail = f"A chunk of {payload} bytes; this server takes at most {limit}. Send smaller ones."
            raise Problem(Kind.TOO_LARGE, detail, limited="chunk", limit=limit)


def declared_length(head: Head) -> int | None:
    """Content-Length in bytes, where the client gave one: the server refuses what is not a number."""
    length = head.field("content-length")
    return None if length is None else int(length)


def header_claim(header: bytes, total_size: int) -> Claim:
    if not header and total_size == 0:
        return parse_content_range("bytes */0", 0)
    if len(header) < HEADER.size:
        raise Problem(
            Kind.MALFORMED_CHUNK, f"The body has {len(header)} bytes; it must begin with a header of {HEADER.size}."
        )
    return parse_header(header, total_size)


async def _body(request: Request) -> AsyncIterator[bytes]:
    try:
        async for block in request.stream():
            yield block
    except ClientDisconnect:
        raise Problem(Kind.TIMEOUT, "The client went away before the body was whole.") from None


def verify(received: Received, claim: Claim, sent: dict[str, bytes]) -> None:
    """Raises CHECKSUM_MISMATCH and DIGEST_MISMATCH."""
    if claim.checksum is not None and claim.checksum != received.checksum:
        raise Problem(
            Kind.CHECKSUM_MISMATCH,
            f"The header says {claim.checksum}, the byte sum of the payload mod 256 is {received.checksum}. Nothing "
            "is stored: send the chunk again.",
        )
    for algorithm, digest in sent.items():
        if received.content_digests[algorithm] != digest:
            raise Problem(
                Kind.DIGEST_MISMATCH,
                f"Content-Digest does not match the {algorithm} of the body. Nothing is stored: send the chunk again.",
            )
