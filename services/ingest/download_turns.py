"""Whose turn it is to read from the store: devices take turns, however many downloads each of them has."""

import asyncio
from collections import deque

from libs.common.problems import Kind, Problem, later
from services.ingest.metrics import AT_CLIENT, AT_STORE, AT_TURN

# Neither is a setting. TURNS belongs to the size of the store's pool of connections: where downloads wait long,
# more replicas bring more turns (HiperDownloadsWait).
TURNS = 64  # downloads of one process that read from the store at once; the rest of its 100 connections is for others
FIRST_TURN_WAIT = (
    10.0  # seconds that a download waits for its first turn: shorter than the usual timeout of a proxy, 60
)


class Turns:
    """Which downloads may read from the store. A turn goes to each device that waits for one, round and round; of one
    device's downloads to the one that waits longest."""

    def __init__(self, most: int = TURNS) -> None:
        self._free = most
        self._places: dict[str, deque[asyncio.Future[None]]] = {}  # the device that is next comes first
        self.waiting = 0

    async def take(self, device: str, patience: float | None = None) -> None:
        """Wait for a turn, at most `patience` seconds: then raises BUSY. None: for as long as it takes."""
        self._wait(1)
        try:
            async with asyncio.timeout(patience):
                await self._come(device)
        except TimeoutError:
            detail = "Too many downloads are under way. Try again later."
            raise Problem(Kind.BUSY, detail, headers=later(FIRST_TURN_WAIT)) from None
        finally:
            self._wait(-1)
        AT_CLIENT.dec()
        AT_STORE.inc()

    def give_back(self) -> None:
        AT_STORE.dec()
        AT_CLIENT.inc()
        self._hand_on()

    async def _come(self, device: str) -> None:
        if self._free:
            self._free -= 1
            return
        place = asyncio.get_running_loop().create_future()
        self._places.setdefault(device, deque()).append(place)
        try:
            await place
        except asyncio.CancelledError:
            if not place.cancelled():
                self._hand_on()  # it had come already
            raise

    def _hand_on(self) -> None:
        while self._places:
            device = next(iter(self._places))
            places = self._places.pop(device)
            place = places.popleft()
            if places:
                self._places[device] = places  # behind the others
            if not place.done():
                place.set_result(None)
                return
        self._free += 1

    def _wait(self, more: int) -> None:
        self.waiting += more
        AT_CLIENT.dec(more)
        AT_TURN.inc(more)
