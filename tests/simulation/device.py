"""A device and what it does to one file: sends in and out of order, twice, overlapping, cancels, begins again."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from hashlib import sha256

from libs.common.files.extents import Extent
from libs.common.files.pins import NO_PIN, Pin
from libs.common.problems import Kind
from libs.common.storage import LEASE
from libs.common.uploads.cancelling import cancel
from libs.common.uploads.layout import FileId
from libs.common.uploads.payload import Payload
from libs.common.uploads.states import FileState
from libs.common.uploads.writing import Ack, Chunk
from tests.simulation.fleet import Fleet, IngestNode, Site
from tests.simulation.oracle import Oracle
from tests.simulation.requests import Answer, Desk

SIZES = (0, 3, 8, 12, 16, 20, 24)  # bytes; parts have 8
CONFLICTS = (Kind.CONTENT_CONFLICT, Kind.DIGEST_CONFLICT, Kind.DIGEST_MISMATCH, Kind.TOTAL_SIZE_CONFLICT)
START = Pin(none_match=frozenset({"*"}))


def content(total: int, life: int, variant: int = 0) -> bytes:
    """Bytes that differ at every place between lives, and between variants of one life."""
    return bytes(1 + (at * 7 + life * 31 + variant * 101) % 251 for at in range(total))


@dataclass
class Habits:
    """What kind of device it is. Odds of what it does, of 1 together with sending on."""

    pinned: bool
    honest: bool
    resizes: bool
    sticky: float  # odds to stay with its replica
    declares: str  # "", "right" or "wrong"
    longest: int  # bytes in a chunk
    deeds: dict[str, float] = field(default_factory=dict)
    eager: bool = False  # asks again soon
    sizes: tuple[int, ...] = SIZES


class Device:
    def __init__(self, site: Site, fleet: Fleet, file: FileId, habits: Habits, stale: float) -> None:
        self.site = site
        self.fleet = fleet
        self.file = file
        self.habits = habits
        self.stale = stale
        self.desk = Desk(site)
        self.oracle = Oracle(file, site.temp, site.perm, habits.honest and not habits.resizes, site.violated)
        self.session = ""
        self.offset = 0
        self.replica: IngestNode | None = None
        self.done = False
        self.goal = ""
        self._begin()

    def _begin(self) -> None:
        """A life of the name begins."""
        self.total = self.site.odds.chance.choice(self.habits.sizes)
        self.session, self.offset = "", 0
        self.oracle.right = sha256(content(self.total, self.oracle.life)).hexdigest()

    async def live(self, deeds: int) -> None:
        chance, habits = self.site.odds.chance, self.habits
        names, odds = list(habits.deeds), list(habits.deeds.values())
        doing: dict[str, Callable[[], Awaitable[object]]] = {
            "next": self._next, "all": self._all, "random": self._random, "twice": self._twice, "zero": self._from_zero,
            "status": self.status, "download": self._download, "cancel": self.cancel, "contradict": self._contradict,
            "resize": self._resize, "idle": self._idle,
        }  # fmt: skip
        for _ in range(deeds):
            await doing[chance.choices(names, odds)[0]]()

    # -- sending

    async def _next(self) -> None:
        at = self.offset if self.offset < self.total else 0
        await self.send(at, at + self.site.odds.chance.randint(1, self.habits.longest))

    async def _all(self) -> None:
        """The whole file, in order, once."""
        life, at = self.oracle.life, 0
        while life == self.oracle.life:
            end = min(at + self.habits.longest, self.total)
            await self.send(at, end)
            at = end
            if at >= self.total:
                break

    async def _random(self) -> None:
        at = self.site.odds.chance.randrange(self.total or 1)
        await self.send(at, at + self.site.odds.chance.randint(1, self.habits.longest))

    async def _from_zero(self) -> None:
        at = 0
        for _ in range(self.site.odds.chance.randint(1, 4)):
            end = at + self.site.odds.chance.randint(1, self.habits.longest)
            await self.send(at, end)
            at = min(end, self.total)

    async def _twice(self) -> None:
        """The same chunk, or neighbours, on several connections at once."""
        chance = self.site.odds.chance
        if self.habits.pinned and not self.session:
            return await self._next()
        at = chance.choice((self.offset, chance.randrange(self.total or 1)))
        ends = [(at, at + chance.randint(1, self.habits.longest))] * 2
        ends += [(end := ends[0][1], end + chance.randint(1, self.habits.longest))] * chance.randint(0, 1)
        await self._together([lambda a=a, b=b: self.send(a, b) for a, b in ends])  # type: ignore[misc]
        return None

    async def _contradict(self) -> None:
        if self.habits.honest or (self.habits.pinned and not self.session):
            return await self._next()
        at = self.site.odds.chance.randrange(self.total or 1)
        end = at + self.site.odds.chance.randint(1, self.habits.longest)
        self.replica = None
        there = self.fleet.ingests or [self.fleet.latest]
        nodes = self.site.odds.chance.choices(there, k=3) if len(there) < 3 else self.site.odds.chance.sample(there, 3)
        sends = zip((0, 1, 0), nodes, strict=True)
        await self._together([lambda v=v, n=n: self.send(at, end, v, node=n) for v, n in sends])  # type: ignore[misc]
        return None

    async def _together(self, works: list[Callable[[], Awaitable[object]]]) -> None:
        tasks = [self.site.outside.run(_as_coroutine(work)) for work in works]
        for task in tasks:
            await task

    async def _resize(self) -> None:
        if not self.habits.resizes:
            return await self._next()
        old, self.total = self.total, self.site.odds.chance.choice(self.habits.sizes)
        if not self.habits.pinned and self.site.odds.chance.random() < 0.5:  # two sizes at once
            await self._together([lambda: self.send(0, 4, total=old), self._next])
        else:
            await self._next()
        return None

    async def send(
        self, start: int, end: int, variant: int = 0, total: int | None = None, node: IngestNode | None = None
    ) -> Answer:
        total = self.total if total is None else total
        start, end = min(start, total), min(end, total)
        data = content(total, self.oracle.life, variant)[start:end]
        if not data and total:
            return Answer()
        declared = self._declared()
        pin = (Pin(match=frozenset({self.session})) if self.session else START) if self.habits.pinned else NO_PIN
        chunk = Chunk(self.file, total, Payload(Extent(start, end), data), {}, declared, pin)
        oracle, life, floor = self.oracle, self.oracle.life, self.oracle.told
        oracle.send(start, data, total, declared)
        node = node or self._replica()
        name = f"send {self.file.filename} [{start}, {end}) of {total}, life {life}, variant {variant}"

        def told(ack: Ack) -> None:
            self.site.odds.met["acknowledged"] += 1
            oracle.acknowledged(life, start, data, declared, ack, floor)
            if ack.complete:
                self.site.ledger.owe("complete", ack.session)

        answer = await self.desk.ask(node, name, lambda: node.writer.write(chunk), told, bound=pin.match is not None)
        if life == oracle.life:
            await self._hear(answer, total)
        return answer

    async def _hear(self, answer: Answer, total: int) -> None:
        if answer.wrong is None and answer.value is not None:
            self.session, self.offset, self.total = answer.value.session, answer.value.offset, total
        elif answer.wrong is Kind.PRECONDITION_FAILED:
            await self.status()
        elif answer.wrong is Kind.CONTENT_CONFLICT and self.habits.honest:
            self.site.violated(f"{self.file.filename}: a device's own bytes are refused")
        elif answer.wrong is not None:
            await self.site.loop.sleep((0.2 if self.habits.eager else 2) * self.site.odds.chance.random())

    def _declared(self) -> str:
        if not self.habits.declares or self.site.odds.chance.random() < 0.5:
            return ""
        return self.oracle.right if self.habits.declares == "right" else sha256(b"wrong").hexdigest()

    def _replica(self) -> IngestNode:
        chance, there = self.site.odds.chance, self.fleet.ingests or [self.fleet.latest]
        if self.replica not in there or chance.random() > self.habits.sticky:
            self.replica = chance.choice(there)
        return self.replica

    # -- asking

    async def status(self) -> Answer:
        oracle, node = self.oracle, self._replica()
        life, cancelled, had = oracle.life, oracle.cancelled, list(oracle.acked)
        alone = self.desk.alone
        floor = max(oracle.told, oracle.seen)

        async def ask() -> FileState | Kind:
            return await node.reader.state(self.file)

        answer = await self.desk.ask(
            node,
            f"status {self.file.filename}",
            ask,
            lambda state: oracle.shown(life, cancelled, state, floor, had),
            bound=True,
        )
        if life == oracle.life:
            if answer.wrong is None:
                self.session, self.offset = answer.value.session, answer.value.offset
            elif answer.wrong is Kind.NOT_FOUND:
                self.session = ""
                oracle.shown(life, cancelled, None, floor, had)
            elif answer.wrong is Kind.REJECTED and oracle.cancelling:
                self.session = ""  # what is kept aside has another: no pin on what is gone ever fits
            elif answer.wrong is Kind.REJECTED:
                if not (oracle.may_reject or oracle.kept_aside):
                    self.site.violated(f"{self.file.filename}: rejected without reason")
                await self._rejected(life, alone=alone)
        return answer

    async def _rejected(self, life: int, *, alone: bool) -> None:
        """It may be the upload before this one that was rejected, unless nothing of this one was on its way when the
        status was asked for."""
        self.session, self.offset = "", 0
        if not self.oracle.may_reject:
            return
        if not alone:
            await self.desk.wait_out()
            await self.status()
        elif life == self.oracle.life:
            self.oracle.new_life(by_cancel=False)
            self._begin()

    async def _download(self) -> None:
        node, life = self._replica(), self.oracle.life

        async def download() -> bytes:
            state = await node.reader.state(self.file)
            return b"".join([block async for block in node.reader.blocks(state, Extent(0, state.offset))])

        await self.desk.ask(
            node, f"download {self.file.filename}", download, lambda data: self._downloaded(life, data), bound=True
        )

    def _downloaded(self, life: int, data: bytes) -> None:
        self.oracle.downloaded(life, data)
        lives = range(life, self.oracle.life + 1)
        if self.oracle.honest and all(data != content(len(data), each) for each in lives):
            self.site.violated(f"{self.file.filename}: a download mixes uploads: {data!r}")

    async def _idle(self) -> None:
        chance = self.site.odds.chance
        lengths = (0.5, LEASE / 2, LEASE, 3 * LEASE, 0.5 * self.stale, 0.9 * self.stale, 1.1 * self.stale)
        await self.site.loop.sleep(chance.choice(lengths) * (0.9 + 0.2 * chance.random()))

    # -- cancelling

    async def cancel(self) -> None:
        """Until it is certain. What is not bound to a session is waited for, before and after."""
        oracle, life = self.oracle, self.oracle.life
        while True:
            pin = Pin(match=frozenset({self.session})) if self.habits.pinned and self.session else NO_PIN
            await self.desk.wait_out()
            oracle.cancelling = True
            node = self._replica()
            answer = await self.desk.ask(
                node,
                f"cancel {self.file.filename}, life {life}",
                lambda node=node, pin=pin: cancel(node.tools, self.file, pin),  # type: ignore[misc]
                lambda _: oracle.cancel_answered(life),
                bound=pin.match is not None,
            )
            if answer.wrong in (None, Kind.NOT_FOUND):
                break
            if answer.wrong is Kind.PRECONDITION_FAILED:
                state = await self.status()
                if state.wrong is Kind.NOT_FOUND:
                    break
                if state.wrong is Kind.REJECTED:
                    self.session = ""  # there is no upload to pin to
            await self.site.loop.sleep((0.1 if self.habits.eager else 1) + self.site.odds.chance.random())
        await self.desk.wait_out()
        if self.site.odds.chance.random() < 0.5:
            oracle.cancelled = True
            await self.status()
        oracle.new_life(by_cancel=True)
        self._begin()

    # -- coming to an end

    async def finish(self, goal: str) -> None:
        """Faults are over: complete the file, leave it as it is, or cancel it."""
        self.goal, self.habits.eager = goal, False
        if goal == "cancel":
            await self.cancel()
        elif goal == "complete":
            await self._complete()
        self.done = True

    async def _complete(self) -> None:
        for _ in range(100):
            answer = await self.status()
            state = answer.value if answer.wrong is None else None
            if state and state.state == "complete":
                return
            if answer.wrong is Kind.REJECTED:
                self.habits.declares = ""
            if state and state.total_size != self.total:
                if state.total_size not in self.oracle.sizes:
                    await self.cancel()
                    continue
                self.total = state.total_size
            missing = state.durable.missing(Extent(0, self.total)) if state else [Extent(0, self.total)]
            if missing or not self.total:
                start, end = missing[0] if missing else (0, 0)
                sent = await self.send(start, min(end, start + self.habits.longest))
                if sent.wrong in CONFLICTS:
                    self.habits.declares = ""
                    await self.cancel()
            if not missing or answer.wrong:
                await self.site.loop.sleep(1.0)
        self.site.violated(f"{self.file.filename}: the device cannot finish; last heard {answer}")


async def _as_coroutine(work: Callable[[], Awaitable[object]]) -> None:
    await work()
