"""Writing a run of bytes from the objects that hold it into one object, streamed."""

import hashlib
from collections.abc import Awaitable, Callable, Mapping, Sequence

from libs.common.extents import Extent
from libs.common.gather import Piece, Source, plan, read_pieces
from libs.common.layout import part_size
from libs.common.store import Fence, ObjectNotFound, ObjectStore, Origin, Stream

NewFence = Callable[[], Awaitable[Fence]]


def body(sources: Sequence[Source], extent: Extent) -> Stream | Origin:
    """The bytes of an extent: a copy that the store makes where one object is just that, else a stream. Raises
    ObjectNotFound when they are not all there."""
    pieces = _pieces(sources, extent)
    if [piece.source.extent for piece in pieces] == [extent]:
        return pieces[0].source.store.origin(pieces[0].source.key, extent.length)
    return Stream(extent.length, lambda: read_pieces(pieces))


def stream(sources: Sequence[Source], extent: Extent) -> Stream:
    """The bytes of an extent. Raises ObjectNotFound when they are not all there."""
    pieces = _pieces(sources, extent)
    return Stream(extent.length, lambda: read_pieces(pieces))


def _pieces(sources: Sequence[Source], extent: Extent) -> list[Piece]:
    pieces = plan([source for source in sources if source.extent.overlaps(extent)], extent)
    if pieces is None:
        raise ObjectNotFound(f"bytes {extent.start} to {extent.end}")
    return pieces


async def write_run(
    perm: ObjectStore,
    key: str,
    sources: Sequence[Source],
    run: Extent,
    fence: NewFence,
    *,
    content_type: str = "application/octet-stream",
    metadata: Mapping[str, str] | None = None,
) -> None:
    """Write a run as one object. Its bytes go first, which may take longer than a fence lasts; the object appears only
    while its fence lasts, which is asked for at the last moment."""
    if not run.length:  # no part, and no multipart upload without one
        await perm.put(key, b"", fence=await fence(), content_type=content_type, metadata=metadata)
        return
    size = part_size(run.length)
    upload = await perm.create_multipart(key, part_size=size, content_type=content_type, metadata=metadata)
    try:
        starts = range(run.start, run.end, size)
        parts = [
            await perm.put_part(key, upload, n, body(sources, Extent(at, min(at + size, run.end))))
            for n, at in enumerate(starts, start=1)
        ]
        await perm.complete_multipart(key, upload, parts, fence=await fence())
    except BaseException:
        await perm.abort_multipart(key, upload)
        raise


async def sha256_of(sources: Sequence[Source], total_size: int) -> str:
    """The SHA-256 in hex of the whole file. Raises ObjectNotFound when its bytes are not all there."""
    digest, size = hashlib.sha256(), part_size(total_size)
    for start in range(0, total_size, size):
        async for block in stream(sources, Extent(start, min(start + size, total_size))).blocks():
            digest.update(block)
    return digest.hexdigest()
