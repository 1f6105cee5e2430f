"""The sweep: what the bucket says needs looking at, found in one pass over two sorted listings.

One list call per 1,000 objects and none per session. The two listings are not of one moment: whoever acts on a
finding looks again first.
"""

from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field
from enum import StrEnum

import structlog

from libs.common.events import Event, SessionData, SessionStale, SessionStalled, subject
from libs.common.extents import Extent, Extents
from libs.common.layout import (
    ChunkKey,
    FileId,
    ForeignKey,
    SessionFact,
    chunks_root,
    parse_chunk_key,
    parse_session_key,
    sessions_root,
)
from libs.common.look import Look, Session, group
from libs.common.store import Fence, ObjectInfo, ObjectStore, walk

log = structlog.get_logger(__name__)


class Need(StrEnum):
    """Why a file needs a look."""

    CLOSING = "closing"  # it bears closing markers: somebody may have died while closing it
    STALE = "stale"  # no chunk for the threshold
    STALLED = "stalled"  # its bytes are there, or chunks came lately, but perhaps the event was lost
    DEAD_FACTS = "dead facts"  # facts of a session that is not open any more
    ORPHANS = "orphaned chunks"  # chunks of a session that is gone


NUDGES = frozenset({Need.CLOSING, Need.STALLED})  # what a recovery sweep is for; a clean-up is for everything


@dataclass(frozen=True)
class Ages:
    """Seconds. A file is stalled once it was left alone for `grace`; one whose bytes are not all there is looked at
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
    """What the chunk objects of one session amount to. `newest` in seconds since the epoch, the store's time."""

    durable: Extents = field(default_factory=Extents)
    newest: float = 0.0
    count: int = 0


@dataclass
class SweptFile:
    """One file as a sweep sees it."""

    file: FileId
    sessions: dict[str, Session] = field(default_factory=dict)
    chunks: dict[str, Chunks] = field(default_factory=dict)

    @property
    def seen(self) -> Look:
        return Look(self.file, self.sessions, 0.0, Fence(0.0))


@dataclass(frozen=True)
class Finding:
    """A file that needs a look, and why, in words. `age`: seconds since its newest chunk."""

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
    open: int = 0  # files with an open upload
    closing: int = 0  # files that bear closing markers
    stored: int = 0  # bytes in chunks
    oldest: float = 0.0  # of the uploads, since it was opened
    unassembled: float = 0.0  # of those whose bytes are all there, since the newest chunk
    findings: Counter[Need] = field(default_factory=Counter)

    def add(self, swept: SweptFile) -> None:
        """Count a file in."""
        seen = swept.seen
        self.stored += sum(chunks.durable.total() for chunks in swept.chunks.values())
        self.closing += bool(seen.closing)
        if not seen.open or seen.closing:
            return
        upload = Upload.of(swept, seen)
        self.open += 1
        self.oldest = max(self.oldest, self.now - upload.opened)
        if upload.whole:
            self.unassembled = max(self.unassembled, self.now - upload.newest)


@dataclass(frozen=True)
class Upload:
    """The open sessions of a file, taken together. Times in seconds since the epoch, the store's."""

    first: Session
    durable: Extents
    opened: float
    newest: float  # chunk, or the opening

    @classmethod
    def of(cls, swept: SweptFile, seen: Look) -> "Upload":
        mine = [swept.chunks.get(session.id, Chunks()) for session in seen.open]
        openings = [session.facts["open"].modified for session in seen.open]
        durable = Extents(run for chunks in mine for run in chunks.durable)
        return cls(seen.open[0], durable, openings[0], max(openings + [chunks.newest for chunks in mine]))

    @property
    def whole(self) -> bool:
        return self.durable.covers(Extent(0, self.first.total_size))


async def store_time(temp: ObjectStore) -> float:
    """Now, in seconds since the epoch, by the clock of the store."""
    return (await temp.list(sessions_root(), limit=1)).fence.issued


