"""The things that one process of the protocol works with."""

from dataclasses import dataclass
from functools import cached_property

from libs.common.bus import EventBus
from libs.common.bus.events import Event
from libs.common.clock import Clock
from libs.common.storage import Buckets
from libs.common.uploads.records import Records
from libs.common.uploads.watch import UNWATCHED, Watch


@dataclass(frozen=True)
class Tools:
    """Ports, a clock, and a watcher of the work."""

    buckets: Buckets
    bus: EventBus
    clock: Clock
    watch: Watch = UNWATCHED

    @cached_property
    def records(self) -> Records:
        return Records(self.buckets, self.clock)

    def tell(self, event: Event) -> None:
        """Publish an outcome."""
        self.bus.publish(event)
        self.watch.told(event)
