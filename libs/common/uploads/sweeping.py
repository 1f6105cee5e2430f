"""The sweep: which names need a look, found in one pass over two sorted listings.

One list call for each 1,000 keys. A record is read only when it changed since this process read it.
"""

from collections import Counter
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from enum import StrEnum

import structlog

from libs.common.bus.events import Event, SessionData, SessionStale, SessionStalled, subject
from libs.common.files.extents import Extents
from libs.common.storage import ObjectInfo, ObjectNotFound, ObjectStore, read
from libs.common.uploads.layout import (
    ChunkKey,
    FileId,
    chunks_root,
    fanout,
    parse_chunk_key,
    parse_record_key,
    record_key,
    records_root,
)
from libs.common.uploads.ours import walk_ours
from libs.common.uploads.record import Record, Unreadable, parse
from libs.common.uploads.records import DATE

log = structlog.get_logger(__name__)


class Need(StrEnum):
    """Why a name needs a look."""

    STALE = "stale"  # no chunk for the threshold
    STALLED = "stalled"  # its bytes are there, or chunks came lately, but perhaps the event was lost
    GARBAGE = "garbage"  # its record is closed, or chunks lie under a session that it does not name


NUDGES = frozenset({Need.STALLED})  # what a recovery sweep is for; a clean-up is for everything


@dataclass(frozen=True)
class Ages:
    """Seconds. An upload is stalled once it was left alone for `grace`; one whose bytes are not all there is looked at
    only until `quiet`: after that nothing has changed."""

    stale: float
    grace: float
    quiet: float

    @classmethod
    def of(cls, stale_threshold: float, recovery_interval: float) -> "Ages":
        grace = min(recovery_interval / 2, 10.0)
        return cls(stale_threshold, grace, grace + 2.5 * recovery_interval)


@dataclass
class Chunks:
    """What the chunks of one session amount to. `newest` in seconds since the epoch, the store's time."""

    durable: Extents = field(default_factory=Extents)
    newest: float = 0.0
    count: int = 0


@dataclass
class SweptName:
    """One name as a sweep sees it. `modified`: when its record was written, in the store's time. `unreadable`: what is
    there of a name whose record cannot be read is left alone."""

    file: FileId
    record: Record | None = None
    modified: float = 0.0
    chunks: dict[str, Chunks] = field(default_factory=dict)
    unreadable: bool = False

    @property
    def upload(self) -> Record | None:
        """The record of an upload in progress."""
        return self.record if self.record and self.record.state == "open" else None

    @property
    def durable(self) -> Extents:
        record = self.upload
        held = [*self.chunks.get(record.session, Chunks()).durable, *record.run_extents.values()] if record else []
        return Extents(held)

    @property
    def newest(self) -> float:
        """When its newest byte came, or its record was written."""
        return max([self.modified, *(chunks.newest for chunks in self.chunks.values())])

    @property
    def is_whole(self) -> bool:
        whole = self.upload.whole if self.upload else None
        return whole is not None and self.durable.covers(whole)


@dataclass(frozen=True)
class Finding:
    """A name that needs a look, and why, in words. `age`: seconds since its newest byte."""

    need: Need
    file: FileId
    session: str
    age: float
    why: str

    def event(self, source: str) -> Event:
        """What tells the assembler to look."""
        kind = SessionStale if self.need is Need.STALE else SessionStalled
        data = SessionData(owner=self.file.owner, filename=self.file.filename, session=self.session)
        return kind(source=source, subject=subject(self.file), data=data)


@dataclass
class Tally:
    """What one sweep saw in all. Ages in seconds at the sweep's `now`; 0 where there is none."""

    now: float
    open: int = 0  # uploads in progress
    parked: int = 0  # uploads that went stale
    closed: int = 0  # closed records
    stored: int = 0  # bytes in chunks
    oldest: float = 0.0  # of the uploads in progress, since they were opened
    unassembled: float = 0.0  # of those whose bytes are all there, since the newest chunk
    findings: Counter[Need] = field(default_factory=Counter)

    def add(self, swept: SweptName) -> None:
        """Count a name in."""
        self.stored += sum(chunks.durable.total() for chunks in swept.chunks.values())
        self.closed += bool(swept.record and swept.record.state == "closed")
        if not swept.upload:
            return
        if swept.upload.parked_at is not None:
            self.parked += 1
            return
        self.open += 1
        self.oldest = max(self.oldest, self.now - swept.upload.opened_at)
        if swept.is_whole:
            self.unassembled = max(self.unassembled, self.now - swept.newest)


async def store_time(temp: ObjectStore) -> float:
    """Now, in seconds since the epoch, by the clock of the store."""
    return (await temp.list(records_root(), limit=1)).fence.issued


