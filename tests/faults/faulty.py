"""`python -m tests.faults.faulty MODULE`: runs a service's own main with hooks on its ports. The service knows nothing.

| environment | does |
|---|---|
| `HIPER_FAULT` | a `FaultPoint` at which the process kills itself with SIGKILL |
| `HIPER_PART_SIZE` | bytes in a part, so that a file of many parts is small; a directory takes any size |
| `HIPER_KEPT_CLOSED` | seconds that the record of a cancelled upload stays, instead of a minute |
| `HIPER_CLOCK_JUMPS` | seconds between jumps of `time.time`: right, an hour ahead, an hour behind |

Auth's clock does not jump, because it dates the tokens: see tests/unit/auth/test_clock_jumps.py.
"""

import os
import runpy
import signal
import sys
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from libs.common.bus import EventBus
from libs.common.bus.events import Event
from libs.common.settings import GiveUp, Settings
from libs.common.storage import ObjectStore
from libs.common.uploads import layout, tidying
from libs.common.wiring import resources
from libs.common.wiring.needs import Bucket
from tests.faults.points import FaultPoint, kind_of
from tests.uploads.hooked_store import Call, HookedStore, Hooks, When

HOUR = 3600.0  # seconds


class Killer(Hooks):
    """Kills the process before or after the n-th call that a fault point names."""

    def __init__(self, point: FaultPoint) -> None:
        super().__init__()
        self._point = point
        self._left = point.nth

    @asynccontextmanager
    async def around(self, call: Call) -> AsyncIterator[None]:
        hit = self._hits(call)
        self.die("before", hit)
        yield
        self.die("after", hit)

    def hits_event(self, event: Event) -> bool:
        return self._counts("publish", [(event.type.split(".")[1], event.data.filename)])

    def die(self, when: When, hit: bool) -> None:
        if hit and when == self._point.when:
            os.kill(os.getpid(), signal.SIGKILL)

    def _hits(self, call: Call) -> bool:
        return self._counts(call.method, [kind_of(key, call.body) for key in call.key.split(" ") if "/" in key])

    def _counts(self, method: str, about: Sequence[tuple[str, str]]) -> bool:
        if method != self._point.call or (self._point.kind, self._point.filename) not in about:
            return False
        self._left -= 1
        return self._left == 0


def add_fault(point: FaultPoint) -> None:
    """Put the hooks on every store and bus that the process opens from now on."""
    killer, new_store, new_bus = Killer(point), resources.new_store, resources.new_bus

    def hooked_store(settings: Settings, name: Bucket) -> ObjectStore:
        return HookedStore(new_store(settings, name), killer)

    def hooked_bus(settings: Settings, give_up: GiveUp | None = None) -> EventBus:
        bus = new_bus(settings, give_up)
        publish = bus.publish

        def hooked_publish(event: Event) -> None:
            hit = killer.hits_event(event)
            killer.die("before", hit)
            publish(event)
            killer.die("after", hit)

        bus.publish = hooked_publish  # type: ignore[method-assign]  # of this one bus
        return bus

    resources.new_store, resources.new_bus = hooked_store, hooked_bus


def add_jumps(pause: float) -> None:
    """Let `time.time` jump every `pause` seconds."""
    right, began, shifts = time.time, time.monotonic(), [0.0, HOUR, -HOUR]
    time.time = lambda: right() + shifts[int((time.monotonic() - began) / pause) % len(shifts)]


def main() -> None:
    if fault := os.environ.get("HIPER_FAULT"):
        add_fault(FaultPoint.parse(fault))
    module = sys.argv.pop(1)
    pause = os.environ.get("HIPER_CLOCK_JUMPS")
    if pause and module != "services.auth":
        add_jumps(float(pause))
    if size := os.environ.get("HIPER_PART_SIZE"):
        layout.MIN_PART_SIZE = int(size)
    if kept := os.environ.get("HIPER_KEPT_CLOSED"):
        tidying.KEPT_CLOSED = float(kept)
    runpy.run_module(module, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
