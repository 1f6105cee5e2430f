"""What the ingest routes stand on, built in the lifespan and kept at `app.state.ingest`."""

from dataclasses import dataclass

from fastapi import Request

from libs.common.bus import EventBus
from libs.common.clock import Clock
from libs.common.feed.reading import FeedReader
from libs.common.feed.tail import Tail
from libs.common.settings import Settings
from libs.common.storage import Buckets
from libs.common.uploads.least import LeastSize
from libs.common.uploads.reading import FileReader
from libs.common.uploads.tools import Tools
from libs.common.uploads.writing import ChunkWriter
from libs.common.webhooks.subscriptions import Subscriptions
from libs.common.webhooks.targets import Targets
from services.ingest.downloads import Downloads
from services.ingest.gate import Gate
from services.ingest.keeper import Keeper
from services.ingest.listing import FileLister
from services.ingest.metrics import BUDGET, CHUNKS
from services.ingest.purging import Purger
from services.ingest.quota import Quotas
from services.ingest.receive import Budget, Deadline
from services.ingest.sightings import Sightings
from services.ingest.stream_places import StreamPlaces
from services.ingest.watching import Watching
from services.ingest.witness import Witness


@dataclass(frozen=True)
class Ingest:
    """One running ingest."""

    settings: Settings
    writer: ChunkWriter
    reader: FileReader
    downloads: Downloads
    lister: FileLister
    tools: Tools
    budget: Budget
    deadline: Deadline
    gate: Gate
    quotas: Quotas
    witness: Witness
    purger: Purger
    keeper: Keeper
    sightings: Sightings
    buckets: Buckets
    feed: Tail
    places: StreamPlaces
    subscriptions: Subscriptions
    targets: Targets
    watching: Watching

    @classmethod
    def build(cls, settings: Settings, buckets: Buckets, bus: EventBus, clock: Clock, gate: Gate) -> "Ingest":
        tools = Tools(buckets, bus, clock, CHUNKS)
        reader = FileReader(buckets, clock)
        BUDGET.set(settings.memory_budget)
        return cls(
            settings,
            ChunkWriter(tools, least=LeastSize(settings.min_chunk_size)),
            reader,
            Downloads(),
            FileLister(buckets),
            tools,
            Budget(settings.memory_budget),
            Deadline(settings.body_timeout, settings.body_idle_timeout, settings.body_least_rate),
            gate,
            Quotas(buckets, clock),
            Witness(),
            Purger(tools),
            Keeper(buckets.perm, bus, clock, settings.stuck_after),
            Sightings(buckets.perm, clock),
            buckets,
            Tail(FeedReader(buckets.perm), clock),
            StreamPlaces(settings.max_streams, settings.max_streams_per_device),
            Subscriptions(buckets.perm),
            Targets.of(settings.webhook_networks, http=settings.webhook_http),
            Watching(reader.state, bus),
        )

    async def close(self) -> None:
        await self.keeper.close()
        await self.sightings.close()


def ingest(request: Request) -> Ingest:
    """The running ingest of a request's application."""
    found: Ingest = request.app.state.ingest
    return found
