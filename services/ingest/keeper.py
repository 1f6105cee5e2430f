"""Keeps the fleet's uploads in this process while somebody asks for them: one task, however many readers."""

import asyncio
import secrets
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import structlog

from libs.common.bus import EVERY_OWNER, EventBus, Listening
from libs.common.bus.events import Event
from libs.common.clock import Clock
from libs.common.fleet.filters import Filter
from libs.common.fleet.live import ChangeKind, Live
from libs.common.fleet.rows import UploadRow
from libs.common.fleet.store import Found, load
from libs.common.fleet.tables import UPLOADS
from libs.common.storage import ObjectStore, StoreUnavailable

log = structlog.get_logger(__name__)
TICK = 1.0  # seconds: how often a reader is told of changes, and how often the broker is looked at
LOAD = 5  # ticks between two looks for a new table
AGE = 10  # ticks between two looks for uploads that became stuck
IDLE = 60.0  # seconds without a reader, after which nothing is kept
Changes = list[tuple[ChangeKind, UploadRow]]


class Keeper:
    """Gives the readers of one process the uploads that it keeps. Nothing runs, is kept or is listened to while nobody
    asks."""

    def __init__(self, perm: ObjectStore, bus: EventBus, clock: Clock, stuck_after: float) -> None:
        self._with = perm, bus, clock, stuck_after
        self._kept: Kept | None = None

    async def uploads(self, owner: str | None) -> "Kept":
        """The uploads of an owner (None: of all). Raises StoreUnavailable."""
        if self._kept is None or self._kept.is_over:
            self._kept = Kept(*self._with)
        await self._kept.ask(owner)
        return self._kept

    async def close(self) -> None:
        if self._kept:
            await self._kept.close()


class Kept:
    """Uploads from the first reader to a while after the last."""

    def __init__(self, perm: ObjectStore, bus: EventBus, clock: Clock, stuck_after: float) -> None:
        self.live = Live(stuck_after)
        self._perm = perm
        self._clock = clock
        self._boot = secrets.token_hex(4)
        self._table: Found[UploadRow] | None = None
        self._loaded, self._news = asyncio.Event(), asyncio.Event()
        self._failed: StoreUnavailable | None = None
        self._asked: dict[str, float] = {}  # owner, or all, and when it was asked for last
        self._readers = Counter[str]()
        self._heard_from: dict[str, float] = {}  # since when every event of the owner is heard, by the store's clock
        self._issued, self._issued_at = clock.time(), clock.monotonic()
        self._listening: Listening = bus.listen(self._hear)
        self._task = asyncio.create_task(self._keep(), name="fleet keeper")

    @property
    def is_over(self) -> bool:
        return self._task.done()

    async def ask(self, owner: str | None) -> None:
        """Wait until the uploads of an owner can be shown. Raises StoreUnavailable."""
        whose = owner or EVERY_OWNER
        if whose not in self._asked:
            self._listening.watch(whose)
        self._asked[whose] = self._clock.monotonic()
        await self._loaded.wait()
        if self._failed:
            raise self._failed

    @contextmanager
    def reading(self, owner: str | None) -> Iterator[None]:
        """A reader that stays: meanwhile the uploads of the owner are kept."""
        whose = owner or EVERY_OWNER
        self._readers[whose] += 1
        try:
            yield
        finally:
            self._readers[whose] -= 1
            self._asked[whose] = self._clock.monotonic()

    def now(self) -> float:
        """The store's time, in seconds since the epoch."""
        return self._issued + self._clock.monotonic() - self._issued_at

    def hears_all(self, owner: str | None) -> bool:
        """Whether all changes since the last table are heard too, as far as this process knows."""
        since = self._heard_from.get(owner or EVERY_OWNER)
        return since is not None and self.live.as_of is not None and since <= self.live.as_of and not self._is_deaf

    @property
    def _is_deaf(self) -> bool:
        return self._listening.deaf_since is not None

    @property
    def version(self) -> str:
        """Another one after every change of any row."""
        return f"v{self._boot}-{self.live.number}"

    def changes(self, version: str, wanted: Filter) -> Changes | None:
        """What changed since a version; None for one that is not of this process, or forgotten."""
        boot, _, number = version.partition("-")
        if boot != f"v{self._boot}" or not number.isdecimal():
            return None
        return self.live.changes(int(number), wanted)

    async def wait(self, version: str, wanted: Filter, within: float) -> None:
        """Wait at most `within` seconds for a change of a row that matches, since a version; not at all where that is
        none of this process."""
        until = self._clock.monotonic() + within
        while not self.is_over and self.changes(version, wanted) == []:
            left = until - self._clock.monotonic()
            if left <= 0:
                return
            news = self._news
            with suppress(TimeoutError):
                async with asyncio.timeout(left):
                    await news.wait()
                    await self._clock.sleep(TICK)  # what changes at about the same time is one answer

    async def close(self) -> None:
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)

    # -- the one task

    def _hear(self, event: Event) -> None:
        before = self.live.number
        self.live.hear(event, self.now())
        if self.live.number != before:
            self._tell()

    def _tell(self) -> None:
        news, self._news = self._news, asyncio.Event()
        news.set()

    async def _keep(self) -> None:
        try:
            await self._listening.settled()
            await self._load()
            self._loaded.set()
            ticks = 0
            while self._still_asked():
                await self._clock.sleep(TICK)
                ticks += 1
                await self._tick(ticks)
        except Exception as error:
            self._failed = error if isinstance(error, StoreUnavailable) else StoreUnavailable(str(error))
            if not isinstance(error, StoreUnavailable):
                log.exception("the fleet's uploads cannot be kept")
        finally:
            self._listening.close()
            self._loaded.set()
            self._tell()

    async def _tick(self, ticks: int) -> None:
        before = self.live.number
        self._note_hearing()
        if ticks % LOAD == 0:
            try:
                await self._load()
            except StoreUnavailable as error:
                log.warning("the fleet's uploads cannot be read, will try again", error=str(error))
        if ticks % AGE == 0:
            await self.live.age(self.now())
        if self.live.number != before:
            self._tell()

    async def _load(self) -> None:
        """Take over a table that is new."""
        known, at = self._table, self._clock.monotonic()
        self._table = await load(self._perm, UPLOADS, known)
        if not self._table:
            return
        self._issued, self._issued_at = self._table.issued, at
        self._note_hearing()
        table = self._table.table
        if table and not (known and known.table is table):
            await self.live.replace(table.at, table.rows, self.now())

    def _note_hearing(self) -> None:
        if self._is_deaf:
            self._heard_from.clear()
        else:
            for whose in self._asked:
                self._heard_from.setdefault(whose, self.now())

    def _still_asked(self) -> bool:
        """Whether a reader asked lately. This process stops listening to an owner that no reader asked for."""
        now = self._clock.monotonic()
        for whose, asked in list(self._asked.items()):
            if not self._readers[whose] and now - asked > IDLE:
                self._listening.unwatch(whose)
                del self._asked[whose]
                self._heard_from.pop(whose, None)
        return bool(self._asked)
