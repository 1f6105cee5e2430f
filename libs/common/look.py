"""A look: one listing of a file's sessions, and how long one may act on it."""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from math import inf

from libs.common.clock import Clock
from libs.common.layout import (
    REASONS,
    FileId,
    Reason,
    closing_fact,
    is_plain,
    opener_of,
    parse_session_key,
    sessions_prefix,
    total_size_of,
)
from libs.common.ours import ours
from libs.common.store import LEASE, Fence, ObjectInfo, ObjectStore, StoreUnavailable

SLOWEST_LOOK = 1.0  # seconds; a look that took longer is not acted on
# Seconds after which nobody acts any more on a look from before: a fence counts from the store's answer, which may
# come SLOWEST_LOOK after the look began.
SETTLE = LEASE + SLOWEST_LOOK
_TRIES = 3


@dataclass(frozen=True)
class Session:
    """The facts that lie under one session id."""

    id: str
    facts: dict[str, ObjectInfo]

    @property
    def is_open(self) -> bool:
        return "open" in self.facts

    @property
    def total_size(self) -> int:
        return total_size_of(self.id)

    @property
    def writers(self) -> set[str]:
        """The ingest replicas that may store chunks in it."""
        return {opener_of(self.id), *self._after("writer/")}

    @property
    def digests(self) -> set[str]:
        """Declared SHA-256 digests of the whole file, in hex."""
        return self._after("digest/sha-256/")

    @property
    def assemblies(self) -> set[str]:
        """Recorded multipart uploads."""
        return self._after("assembly/")

    @property
    def closing(self) -> set[Reason]:
        """Reasons for which it is being closed, or was and still bears a marker."""
        return self.marked("closing/") | self.marked("closed/")

    def marked(self, prefix: str) -> set[Reason]:
        return {reason for reason in REASONS if f"{prefix}{reason}" in self.facts}

    def _after(self, prefix: str) -> set[str]:
        return {fact.removeprefix(prefix) for fact in self.facts if fact.startswith(prefix)}


@dataclass(frozen=True)
class Look:
    """Every fact about a file's uploads at one moment.

    `seen_at` is this process's monotonic clock in seconds, from before the listing began; `fence` dates from the
    store's answer.
    """

    file: FileId
    sessions: dict[str, Session]
    seen_at: float
    fence: Fence

    @cached_property
    def closing(self) -> set[Reason]:
        return {reason for session in self.sessions.values() for reason in session.closing}

    @property
    def unended(self) -> list[Session]:
        """The sessions that are open or marked to be closed. Of any other only a fact is there that came late."""
        return [session for session in self.sessions.values() if session.is_open or session.closing]

    @property
    def closed(self) -> bool:
        """Whether a closing was done, so that its facts tell nothing any more."""
        return any(session.marked("closed/") for session in self.sessions.values())

    @property
    def kept_until(self) -> float:
        """What was stored until then, in the store's time, counts for sure. A chunk that comes later, while its upload
        is being closed, is not acknowledged and may have come too late for the closer to see it."""
        markers = [s.facts[closing_fact(r)].modified for s in self.sessions.values() for r in s.marked("closing/")]
        return min(markers, default=inf) + LEASE

    @cached_property
    def open(self) -> list[Session]:
        """The open sessions that count, the first-opened first: twins of one size. A session of another size that
        was opened a moment later, by a request that did not see the first, never had a chunk acknowledged."""
        opened = [session for session in self.sessions.values() if session.is_open]
        opened.sort(key=lambda session: (session.facts["open"].modified, session.id))
        return [session for session in opened if session.total_size == opened[0].total_size]

    @property
    def plain(self) -> bool:
        """Whether its uploads are plain, and still are: while nothing is closing no partial file can appear, for
        parking closes every session of the name. Then there is nothing to look up."""
        return not self.closing and all(is_plain(session.id) for session in self.open)

    @property
    def writers(self) -> set[str]:
        return {writer for session in self.open for writer in session.writers}

    @property
    def digests(self) -> set[str]:
        return {digest for session in self.open for digest in session.digests}

    def expired(self, now: float) -> bool:
        """Whether one may no longer act on it at `now`, on the clock of `seen_at`."""
        return now - self.seen_at >= LEASE

    def shows_open(self, sessions: Iterable[str]) -> bool:
        """Whether these sessions are all open and nothing of the file is closing."""
        return not self.closing and all(s in self.sessions and self.sessions[s].is_open for s in sessions)


async def look(temp: ObjectStore, file: FileId, clock: Clock) -> Look:
    """Look at a file's uploads. Raises StoreUnavailable, also when the store answers too slowly to act on."""
    for _ in range(_TRIES):
        seen_at = clock.monotonic()
        prefix = sessions_prefix(file)
        page = await temp.list(prefix)
        facts, fence = list(page.objects), page.fence
        while page.truncated:  # no file has a thousand facts, but a listing may be cut anywhere
            page = await temp.list(prefix, start_after=facts[-1].key)
            facts.extend(page.objects)
        if clock.monotonic() - seen_at <= SLOWEST_LOOK:
            return Look(file, group(facts), seen_at, fence)
    raise StoreUnavailable(f"the store takes longer than {SLOWEST_LOOK} s to list a file's sessions")


def group(objects: Iterable[ObjectInfo]) -> dict[str, Session]:
    """Session objects of one file, by session id; without those that are not ours."""
    sessions: dict[str, Session] = {}
    for fact, info in ours(objects, parse_session_key):
        sessions.setdefault(fact.session, Session(fact.session, {})).facts[fact.fact] = info
    return sessions
