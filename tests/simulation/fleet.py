"""The services as processes: several replicas of each, which die, are paused, and are started again."""

import traceback
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, Protocol

from libs.common.bus import Poison
from libs.common.bus.events import Event
from libs.common.storage import Buckets, ObjectNotFound, StoreUnavailable, UploadNotFound
from libs.common.uploads.reading import FileReader
from libs.common.uploads.sweeping import Ages, store_time
from libs.common.uploads.tools import Tools
from libs.common.uploads.writing import ChunkWriter
from services.assembler.handling import Assembler, Outpaced
from services.assembler.worker import Worker
from services.janitor.sweeping import Janitor
from tests.simulation.broker import Broker, SimBus
from tests.simulation.bucket import Bucket
from tests.simulation.ledger import Ledger
from tests.simulation.loop import Loop, Process, ProcessClock
from tests.simulation.odds import Odds
from tests.simulation.store import Killed, SimStore

Main = Callable[["Node"], Coroutine[Any, Any, None]]
EXPECTED = (Outpaced, ObjectNotFound, UploadNotFound, StoreUnavailable, Poison, Killed)


class Site(Protocol):
    odds: Odds
    outside: Process
    loop: Loop
    temp: Bucket
    perm: Bucket
    broker: Broker
    suspects: set[str]
    ledger: Ledger
    tracing: bool

    def say(self, *words: object) -> None: ...

    def violated(self, what: str) -> None: ...

    def date(self, now: float) -> float: ...

    def node_time(self, now: float) -> float: ...


class Node:
    """One process and its ports."""

    def __init__(self, site: Site, name: str) -> None:
        self.site = site
        self.process = Process(site.loop, name)
        self.clock = ProcessClock(self.process, site.odds.chance.uniform(0, 1e5))
        self.stores = [SimStore(site, self.process, bucket) for bucket in (site.temp, site.perm)]
        self.buckets = Buckets(*self.stores)
        self.bus = SimBus(site.broker, self.process)
        self.tools = Tools(self.buckets, self.bus, self.clock)


class IngestNode(Node):
    """One replica of ingest. `views`: how many files it remembers."""

    def __init__(self, site: Site, name: str, views: int) -> None:
        super().__init__(site, name)
        self.writer = ChunkWriter(self.tools, views=views)
        self.reader = FileReader(self.buckets, self.clock)


class Fleet:
    """Keeps every service running: who dies is started again under another name."""

    def __init__(self, site: Site, ages: Ages, recovery_interval: float, replicas: Sequence[int]) -> None:
        """`replicas`: how many there may be of ingest."""
        self._site = site
        self._ages = ages
        self._recovery = recovery_interval
        chance = site.odds.chance
        self._views = chance.choice((1, 1, 100))
        self._count = 0
        self.ingests: list[IngestNode] = []
        for _ in range(chance.choice(replicas)):
            self.start_ingest()
        for _ in range(chance.choice((1, 1, 2, 3))):
            self._keep("assembler", self._assemble)
        for _ in range(chance.choice((1, 1, 2))):
            self._keep("janitor", self._sweep)

    def _name(self, service: str) -> str:
        self._count += 1
        return f"{service}#{self._count}"

    def start_ingest(self) -> None:
        node = IngestNode(self._site, self._name("ingest"), self._views)
        self.ingests.append(node)
        self.latest = node

        def died() -> None:
            self.ingests.remove(node)
            self._again(self.start_ingest)

        node.process.on_death.append(died)

    def _again(self, start: Callable[[], None]) -> None:
        delay = self._site.odds.chance.choice((0.1, 1.0, 5.0))
        self._site.loop.call_later(delay, start, context=self._site.outside.context)

    def _keep(self, service: str, main: Main) -> None:
        node = Node(self._site, self._name(service))
        node.process.on_death.append(lambda: self._again(lambda: self._keep(service, main)))
        node.process.run(main(node))

    async def _assemble(self, node: Node) -> None:
        assembler = Assembler(node.tools, self._ages.stale)
        handle = assembler.handle

        async def watched(event: Event) -> None:
            try:
                await handle(event)
            except EXPECTED:
                raise
            except Exception:
                self._site.violated(f"{node.process.name} fails: {traceback.format_exc()}")
                raise

        assembler.handle = watched  # type: ignore[method-assign]
        worker = Worker(assembler, node.buckets, node.bus, node.clock, self._ages)
        async with worker.running(self._recovery, 5.0):
            await node.process.loop.create_future()

    async def _sweep(self, node: Node) -> None:
        janitor = Janitor(node.buckets, node.bus, node.clock, self._ages)
        chance = self._site.odds.chance
        while True:
            await node.clock.sleep(chance.uniform(0.5, 1.5) * self._recovery)
            try:
                await janitor.sweep(await store_time(node.buckets.temp), dry_run=False)
            except StoreUnavailable:
                continue
            except Exception:
                self._site.violated(f"{node.process.name} fails: {traceback.format_exc()}")
