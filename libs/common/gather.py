"""Which stored objects hold which bytes of an upload: derived by listing, every time."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Collection, Iterable, Iterator, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import NamedTuple

from libs.common.extents import Extent, Extents
from libs.common.layout import (
    ChunkKey,
    FileId,
    RunKey,
    chunks_prefix,
    digests_prefix,
    fact_key,
    file_key,
    parse_chunk_key,
    parse_digest_key,
    parse_run_key,
    part_count,
    part_extent,
    part_prefix,
    partials_prefix,
    rejected_prefix,
    total_size_of,
)
from libs.common.look import Look
from libs.common.names import type_of
from libs.common.ours import ours, walk_ours
from libs.common.store import (
    Buckets,
    ObjectInfo,
    ObjectNotFound,
    ObjectStore,
    PartInfo,
    StoreUnavailable,
    UploadNotFound,
    list_all,
)

AT_ONCE = 8  # small pieces that are fetched at once
AHEAD = 2**20  # bytes of them, and so what a reader holds in memory


@dataclass(frozen=True, slots=True)
class Source:
    """A durable object and the bytes of the file that it holds. `digest` is that of its key, empty for a partial.
    `etag`: of an object that another may replace under its key, the one that is meant."""

    extent: Extent
    store: ObjectStore
    key: str
    modified: float
    session: str
    digest: str = ""
    etag: str = ""

    @property
    def is_partial(self) -> bool:
        return not self.digest


class Piece(NamedTuple):
    """Bytes of the file to be read from one source."""

    extent: Extent
    source: Source


class Stock(NamedTuple):
    """What is durable of an open upload, the sources that were listed to know it, and when the newest of it came, in
    seconds since the epoch by the store's clock."""

    durable: Extents
    sources: list[Source]
    newest: float


class Assembly(NamedTuple):
    """A recorded multipart upload and the parts in it, by part number from 0."""

    upload_id: str
    parts: dict[int, PartInfo]


def counting_upload(look: Look) -> str:
    """The multipart upload that counts, which is the smallest recorded id; empty where none is recorded."""
    return min((upload for session in look.open for upload in session.assemblies), default="")


async def find_assembly(perm: ObjectStore, look: Look) -> Assembly | None:
    """The multipart upload that counts. None where there is none or the store purged it."""
    upload_id = counting_upload(look)
    if not upload_id:
        return None
    try:
        parts = await perm.list_parts(file_key(look.file), upload_id)
    except UploadNotFound:
        return None
    return Assembly(upload_id, {part.number - 1: part for part in parts})


async def chunks_of_part(temp: ObjectStore, file: FileId, sessions: Iterable[str], part: int) -> list[Source]:
    """The chunk objects that lie in one part."""
    found: list[Source] = []
    for session in sessions:
        found += [_chunk(temp, *at) async for at in walk_ours(temp, part_prefix(file, session, part), parse_chunk_key)]
    return found


async def chunks_outside(
    temp: ObjectStore, file: FileId, session: str, assembled: Collection[int]
) -> AsyncIterator[Source]:
    """The chunk objects of a session in ascending order, but those in assembled parts, which are jumped over."""
    prefix, part = chunks_prefix(file, session), 0
    while True:
        while part in assembled:
            part += 1
        async for key, info in walk_ours(temp, prefix, parse_chunk_key, f"{prefix}{part:05d}/"):
            if key.part in assembled:
                part = key.part
                break
            yield _chunk(temp, key, info)
        else:
            return


async def partial_runs(perm: ObjectStore, file: FileId, total_size: int | None = None) -> list[Source]:
    """The runs of the partial file, all or those of an upload of `total_size` bytes."""
    found = [_run(perm, *at) async for at in walk_ours(perm, partials_prefix(file), parse_run_key)]
    return [run for run in found if total_size is None or total_size_of(run.session) == total_size]


async def runs_below(perm: ObjectStore, look: Look) -> list[Source]:
    """The runs of the partial file that the open upload stands on."""
    if look.open and look.plain:
        return []
    return await partial_runs(perm, look.file, look.open[0].total_size if look.open else None)


async def media_type(temp: ObjectStore, look: Look) -> str:
    """The media type that was named when the upload was opened. Raises ObjectNotFound when it ends at this moment."""
    if look.plain:
        return type_of(look.file.filename)
    return (await temp.stat(fact_key(look.file, look.open[0].id, "open"))).content_type


