"""Which stored objects hold which bytes of an upload."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Iterator, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import NamedTuple

from libs.common.files.extents import Extent, Extents
from libs.common.storage import (
    Buckets,
    ObjectInfo,
    ObjectNotFound,
    ObjectStore,
    Origin,
    PartInfo,
    StoreUnavailable,
    Stream,
    UploadNotFound,
)
from libs.common.uploads.layout import ChunkKey, FileId, chunks_prefix, file_key, parse_chunk_key, part_prefix
from libs.common.uploads.ours import ours, walk_ours
from libs.common.uploads.record import Record

AT_ONCE = 8  # small pieces that are fetched at once
AHEAD = 2**20  # bytes of them, and so what a reader holds in memory


@dataclass(frozen=True, slots=True)
class Source:
    """A durable object and the bytes of the file that it holds. `digest`: the first 16 hex digits of its SHA-256, from
    its key; empty for a run."""

    extent: Extent
    store: ObjectStore
    key: str
    modified: float
    digest: str = ""


class Piece(NamedTuple):
    """Bytes of the file to be read from one source."""

    extent: Extent
    source: Source


class Stock(NamedTuple):
    """What is durable of an open upload; the objects that were listed to know it; and when the newest of it came, in
    seconds since the epoch by the store's clock (0 where nothing did)."""

    durable: Extents
    sources: list[Source]
    newest: float


async def take_stock(buckets: Buckets, file: FileId, record: Record, *, every: bool = False) -> Stock:
    """Every byte of an open upload that is durable. It counts only if the record is still the same afterwards: parking
    and finishing delete what they replaced. `every`: list the chunks of assembled parts too."""
    prefix = chunks_prefix(file, record.session)
    page = await buckets.temp.list(prefix)
    sources = runs_of(buckets, record) + chunks_among(buckets.temp, ours(page.objects, parse_chunk_key))
    parts: dict[int, PartInfo] = {}
    if page.truncated:
        parts = {} if every else await assembled(buckets.perm, file, record)
        sources += [s async for s in _chunks_after(buckets.temp, prefix, page.objects[-1].key, parts)]
    durable = coverage(sources)
    for part in parts:
        durable.add(record.part_extent(part))
    times = [*(source.modified for source in sources), *(part.modified for part in parts.values())]
    return Stock(durable, sources, max(times, default=0.0))


async def assembled(perm: ObjectStore, file: FileId, record: Record) -> dict[int, PartInfo]:
    """The parts that the record's multipart upload holds, by number from 0; none where the store purged it."""
    if not record.assembly:
        return {}
    try:
        parts = await perm.list_parts(file_key(file), record.assembly)
    except UploadNotFound:
        return {}
    return {part.number - 1: part for part in parts}


async def _chunks_after(
    temp: ObjectStore, prefix: str, after: str, parts: dict[int, PartInfo]
) -> AsyncIterator[Source]:
    """The chunks behind a key in ascending order, but those in assembled parts, which are jumped over."""
    while True:
        async for key, info in walk_ours(temp, prefix, parse_chunk_key, after):
            part = key.part
            if part in parts:
                while part in parts:
                    part += 1
                after = f"{prefix}{part:05d}/"
                break
            for source in chunks_among(temp, [(key, info)]):
                yield source
        else:
            return


async def chunks_of_part(temp: ObjectStore, file: FileId, session: str, part: int, behind: int = 0) -> list[Source]:
    """The chunks that lie in one part; those alone that begin at byte `behind` or later."""
    prefix = part_prefix(file, session, part)
    found = walk_ours(temp, prefix, parse_chunk_key, start_after=f"{prefix}{behind:016d}")
    return chunks_among(temp, [each async for each in found])


def chunks_among(temp: ObjectStore, found: Iterable[tuple[ChunkKey, ObjectInfo]]) -> list[Source]:
    """Those objects that hold as many bytes as their keys say. Some stores keep the bytes of a sender that died on the
    way: such an object counts for nothing, until the device sends the chunk again and replaces it."""
    return [
        Source(key.extent, temp, info.key, info.modified, key.digest)
        for key, info in found
        if info.size == key.extent.length
    ]


def runs_of(buckets: Buckets, record: Record) -> list[Source]:
    """The runs that the record names."""
    return [Source(extent, buckets.perm, key, 0.0) for key, extent in record.run_extents.items()]


def coverage(sources: Iterable[Source]) -> Extents:
    return Extents(source.extent for source in sources)


