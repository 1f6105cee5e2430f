"""Whether bytes that come again are the bytes that are there."""

from collections.abc import AsyncIterator, Mapping, Sequence

from libs.common.files.extents import Extent
from libs.common.problems import Kind, Problem
from libs.common.storage import ObjectInfo, ObjectStore
from libs.common.uploads.payload import Payload
from libs.common.uploads.stock import Piece, Source, plan, read_pieces


async def refuse_difference(payload: Payload, sources: Sequence[Source], known: Mapping[Extent, str]) -> None:
    """Compare the payload with what the sources hold of it. Raises CONTENT_CONFLICT where they differ, and
    ObjectNotFound when a source is gone.

    `known`: SHA-256 digests in hex of extents of the payload; an object of such an extent and digest is not read.
    """
    for piece in plan(sources, payload.extent):
        if not await _same(payload, piece, known):
            raise conflict(piece.extent)


async def refuse_difference_from_file(perm: ObjectStore, file: ObjectInfo, payload: Payload) -> None:
    """Compare a payload with a complete file. Raises CONTENT_CONFLICT; ObjectNotFound if it was just deleted, or
    replaced."""
    start, end = payload.extent
    async with perm.get(file.key, start, end, etag=file.etag) as blocks:
        if not await _same_bytes(payload, payload.extent, blocks):
            raise conflict(payload.extent)


def conflict(extent: Extent) -> Problem:
    return Problem(
        Kind.CONTENT_CONFLICT,
        f"Bytes {extent.start} to {extent.end - 1} differ from those acknowledged before, which stay as they are. "
        "To send another content under this name, DELETE /files/{filename} first.",
        start=extent.start,
        end=extent.end - 1,
    )


async def _same(payload: Payload, piece: Piece, known: Mapping[Extent, str]) -> bool:
    digest = known.get(piece.source.extent, "")
    if digest and digest[:16] == piece.source.digest:
        return True
    return await _same_bytes(payload, piece.extent, read_pieces([piece]))


async def _same_bytes(payload: Payload, extent: Extent, stored: AsyncIterator[bytes]) -> bool:
    """Whether the stored blocks are the payload's bytes of the extent, all of them."""
    at = extent.start
    async for block in stored:
        if at + len(block) > extent.end or await payload.read(Extent(at, at + len(block))) != block:
            return False
        at += len(block)
    return at == extent.end
