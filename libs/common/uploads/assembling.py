"""Making a file of durable bytes: put full parts, then make the file. Repeatable after any crash."""

import hashlib
from collections.abc import AsyncIterator, Iterable, Sequence

from libs.common.storage import (
    LEASE,
    ConditionFailed,
    FenceExpired,
    KeyTaken,
    ObjectInfo,
    PartInfo,
    StoreFull,
    StoreRefused,
    StoreUnavailable,
    UploadNotFound,
    list_all,
)
from libs.common.uploads.folders import TAKEN
from libs.common.uploads.layout import FileId, chunks_prefix, file_key, runs_prefix
from libs.common.uploads.outcomes import About, completed, is_whole, metadata, session_of
from libs.common.uploads.recent import Recent
from libs.common.uploads.record import Record
from libs.common.uploads.records import SLACK, Look
from libs.common.uploads.rejecting import reject
from libs.common.uploads.stock import (
    Source,
    Stock,
    body,
    chunks_of_part,
    contradicting,
    coverage,
    full_parts,
    runs_of,
    stream,
    take_stock,
)
from libs.common.uploads.tools import Tools

CONTRADICTS = "Two requests stored different bytes for one range."
BEYOND = "Bytes were stored beyond the total size."
MISMATCH = "The bytes did not match the declared Repr-Digest."