def findings(swept: SweptName, now: float, ages: Ages) -> Iterator[Finding]:
    """What one name needs: at most one look at its garbage, and one at its upload."""
    if swept.unreadable:
        return
    record, age = swept.record, now - swept.newest
    live = record.session if record else ""
    dead = [session for session in swept.chunks if session != live]
    if dead:
        count = sum(swept.chunks[session].count for session in dead)
        yield Finding(Need.GARBAGE, swept.file, dead[0], age, f"{count} chunks of an upload that is over")
    elif record and record.folder and not record.aborts:
        if now > record.folder:
            yield Finding(Need.GARBAGE, swept.file, "", age, "the folder may be empty")
    elif (
        record
        and record.state == "closed"
        and (record.aborts or record.owes or record.removing or record.quiet or not record.kept)
    ):
        yield Finding(Need.GARBAGE, swept.file, record.file, age, "its record is closed")
    elif record and (record.aborts or record.owes) and age >= ages.grace:
        yield Finding(Need.GARBAGE, swept.file, live, age, "it has multipart uploads of no use, or owes an outcome")
    if record is None or record.state == "closed":
        return
    if record.state == "opening":
        if age >= ages.grace:
            yield Finding(Need.STALLED, swept.file, live, age, "it is opening")
    elif swept.is_whole:
        if age >= ages.grace:
            yield Finding(Need.STALLED, swept.file, live, age, "all bytes are there but the file is not complete")
    elif record.parked_at is not None and not swept.chunks.get(live, Chunks()).durable.total():
        return
    elif age > ages.stale:
        why = f"no chunk for {age:.0f} s, {swept.durable.total()} bytes are stored"
        yield Finding(Need.STALE, swept.file, live, age, why)
    elif ages.grace <= age <= ages.quiet:
        yield Finding(Need.STALLED, swept.file, live, age, "chunks came lately: full parts may wait")


class Sweep:
    """Sweeps of one process. It remembers the records that it read, by when they were written: not those that were
    written a moment before, for a store that dates in whole seconds dates the next change alike."""

    def __init__(self, temp: ObjectStore) -> None:
        self._temp = temp
        self._known: dict[FileId, tuple[float, Record]] = {}

    @property
    def records(self) -> dict[FileId, Record]:
        """The records that the last sweep saw, but those that were written a moment before."""
        return {file: record for file, (_, record) in self._known.items()}

    async def names(self, now: float) -> AsyncIterator[SweptName]:
        """A merge-join by name of the two listings, which are sorted alike below their first segment. `now`: the
        store's time before it. Raises StoreUnavailable."""
        records = walk_ours(self._temp, records_root(), parse_record_key)
        chunks = _by_name(walk_ours(self._temp, chunks_root(), parse_chunk_key))
        known, self._known = self._known, {}
        record, stored = await anext(records, None), await anext(chunks, None)
        while record or stored:
            file = min((found[0] for found in (record, stored) if found), key=_place)
            swept = None
            if record and record[0] == file:
                swept = await self._read(record[0], record[1], known, now)
                record = await anext(records, None)
            if stored and stored[0] == file:
                swept = swept or SweptName(file)
                swept.chunks = _summarize(stored[1])
                stored = await anext(chunks, None)
            if swept:
                yield swept

    async def _read(
        self, file: FileId, info: ObjectInfo, known: dict[FileId, tuple[float, Record]], now: float
    ) -> SweptName | None:
        modified, record = known.get(file, (0.0, None))
        if record is None or modified != info.modified:
            try:
                record = parse(info.key, await read(self._temp, record_key(file)))
            except ObjectNotFound:
                return None
            except Unreadable as error:
                log.error("a record is left alone", key=info.key, error=str(error))
                return SweptName(file, unreadable=True)
            if now - info.modified <= DATE:
                return SweptName(file, record, info.modified)
        self._known[file] = info.modified, record
        return SweptName(file, record, info.modified)


Stored = list[tuple[ChunkKey, ObjectInfo]]


async def _by_name(chunks: AsyncIterator[tuple[ChunkKey, ObjectInfo]]) -> AsyncIterator[tuple[FileId, Stored]]:
    """The chunks of each name together, in the order of the listing."""
    run: Stored = []
    async for chunk in chunks:
        if run and chunk[0].file != run[0][0].file:
            yield run[0][0].file, run
            run = []
        run.append(chunk)
    if run:
        yield run[0][0].file, run


def _place(file: FileId) -> bytes:
    """Where a name stands in the order of both listings."""
    return f"{fanout(file.owner)}/{file.owner}/{file.filename}/=".encode()


def _summarize(stored: Stored) -> dict[str, Chunks]:
    chunks: dict[str, Chunks] = {}
    for key, info in stored:
        of_session = chunks.setdefault(key.session, Chunks())
        of_session.count += 1
        if info.size == key.extent.length:  # else a sender died on the way
            of_session.durable.add(key.extent)
            of_session.newest = max(of_session.newest, info.modified)
    return chunks
