"""What a fleet needs, from the measured cost of a chunk: `python -m scripts.scaling` prints the table."""

import json
import math
from dataclasses import dataclass
from pathlib import Path

RESULTS = Path(__file__).parents[1] / "benchmarks" / "RESULTS.json"
KIB, MIB = 2**10, 2**20
MEASURED = {  # chunk size in bytes to the row of the results that tells its cost
    64 * KIB: "64 KiB chunks, 16 devices",
    MIB: "1 MiB chunks, 16 devices",
    8 * MIB: "8 MiB chunks, 16 devices",
}
FLEETS = (100_000, 10_000_000)

# What the fleets do, and how far anything is loaded.
PER_DEVICE = 100 * MIB  # bytes a day
PEAK = 0.5 / (4 * 3600)  # of a day's bytes in each second of the busiest hours: half of them within four hours
FILE = 16 * MIB  # bytes
PART = 8 * MIB  # bytes; each is one event in a queue
LINK = 2 * MIB  # bytes a second that a device sends while it sends
LOAD = 0.6  # of a core, a queue or a node
NODE = 16  # cores of a node of the store or the broker
QUEUE = 5000  # events a second of one quorum queue, confirmed, consumed and acknowledged


@dataclass(frozen=True)
class Need:
    """What a fleet needs at its peak."""

    devices: int
    chunk: int  # bytes
    rate: float  # bytes a second
    cost: dict[str, float]  # milliseconds of processor time for a chunk, by role

    @property
    def chunks(self) -> float:
        """A second."""
        return self.rate / self.chunk

    @property
    def requests(self) -> float:
        """Of the store, for each file."""
        chunks, parts, leases = FILE / self.chunk, FILE / PART, FILE / LINK / 2
        assembled = 0 if self.chunk == 8 * MIB else chunks
        return 4 + chunks + leases + assembled + 3 * parts + 12 + 3 * (math.ceil(chunks / 1000) - 1)

    def processes(self, role: str) -> int:
        """How many processes of one core each."""
        return math.ceil(self.chunks * self.cost[role] / 1000 / LOAD)

    def row(self) -> list[str]:
        return [
            f"{self.devices:,}",
            f"{self.chunk // KIB:,} KiB",
            f"{self.rate / MIB:,.0f} MiB/s",
            f"{self.chunks:,.0f}",
            f"{self.processes('ingest'):,}",
            f"{self.processes('assembler'):,}",
            f"{math.ceil(self.rate / PART / QUEUE / LOAD):,}",
            f"{math.ceil(self.chunks * self.cost['rabbitmq'] / 1000 / LOAD / NODE):,}",
            f"{math.ceil(self.chunks * self.cost['minio'] / 1000 / LOAD / NODE):,}",
            f"{self.rate / FILE * self.requests:,.0f}",
            f"{self.requests / FILE * 2**30:,.0f}",
        ]


HEAD = [
    "devices",
    "chunks of",
    "at peak",
    "chunks/s",
    "ingest",
    "assembler",
    "queues",
    f"broker nodes of {NODE} cores",
    f"store nodes of {NODE} cores",
    "requests/s",
    "requests per GiB",
]


def table() -> str:
    if not RESULTS.exists():
        return (
            "`make bench` measures what this is computed from; then `python -m scripts.generate_docs` writes it here."
        )
    measured = {row["name"]: row for row in json.loads(RESULTS.read_text())["rows"] if "MinIO" in row["group"]}
    needs = [
        Need(devices, chunk, devices * PER_DEVICE * PEAK, measured[name]["cost"])
        for devices in FLEETS
        for chunk, name in MEASURED.items()
    ]
    lines = [HEAD, ["---:"] * len(HEAD), *(need.row() for need in needs)]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


if __name__ == "__main__":
    print(table())
