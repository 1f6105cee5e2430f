"""What one upload works with, and what it knows so far."""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from libs.client.models import ChunkAnswer
from libs.client.names import RemoteFile
from libs.client.pacing import Pacing
from libs.client.retry import Patience
from libs.client.sources import Hashing, Source
from libs.common.files.extents import Extent, Extents

Progress = Callable[[int, int], None]  # bytes that are durable on the server, bytes in all


@dataclass(slots=True)
class Upload:
    """One source on its way. Where several go on at once, `slots` is how many chunks of them all may be under way."""

    file: RemoteFile
    source: Source
    content_type: str
    patience: Patience
    pacing: Pacing
    jobs: int
    slots: asyncio.Semaphore
    hashing: Hashing
    digest: "asyncio.Task[bytes]"  # SHA-256 of the whole, being computed by `hashing`
    report: Progress
    labels: Mapping[str, str]
    session: str | None = None
    declared: bool = False  # whether the digest reached the server, in this session
    acked: Extents = field(default_factory=Extents)
    tried: Extents = field(default_factory=Extents)  # what this call sent, whatever became of it
    sent: int = 0  # bytes that this call sent and the server stored
    owner: str = ""  # as the server names it

    def adopt(self, session: str | None, there: Extents) -> None:
        """Go on with an upload as the server knows it: its session (None: none is open) and the bytes that it has."""
        if session is None or session != self.session:
            self.declared = False
        self.session = session
        self.acked = there
        self.report(self.acked.total(), self.source.size)

    def stored(self, extent: Extent, answer: ChunkAnswer) -> None:
        """The server has these bytes."""
        self.session = answer.session or self.session
        self.owner = answer.owner
        before = self.acked.total()
        self.acked.add(extent)
        self.sent += self.acked.total() - before
        self.patience.progress()
        self.report(self.acked.total(), self.source.size)

    async def has_all(self, there: Extents) -> bool:
        """Whether the source, though it changed, still has all of these bytes of the server: this call sent them, and
        they were hashed before the change and are the same now."""
        hashed = self.hashing.done
        if not all(self.tried.covers(extent) and extent.end <= hashed for extent in there):
            return False
        return await Hashing(self.source.peek).up_to(hashed) == self.hashing.so_far()