async def rejected_runs(perm: ObjectStore, file: FileId) -> list[Source]:
    """What is kept of uploads whose declared digest did not match."""
    return [_run(perm, *at) async for at in walk_ours(perm, rejected_prefix(file), parse_run_key)]


async def gather(buckets: Buckets, look: Look, assembled: Collection[int] = ()) -> list[Source]:
    """Every source of the open sessions and of the partial file, but chunks in assembled parts.

    Chunks are listed before partials: a closing writes those before it deletes these.
    """
    sources = [
        source
        for session in look.open
        async for source in chunks_outside(buckets.temp, look.file, session.id, assembled)
    ]
    return await runs_below(buckets.perm, look) + sources


async def take_stock(buckets: Buckets, look: Look) -> Stock:
    """Every byte of the open upload that is durable and stays. Chunks in assembled parts are not listed."""
    assembly = None if look.closing else await find_assembly(buckets.perm, look)
    parts = assembly.parts if assembly else {}
    sources = [s for s in await gather(buckets, look, parts) if s.is_partial or s.modified <= look.kept_until]
    durable = coverage(sources)
    for part in parts:
        durable.add(part_extent(look.open[0].total_size, part))
    times = [look.open[0].facts["open"].modified, *(s.modified for s in sources), *(p.modified for p in parts.values())]
    return Stock(durable, sources, max(times))


async def complete_file(perm: ObjectStore, file: FileId) -> ObjectInfo | None:
    """The file's object in permanent storage, if it is complete."""
    try:
        return await perm.stat(file_key(file))
    except ObjectNotFound:
        return None


async def checked_digest(perm: ObjectStore, file: FileId, session: str) -> str:
    """The SHA-256 in hex that was declared for a complete file and found right; empty where none was declared."""
    page = await perm.list(digests_prefix(file, session))
    return next((digest for digest, _ in ours(page.objects, parse_digest_key)), "")


async def partial_keys(perm: ObjectStore, file: FileId) -> list[str]:
    """The keys of the partial file, which a complete file replaces."""
    return [info.key for info in await list_all(perm, partials_prefix(file))]


async def void_digests(perm: ObjectStore, file: FileId, done: ObjectInfo | None) -> list[str]:
    """The keys of digests that were checked for sessions which did not make the file after all."""
    mine = digests_prefix(file, done.metadata.get("session", "")) if done else None
    return [i.key for i in await list_all(perm, digests_prefix(file)) if not (mine and i.key.startswith(mine))]


def coverage(sources: Iterable[Source]) -> Extents:
    return Extents(source.extent for source in sources)


def plan(sources: Sequence[Source], wanted: Extent) -> list[Piece] | None:
    """From where to read the bytes of an extent, in order; None if some are not there.

    Where two sources hold the same bytes they agree, unless a device contradicted itself: then the first counts, for
    it alone can have been acknowledged. Bytes of the partial file are older than those of any open session.
    """
    ranked = sorted(sources, key=lambda s: (not s.is_partial, s.modified, s.key))
    seen, pieces = Extents(), []
    for source in ranked:
        common = source.extent.intersection(wanted)
        pieces += [Piece(gap, source) for gap in seen.missing(common)]
        seen.add(common)
    return sorted(pieces) if seen.covers(wanted) else None


async def read_pieces(pieces: Iterable[Piece]) -> AsyncGenerator[bytes, None]:
    """Stream the bytes of a plan; small pieces are fetched several at once, for most of the time is spent waiting for
    the store. Raises ObjectNotFound when somebody else was faster."""
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
    return source.store.get(source.key, start, start + extent.length, etag=source.etag)


def full_parts(total_size: int, covered: Extents, parts: Iterable[int]) -> list[int]:
    """Those of the parts of which every byte is covered."""
    count = part_count(total_size)
    return [part for part in parts if part < count and covered.covers(part_extent(total_size, part))]


def _chunk(temp: ObjectStore, key: ChunkKey, info: ObjectInfo) -> Source:
    return Source(key.extent, temp, info.key, info.modified, key.session, key.digest)


def _run(perm: ObjectStore, key: RunKey, info: ObjectInfo) -> Source:
    return Source(key.extent, perm, info.key, info.modified, key.session)