def full_parts(record: Record, covered: Extents, parts: Iterable[int]) -> list[int]:
    """Those of the parts of which every byte is covered. While the length is unknown only whole parts are full."""
    known = record.total_size is None
    return [p for p in parts if (known or p < record.part_count) and covered.covers(record.part_extent(p))]


def plan(sources: Iterable[Source], wanted: Extent) -> list[Piece]:
    """From where to read those bytes of an extent that are there, in order. Where several sources hold a byte, a run
    counts first, then the source that begins first: `contradicting` finds those that differ."""
    overlapping = (source for source in sources if source.extent.overlaps(wanted))
    ranked = sorted(overlapping, key=lambda source: (bool(source.digest), source.key))
    seen, pieces = Extents(), []
    for source in ranked:
        common = source.extent.intersection(wanted)
        pieces += [Piece(gap, source) for gap in seen.missing(common)]
        seen.add(common)
    return sorted(pieces, key=lambda piece: piece.extent)


def planned(sources: Iterable[Source], wanted: Extent) -> list[Piece]:
    """As `plan`. Raises ObjectNotFound where the bytes are not all there."""
    pieces = plan(sources, wanted)
    if sum(piece.extent.length for piece in pieces) < wanted.length:
        raise ObjectNotFound(f"bytes {wanted.start} to {wanted.end}")
    return pieces


async def contradicting(sources: Iterable[Source]) -> list[Source]:
    """The sources that hold a byte otherwise than another source does. Reads only what overlaps."""
    found: list[Source] = []
    before: list[Source] = []  # those that reach into the next one
    for source in sorted(sources, key=lambda source: source.extent):
        before = [other for other in before if other.extent.end > source.extent.start]
        for other in before:
            if source.extent == other.extent and source.digest and source.digest == other.digest:
                continue
            common = source.extent.intersection(other.extent)
            if common.length and await _read(Piece(common, source)) != await _read(Piece(common, other)):
                found += [each for each in (other, source) if each not in found]
        before.append(source)
    return found


async def read_pieces(pieces: Iterable[Piece]) -> AsyncGenerator[bytes, None]:
    """Stream the bytes of a plan; small pieces are fetched several at once, for most of the time is spent waiting for
    the store. Raises ObjectNotFound when another process was faster."""
    for batch in _batches(pieces):
        if len(batch) > 1:
            for found in await asyncio.gather(*map(_read, batch), return_exceptions=True):
                if isinstance(found, BaseException):
                    raise found
                yield found
            continue
        async with _opened(batch[0]) as blocks:
            async for block in _whole(batch[0], blocks):
                yield block


def body(sources: Sequence[Source], extent: Extent) -> Stream | Origin:
    """The bytes of an extent: a copy that the store makes where one object is just that, else a stream. Raises
    ObjectNotFound when they are not all there."""
    pieces = planned(sources, extent)
    if [piece.source.extent for piece in pieces] == [extent]:
        return pieces[0].source.store.origin(pieces[0].source.key, extent.length)
    return Stream(extent.length, lambda: read_pieces(pieces))


def stream(sources: Sequence[Source], extent: Extent) -> Stream:
    """The bytes of an extent. Raises ObjectNotFound when they are not all there."""
    pieces = planned(sources, extent)
    return Stream(extent.length, lambda: read_pieces(pieces))


async def _whole(piece: Piece, blocks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """The blocks of a piece. Raises StoreUnavailable where the store sends too few bytes without saying so."""
    left = piece.extent.length
    async for block in blocks:
        left -= len(block)
        yield block
    if left:
        raise StoreUnavailable(f"{piece.source.key}: {left} bytes are missing from the answer")


def _batches(pieces: Iterable[Piece]) -> Iterator[list[Piece]]:
    """The pieces in order, some together: at most AT_ONCE of them, and AHEAD bytes unless it is one alone."""
    batch, size = list[Piece](), 0
    for piece in pieces:
        if batch and (len(batch) == AT_ONCE or size + piece.extent.length > AHEAD):
            yield batch
            batch, size = [], 0
        batch.append(piece)
        size += piece.extent.length
    if batch:
        yield batch


async def _read(piece: Piece) -> bytes:
    async with _opened(piece) as blocks:
        return b"".join([block async for block in _whole(piece, blocks)])


def _opened(piece: Piece) -> AbstractAsyncContextManager[AsyncIterator[bytes]]:
    extent, source = piece
    start = extent.start - source.extent.start
    return source.store.get(source.key, start, start + extent.length)
