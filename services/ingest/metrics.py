"""What ingest tells Prometheus, and the spans of a chunk's way."""

from contextlib import AbstractContextManager

from prometheus_client import Counter, Gauge, Histogram

from libs.common.observability.measuring import Measured
from libs.common.observability.outcomes import OutcomeWatch

RECEIVED = Counter("hiper_chunk_received_bytes", "Payload bytes that arrived whole and were verified.")
STEPS = Histogram(
    "hiper_chunk_step_duration_seconds",
    "Duration of a step of a chunk: receive, turn, look, open, compare, store, acknowledge.",
    ["step"],
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10, 60),
)
BUFFERED = Gauge("hiper_ingest_buffered_bytes", "Payload bytes of requests under way, by where they are.", ["where"])
BUDGET = Gauge("hiper_ingest_memory_budget_bytes", "MEMORY_BUDGET: what of them memory may hold.")
DOWNLOADS = Gauge(
    "hiper_downloads_open",
    "Downloads under way, by what they do: read from the store, wait for a turn there, wait for their client.",
    ["where"],
)
AT_STORE, AT_TURN, AT_CLIENT = DOWNLOADS.labels("store"), DOWNLOADS.labels("turn"), DOWNLOADS.labels("client")
STREAMS = Gauge("hiper_streams_open", "Answers that last, by manner: events, jsonl, wait.", ["manner"])

NAMES = ("receive", "turn", "look", "open", "compare", "store", "acknowledge")
_STEPS = {name: STEPS.labels(name) for name in NAMES}
IN_MEMORY, ON_DISK = BUFFERED.labels("memory"), BUFFERED.labels("disk")


class ChunkWatch(OutcomeWatch):
    """Measures the steps of chunks; counts and logs files that come whole in one request, and deletes."""

    def step(self, name: str) -> AbstractContextManager[object]:
        return Measured(_STEPS[name], f"chunk {name}")


CHUNKS = ChunkWatch()
