"""Making a file of durable bytes: assemble what is full, finish what is complete. Repeatable after any crash."""

import hashlib
from collections.abc import Sequence

from libs.common.bus import EventBus
from libs.common.clock import Clock
from libs.common.storage import (
    LEASE,
    Buckets,
    ConditionFailed,
    Fence,
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
from libs.common.uploads.known import KnownParts
from libs.common.uploads.layout import FileId, chunks_prefix, file_key, runs_prefix
from libs.common.uploads.outcomes import About, completed, metadata
from libs.common.uploads.record import Record
from libs.common.uploads.records import SLACK, Look, Records, session_of
from libs.common.uploads.rejecting import Rejecter
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
from libs.common.uploads.watch import UNWATCHED, Watch

CONTRADICTS = "Two requests stored different bytes for one range."
BEYOND = "Bytes were stored beyond the total size."
MISMATCH = "The bytes did not match the declared Repr-Digest."
FOLDER = "The store refuses the name: it is a folder of another file, or a file is a folder of it."


class Assembler:
    """Turns durable bytes into files."""

    def __init__(self, buckets: Buckets, bus: EventBus, clock: Clock, watch: Watch = UNWATCHED) -> None:
        self._buckets = buckets
        self._bus = bus
        self._clock = clock
        self._watch = watch
        self._records = Records(buckets, clock)
        self._rejecter = Rejecter(buckets, bus, clock, self._records, watch)
        self._known = KnownParts()

    async def advance(self, file: FileId, hint: Sequence[int] | None = None, *, told_all: bool = True) -> bool:
        """Assemble the parts of the hint (or every part that is full), and finish the file if nothing is missing.
        `told_all`: whether all bytes are said to be there. Whether it is done, or waits for bytes; else call it again:
        another process was faster. Raises StoreUnavailable, ObjectNotFound and UploadNotFound: likewise."""
        seen = await self._records.look(file)
        record = seen.record
        if not record or record.state != "open":
            return True
        with self._watch.step("assemble"):
            if record.is_single:
                return await self._make(seen.file, record, {})
            return await self._advance_parts(seen, record, hint, told_all=told_all)

    # -- a file of many parts

    async def _advance_parts(self, seen: Look, record: Record, hint: Sequence[int] | None, *, told_all: bool) -> bool:
        known = self._known.of(record.assembly)
        parts = known if known is not None and hint is not None else None
        if parts is not None and told_all and not {*parts, *(hint or ())}.issuperset(range(record.part_count)):
            parts = None  # another process assembled, or none did
        sources = await self._sources(seen, record, hint if parts is not None else None, parts or {})
        full = full_parts(record, coverage(sources), _touched(record, sources) - (parts or {}).keys())
        if parts is None:
            if not record.assembly:
                if not full or (record.parked_at is not None and len(full) < record.part_count):
                    return True  # what is parked is assembled when the device has sent the rest
                return await self._begin_assembly(seen, record)
            parts = await self._listed(seen, record)
            if parts is None:
                return False
        return await self._add_parts(seen, record, parts, [part for part in full if part not in parts], sources)

    async def _sources(
        self, seen: Look, record: Record, hint: Sequence[int] | None, parts: dict[int, PartInfo]
    ) -> list[Source]:
        """A hint says where to look, never what is there."""
        if hint is None:
            return (await take_stock(self._buckets, seen.file, record)).sources
        found = runs_of(self._buckets, record)
        for part in hint:
            if part not in parts and (record.total_size is None or part < record.part_count):
                found += await chunks_of_part(self._buckets.temp, seen.file, record.session, part)
        return found

    async def _begin_assembly(self, seen: Look, record: Record) -> bool:
        key = file_key(seen.file)
        try:
            upload = await self._buckets.perm.create_multipart(
                key, part_size=record.part_size, content_type=record.content_type,
                metadata=metadata(record.session, record.digest, record.labels),
            )  # fmt: skip
        except KeyTaken:
            return await self._rejecter.reject(seen, record, FOLDER)
        try:
            recorded = await self._records.change(seen, assembly=upload)
        except BaseException:
            await self._buckets.perm.abort_multipart(key, upload)
            raise
        if not recorded:
            await self._buckets.perm.abort_multipart(key, upload)
        return False

    async def _listed(self, seen: Look, record: Record) -> dict[int, PartInfo] | None:
        """The parts in the multipart upload. None where it is gone: completed, or purged by the store."""
        try:
            listed = await self._buckets.perm.list_parts(file_key(seen.file), record.assembly)
        except UploadNotFound:
            done = await self._records.file(seen.file)
            if done and session_of(done) == record.session:
                await self._finish(seen.file, record)
            else:
                await self._records.change(seen, assembly="")
            return None
        return {part.number - 1: part for part in listed}

    async def _add_parts(
        self, seen: Look, record: Record, parts: dict[int, PartInfo], full: Sequence[int], sources: Sequence[Source]
    ) -> bool:
        """Put the parts that are full and lacking; finish when all are there. Parts are put only of what was listed
        within a lease of a look, or before another one that shows the same record: parking deletes what it merged."""
        key, upload = file_key(seen.file), record.assembly
        if seen.expired(self._clock.monotonic()):
            again = await self._records.look(seen.file, seen)
            if again.etag != seen.etag:
                return False
        self._known.forget(upload)
        for part in full:
            put = body(sources, record.part_extent(part))
            parts[part] = await self._buckets.perm.put_part(key, upload, part + 1, put)
        self._known.keep(upload, parts)
        if record.total_size is None or len(parts) < record.part_count:
            return True
        return await self._make(seen.file, record, parts)

    # -- both

    async def _make(self, file: FileId, record: Record, parts: dict[int, PartInfo]) -> bool:
        """Make the file once all its bytes are there and agree. `parts`: of its multipart upload; none for a file of
        one part, which is put."""
        stock = await take_stock(self._buckets, file, record, every=True)
        if record.whole is None or not stock.durable.covers(record.whole):
            return True
        flaw = await _flaw(record, stock)  # parts were put as they came, of any source
        computed = await self._sha256(record, stock.sources)
        ready = await self._right(file, record)
        if not ready:
            return False
        if flaw:
            return await self._rejecter.reject(ready, record, flaw)
        if computed != record.digest:
            return await self._rejecter.reject(ready, record, MISMATCH, computed)
        try:
            with self._watch.step("finish"):
                await self._put(file, record, parts, stock.sources, ready.fence)
        except KeyTaken:
            return await self._rejecter.reject(ready, record, FOLDER)
        except (StoreFull, StoreRefused):
            raise
        except (UploadNotFound, ConditionFailed, FenceExpired, StoreUnavailable):
            pass  # the file tells
        return await self._finish(file, record)

    async def _put(
        self, file: FileId, record: Record, parts: dict[int, PartInfo], sources: Sequence[Source], fence: Fence
    ) -> None:
        key, perm = file_key(file), self._buckets.perm
        if not record.is_single:
            ordered = [parts[part] for part in sorted(parts)]
            await perm.complete_multipart(key, record.assembly, ordered, absent=True, fence=fence)
            return
        content = stream(sources, record.part_extent(0)) if record.total_size else b""
        await perm.put(
            key, content, absent=True, fence=fence, content_type=record.content_type,
            metadata=metadata(record.session, record.digest, record.labels),
        )  # fmt: skip

    async def _sha256(self, record: Record, sources: Sequence[Source]) -> str:
        """The digest of the bytes in hex where one is declared, else empty. Raises ObjectNotFound where they moved."""
        if not record.digest:
            return ""
        digest = hashlib.sha256()
        for part in range(record.part_count):
            async for block in stream(sources, record.part_extent(part)).blocks():
                digest.update(block)
        return digest.hexdigest()

    async def _right(self, file: FileId, record: Record) -> Look | None:
        """A look that shows the right to make the file, once a delete that was announced is over. None where the upload
        is not any more what it was."""
        while True:
            seen = await self._records.look(file)
            now = seen.record
            if not now or now.state != "open" or _aim(now) != _aim(record):
                return None
            wait = now.quiet - seen.store_time(self._clock.monotonic())
            if wait < 0:
                return seen
            await self._clock.sleep(wait + 0.01)

    async def _finish(self, file: FileId, made: Record) -> bool:
        """Complete is what has a file of its own after the quiet time, on a record that did not change since. `made`:
        a record of the upload that the file was made of, by this process or another one."""
        seen = await self._records.look(file)
        record = seen.record
        if not record or (record.state, record.session) != ("open", made.session):
            return True
        if seen.store_time(self._clock.monotonic()) <= record.quiet:
            return False
        done = await self._records.file(file)
        if not done:
            return False
        if session_of(done) != record.session:
            # Left by a whole file at once that was not acknowledged, or by a process that died.
            await self._records.delete_file(seen)
            return False
        if record.digest != done.metadata.get("digest", "") and await self._file_sha256(done) != record.digest:
            return await self._rejecter.reject(seen, record, MISMATCH)  # it was declared while the file was made
        return await self._finished(seen, record, done)

    async def _file_sha256(self, done: ObjectInfo) -> str:
        digest = hashlib.sha256()
        async with self._buckets.perm.get(done.key, etag=done.etag) as blocks:
            async for block in blocks:
                digest.update(block)
        return digest.hexdigest()

    async def _finished(self, seen: Look, record: Record, done: ObjectInfo) -> bool:
        """The file is there: say so in the record, tell it, then delete what it replaces, the record last."""
        now = seen.store_time(self._clock.monotonic())
        closed = await self._records.change(
            seen, state="closed", file=record.session, session="", removing=now + LEASE + SLACK,
            runs=(), assembly="", aborts=record.uploads, parked_at=None,
        )  # fmt: skip
        if not closed:
            return False
        self._known.forget(record.assembly)
        event = completed(seen.file, About.of(done), "/hiper/assembler")
        self._bus.publish(event)
        self._watch.told(event)
        with self._watch.step("clean_up"):
            await self._dispose(seen.file, record, done)
        if record.kept:  # it is what names the rejected bytes
            await self._records.change(closed, removing=0.0)
        else:
            await self._records.delete_announced(closed, now)
        return True

    async def _dispose(self, file: FileId, record: Record, done: ObjectInfo) -> None:
        """Delete chunks and runs, abort multipart uploads. If this process dies here, a sweep deletes the rest."""
        chunks = await list_all(self._buckets.temp, chunks_prefix(file, record.session))
        if chunks:
            self._watch.finalized(done.modified - max(info.modified for info in chunks))
            await self._buckets.temp.delete_many([info.key for info in chunks])
        if record.runs:
            runs = await list_all(self._buckets.perm, runs_prefix(file, record.session))
            await self._buckets.perm.delete_many([info.key for info in runs])
        for upload in record.uploads:
            await self._buckets.perm.abort_multipart(file_key(file), upload)


async def _flaw(record: Record, stock: Stock) -> str:
    """Why no file can be made of stored bytes, because a device contradicted itself; empty where it did not."""
    if record.total_size is not None and any(source.extent.end > record.total_size for source in stock.sources):
        return BEYOND
    return CONTRADICTS if await contradicting(stock.sources) else ""


def _aim(record: Record) -> tuple[str, str, str]:
    """What the right to make a file rests on."""
    return record.session, record.assembly, record.digest


def _touched(record: Record, sources: Sequence[Source]) -> set[int]:
    """Numbers of the parts that the sources lie in."""
    size = record.part_size
    return {n for s in sources for n in range(s.extent.start // size, -(-s.extent.end // size))}