class Assembler:
    """Turns durable bytes into files. Each step returns whether it is done, or waits for bytes; else call it again:
    another process was faster. Each raises StoreUnavailable, ObjectNotFound and UploadNotFound: likewise."""

    def __init__(self, tools: Tools) -> None:
        self._tools = tools
        self._buckets = tools.buckets
        self._records = tools.records
        self._put_here = Recent[str, set[int]]()  # parts that this process put into a multipart upload

    async def add(self, file: FileId, parts: Sequence[int]) -> bool:
        """Put parts that an event calls full into the multipart upload, and make the file once this process has put
        all of them. An event says where to look, never what is there. A part that is put again is the same."""
        seen = await self._records.look(file)
        record = seen.record
        if record.state != "open":
            return True
        if record.is_single or (not record.assembly and record.parked_at is not None):
            return await self.finish(file)
        if not record.assembly:
            return await self._begin(seen)
        sources = runs_of(self._buckets, record)
        for part in parts:
            sources += await chunks_of_part(self._buckets.temp, file, record.session, part)
        full = full_parts(record, coverage(sources), parts)
        try:
            with self._tools.watch.step("assemble"):
                await self._put_parts(seen, full, sources)
        except UploadNotFound:
            return await self.finish(file)
        here = self._put_here.get(record.assembly) or set()
        self._put_here.keep(record.assembly, here.union(full))
        return record.total_size is None or len(here.union(full)) < record.part_count or await self.finish(file)

    async def finish(self, file: FileId) -> bool:
        """Put every full part that is lacking, and make the file if nothing is missing."""
        seen = await self._records.look(file)
        if seen.record.state != "open":
            return True
        with self._tools.watch.step("assemble"):
            return await self._finish(seen)

    async def _finish(self, seen: Look) -> bool:
        record = seen.record
        stock = await take_stock(self._buckets, seen.file, record, every=True)
        if record.is_single:
            return await self._make(seen, stock, [])
        full = full_parts(record, stock.durable, record.parts_of(*stock.durable))
        if not record.assembly:
            waits = not full or (record.parked_at is not None and len(full) < record.part_count)
            return waits or await self._begin(seen)
        there = await self._parts(seen)
        if there is None:
            return False
        there += await self._put_parts(seen, set(full) - {part.number - 1 for part in there}, stock.sources)
        if record.total_size is None or len(there) < record.part_count:
            return True
        return await self._make(seen, stock, sorted(there, key=lambda part: part.number))

    # -- a file of many parts

    async def _begin(self, seen: Look) -> bool:
        record, key, perm = seen.record, file_key(seen.file), self._buckets.perm
        about = metadata(record.session, record.total_size, record.digest, record.labels)
        try:
            upload = await perm.create_multipart(
                key, part_size=record.part_size, content_type=record.content_type, metadata=about
            )
        except KeyTaken:
            return await reject(self._tools, seen, TAKEN)
        recorded = None
        try:
            recorded = await self._records.change(seen, assembly=upload)
        finally:
            if not recorded:
                await perm.abort_multipart(key, upload)
        return False

    async def _parts(self, seen: Look) -> list[PartInfo] | None:
        """The parts in the multipart upload. None where it is gone: completed, or purged by the store."""
        try:
            listed = await self._buckets.perm.list_parts(file_key(seen.file), seen.record.assembly)
            return [part for part in listed if part.size == seen.record.part_extent(part.number - 1).length]
        except UploadNotFound:
            done = await self._records.file(seen.file)
            if done and session_of(done) == seen.record.session:
                await self._close(seen)
            else:
                await self._records.change(seen, assembly="")
            return None

    async def _put_parts(self, seen: Look, parts: Iterable[int], sources: Sequence[Source]) -> list[PartInfo]:
        put, key, record = self._buckets.perm.put_part, file_key(seen.file), seen.record
        return [await put(key, record.assembly, n + 1, body(sources, record.part_extent(n))) for n in sorted(parts)]

    # -- the file

    async def _make(self, seen: Look, stock: Stock, parts: Sequence[PartInfo]) -> bool:
        """Make the file once all its bytes are there and agree. `parts`: of its multipart upload; none for a file of
        one part, which is put."""
        record = seen.record
        if record.whole is None or not stock.durable.covers(record.whole):
            return True
        flaw = await _flaw(record, stock)  # parts were put as they came, of any source
        computed = await self._computed(record, stock.sources)
        right = await self._right(seen)
        if not right:
            return False
        if flaw or computed != record.digest:
            return await reject(self._tools, right, flaw or MISMATCH, "" if flaw else computed)
        try:
            with self._tools.watch.step("finish"):
                await self._put(right, parts, stock.sources)
        except KeyTaken:
            return await reject(self._tools, right, TAKEN)
        except (StoreFull, StoreRefused):
            raise
        except (UploadNotFound, ConditionFailed, FenceExpired, StoreUnavailable):
            pass  # the file tells
        return await self._close(right)

    async def _put(self, right: Look, parts: Sequence[PartInfo], sources: Sequence[Source]) -> None:
        key, perm, record = file_key(right.file), self._buckets.perm, right.record
        if not record.is_single:
            await perm.complete_multipart(key, record.assembly, parts, absent=True, fence=right.fence)
            return
        content = stream(sources, record.part_extent(0)) if record.total_size else b""
        await perm.put(
            key, content, absent=True, fence=right.fence, content_type=record.content_type,
            metadata=metadata(record.session, record.total_size, record.digest, record.labels),
        )  # fmt: skip

    async def _computed(self, record: Record, sources: Sequence[Source]) -> str:
        """The digest of the bytes in hex where one is declared, else empty. Raises ObjectNotFound where they moved."""
        return await _sha256(stream(sources, record.whole).blocks()) if record.digest and record.whole else ""

    async def _right(self, seen: Look) -> Look | None:
        """A look that shows the right to make the file, once a delete that was announced is over. None where the upload
        is not any more what it was."""
        while True:
            again = await self._records.look(seen.file)
            if again.record.state != "open" or _aim(again.record) != _aim(seen.record):
                return None
            if not await again.waited(again.record.quiet):
                return again

    async def _close(self, made: Look) -> bool:
        """Complete is what has a file of its own after the quiet time, on a record that did not change since. `made`
        shows the upload that the file was made of, by this process or another one."""
        seen = await self._records.look(made.file) if made.expired else made
        record = seen.record
        if (record.state, record.session) != ("open", made.record.session):
            return True
        if seen.now <= record.quiet:
            return False
        done = await self._records.object(made.file)
        if not done:
            return False
        if session_of(done) != record.session or not is_whole(done):
            # Left by a whole file at once that was not acknowledged, or by a process that died.
            await self._records.delete_file(seen)
            return False
        if record.digest != done.metadata.get("digest", ""):  # it was declared while the file was made
            async with self._buckets.perm.get(done.key, etag=done.etag) as blocks:
                if await _sha256(blocks) != record.digest:
                    return await reject(self._tools, seen, MISMATCH)
        return await self._finished(seen, done)

    async def _finished(self, seen: Look, done: ObjectInfo) -> bool:
        """The file is there: say so in the record, tell it, then delete what it replaces, the record last."""
        record, now = seen.record, seen.now
        outcome = completed(seen.file, About.of(done), "/hiper/assembler")
        closing = record.closing(outcome, file=record.session, removing=now + LEASE + SLACK)
        closed = await self._records.change(seen, **closing)
        if not closed:
            return False
        await self._tools.tell(closed, *closed.record.owes)
        with self._tools.watch.step("clean_up"):
            await self._dispose(seen, done)
        if record.kept:  # it is what names the rejected bytes
            await self._records.change(closed, removing=0.0, owes=())
        else:
            await self._records.delete_announced(closed, now)
        return True

    async def _dispose(self, seen: Look, done: ObjectInfo) -> None:
        """Delete chunks and runs, abort multipart uploads. If this process dies here, a sweep deletes the rest."""
        temp, perm, record = self._buckets.temp, self._buckets.perm, seen.record
        chunks = await list_all(temp, chunks_prefix(seen.file, record.session))
        if chunks:
            self._tools.watch.finalized(done.modified - max(info.modified for info in chunks))
            await temp.delete_many([info.key for info in chunks])
        if record.runs:
            runs = await list_all(perm, runs_prefix(seen.file, record.session))
            await perm.delete_many([info.key for info in runs])
        for upload in record.uploads:
            await perm.abort_multipart(file_key(seen.file), upload)


async def _flaw(record: Record, stock: Stock) -> str:
    """Why no file can be made of stored bytes, because a device contradicted itself; empty where it did not."""
    if record.total_size is not None and any(source.extent.end > record.total_size for source in stock.sources):
        return BEYOND
    return CONTRADICTS if await contradicting(stock.sources) else ""


async def _sha256(blocks: AsyncIterator[bytes]) -> str:
    """In hex."""
    digest = hashlib.sha256()
    async for block in blocks:
        digest.update(block)
    return digest.hexdigest()


def _aim(record: Record) -> tuple[str, str, str]:
    """What the right to make a file rests on."""
    return record.session, record.assembly, record.digest
