"""The sweep: which names need a look, found in one pass over two sorted listings.

One list call for each 1,000 keys. A record is read only when it changed since this process read it.
"""

from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field
from enum import StrEnum

import structlog

from libs.common.events import Event, SessionData, SessionStale, SessionStalled, subject
from libs.common.extents import Extents
from libs.common.layout import FileId
from libs.common.store import ObjectInfo, ObjectNotFound, ObjectStore, StoreUnavailable, read, walk
from libs.common.uploads.layout import (
    ChunkKey,
    chunks_root,
    parse_chunk_key,
    parse_record_key,
    record_key,
    records_root,
)
from libs.common.uploads.record import Record, parse

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
    """One name as a sweep sees it. `modified`: when its record was written, in the store's time."""

    file: FileId
    record: Record | None = None
    modified: float = 0.0
    chunks: dict[str, Chunks] = field(default_factory=dict)

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


async def store_time(temp: ObjectStore) -> float:
    """Now, in seconds since the epoch, by the clock of the store."""
    return (await temp.list(records_root(), limit=1)).fence.issued


def findings(swept: SweptName, now: float, ages: Ages) -> Iterator[Finding]:
    """What one name needs: at most one look at its upload, and one at its garbage."""
    record, age = swept.record, now - swept.newest
    live = record.session if record else ""
    dead = [session for session in swept.chunks if session != live]
    if dead:
        count = sum(swept.chunks[session].count for session in dead)
        yield Finding(Need.GARBAGE, swept.file, dead[0], age, f"{count} chunks of an upload that is over")
    if record is None:
        return
    if record.state == "closed":
        if not dead and not (record.kept and not record.aborts):
            yield Finding(Need.GARBAGE, swept.file, record.file, age, "its record is closed")
    elif record.state == "opening":
        if age >= ages.grace:
            yield Finding(Need.STALLED, swept.file, live, age, "it is opening")
    elif record.aborts and age >= ages.grace:
        yield Finding(Need.GARBAGE, swept.file, live, age, "multipart uploads that are of no use any more")
    elif swept.is_whole:
        if age >= ages.grace:
            yield Finding(Need.STALLED, swept.file, live, age, "all bytes are there but the file is not complete")
    elif record.parked_at is not None and live not in swept.chunks:
        return
    elif age > ages.stale:
        why = f"no chunk for {age:.0f} s, {swept.durable.total()} bytes are stored"
        yield Finding(Need.STALE, swept.file, live, age, why)
    elif ages.grace <= age <= ages.quiet:
        yield Finding(Need.STALLED, swept.file, live, age, "chunks came lately: full parts may wait")


class Sweep:
    """Sweeps of one process. It remembers the records that it read, by when they were written."""

    def __init__(self, temp: ObjectStore) -> None:
        self._temp = temp
        self._known: dict[FileId, tuple[float, Record]] = {}

    async def names(self) -> AsyncIterator[SweptName]:
        """A merge-join by name of the two listings, which are sorted alike below their first segment. Raises
        StoreUnavailable."""
        records = _by_name(_ours(walk(self._temp, records_root()), parse_record_key))
        chunks = _by_name(_ours(walk(self._temp, chunks_root()), parse_chunk_key))
        known, self._known = self._known, {}
        record, stored = await anext(records, None), await anext(chunks, None)
        while record or stored:
            place = min(run[0] for run in (record, stored) if run)
            swept = None
            if record and record[0] == place:
                swept = await self._read(record[1][0], known)
                record = await anext(records, None)
            if stored and stored[0] == place:
                swept = swept or SweptName(parse_chunk_key(stored[1][0].key).file)
                swept.chunks = _summarize(stored[1])
                stored = await anext(chunks, None)
            if swept:
                yield swept

    async def _read(self, info: ObjectInfo, known: dict[FileId, tuple[float, Record]]) -> SweptName | None:
        file = parse_record_key(info.key)
        modified, record = known.get(file, (0.0, None))
        if record is None or modified != info.modified:
            try:
                record = parse(info.key, await read(self._temp, record_key(file)))
            except ObjectNotFound:
                return None
            except StoreUnavailable as error:
                log.error("a record is left alone", key=info.key, error=str(error))
                return None
        self._known[file] = info.modified, record
        return SweptName(file, record, info.modified)


async def _ours(
    objects: AsyncIterator[ObjectInfo], parse_key: Callable[[str], FileId | ChunkKey]
) -> AsyncIterator[ObjectInfo]:
    """Without what somebody else put into the bucket, such as the folders that consoles make."""
    async for info in objects:
        try:
            parse_key(info.key)
        except ValueError:
            log.warning("an object that is not ours is left alone", key=info.key)
        else:
            yield info


async def _by_name(objects: AsyncIterator[ObjectInfo]) -> AsyncIterator[tuple[bytes, list[ObjectInfo]]]:
    """Runs of objects of one name, each with its place in the order of both listings."""
    place, run = b"", list[ObjectInfo]()
    async for info in objects:
        below = info.key.partition("/")[2]
        here = below[: below.rindex("/=") + 2].encode()
        if here != place and run:
            yield place, run
            run = []
        place = here
        run.append(info)
    if run:
        yield place, run


def _summarize(objects: list[ObjectInfo]) -> dict[str, Chunks]:
    chunks: dict[str, Chunks] = {}
    for info in objects:
        key = parse_chunk_key(info.key)
        of_session = chunks.setdefault(key.session, Chunks())
        of_session.durable.add(key.extent)
        of_session.newest = max(of_session.newest, info.modified)
        of_session.count += 1
    return chunks