async def sweep(temp: ObjectStore, now: float, ages: Ages) -> AsyncIterator[Finding]:
    """Everything that needs a look at `now`, in seconds since the epoch by the store's clock."""
    async for swept in swept_files(temp):
        for finding in findings(swept, now, ages):
            yield finding


def findings(swept: SweptFile, now: float, ages: Ages) -> Iterator[Finding]:
    """What one file needs: at most one look at its uploads, and one at each piece of garbage."""
    seen = swept.seen
    if seen.closing:
        reasons = ", ".join(sorted(seen.closing))
        yield Finding(Need.CLOSING, swept.file, min(swept.sessions), 0.0, f"is being closed ({reasons})")
        return
    if seen.open:
        yield from _upload(swept, seen, now, ages)
    for session in swept.sessions.values():
        newest = max(info.modified for info in session.facts.values())
        if not session.is_open and now - newest > ages.stale:
            why = f"{len(session.facts)} facts of a session that is not open"
            yield Finding(Need.DEAD_FACTS, swept.file, session.id, now - newest, why)
    for session_id, chunks in swept.chunks.items():
        known = swept.sessions.get(session_id)
        if not (known and known.is_open) and now - chunks.newest > ages.stale:
            why = f"{chunks.count} chunks of a session that is gone"
            yield Finding(Need.ORPHANS, swept.file, session_id, now - chunks.newest, why)


def _upload(swept: SweptFile, seen: Look, now: float, ages: Ages) -> Iterator[Finding]:
    upload = Upload.of(swept, seen)
    first, age = upload.first, now - upload.newest
    if age > ages.stale:
        why = f"no chunk for {age:.0f} s, {upload.durable.total()} of {first.total_size} bytes in chunks"
        yield Finding(Need.STALE, swept.file, first.id, age, why)
    elif age >= ages.grace and upload.whole:
        yield Finding(Need.STALLED, swept.file, first.id, age, "all bytes are there but the file is not complete")
    elif ages.grace <= age <= ages.quiet:
        yield Finding(Need.STALLED, swept.file, first.id, age, "chunks came lately: full parts may wait")


async def swept_files(temp: ObjectStore) -> AsyncIterator[SweptFile]:
    """A merge-join by file of the two listings, which are sorted alike below their first segment."""
    sessions = _by_file(_ours(walk(temp, sessions_root()), parse_session_key))
    chunks = _by_file(_ours(walk(temp, chunks_root()), parse_chunk_key))
    facts, stored = await anext(sessions, None), await anext(chunks, None)
    while facts or stored:
        place = min(run[0] for run in (facts, stored) if run)
        swept = None
        if facts and facts[0] == place:
            file = parse_session_key(facts[1][0].key).file
            swept = SweptFile(file, sessions=group(facts[1]))
            facts = await anext(sessions, None)
        if stored and stored[0] == place:
            swept = swept or SweptFile(parse_chunk_key(stored[1][0].key).file)
            swept.chunks = _summarize(stored[1])
            stored = await anext(chunks, None)
        if swept:
            yield swept


async def _ours(
    objects: AsyncIterator[ObjectInfo], parse: Callable[[str], SessionFact | ChunkKey]
) -> AsyncIterator[ObjectInfo]:
    """Without what somebody else put into the bucket, such as the folders that consoles make."""
    async for info in objects:
        try:
            parse(info.key)
        except ForeignKey:
            log.warning("an object that is not ours is left alone", key=info.key)
        else:
            yield info


async def _by_file(objects: AsyncIterator[ObjectInfo]) -> AsyncIterator[tuple[bytes, list[ObjectInfo]]]:
    """Runs of objects of one file, each with its place in the order of both listings."""
    place, run = b"", list[ObjectInfo]()
    async for info in objects:
        here = ("/".join(info.key.split("/")[1:4]) + "/").encode()
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
