"""What a process needs of its store: made and tried at start, however long the store takes to come, and looked for as
long as the process runs."""

import asyncio
import random
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass

import structlog

from libs.common.clock import Clock, SystemClock
from libs.common.settings import REFUSALS, ConfigurationError, GiveUp
from libs.common.storage import ObjectNotFound, ObjectStore, StoreError, StoreRefused
from libs.common.uploads.layout import PROBES, probe_key
from libs.common.wiring.conditions import prove_conditions

log = structlog.get_logger(__name__)

_SHORTEST_PAUSE, _LONGEST_PAUSE = 0.2, 5.0  # seconds
_JITTER = random.Random()  # noqa: S311  # no secret; of its own, for tests that look whether they use the shared one
LOOK_INTERVAL = 10.0  # seconds between two looks while all is there
LOOK_AGAIN = 2.0  # seconds between two looks while something is missing
LOOKS_FAILED = 3  # in a row: then the process is not ready; one lost answer takes no replica away


@dataclass(frozen=True)
class BucketNeed:
    """A bucket, and what its service must be able to do there. `setting` names it, as NAME=value; `reads` is a key that
    the service reads, whether or not an object is there. `conditions`: the store must keep conditions and fences."""

    store: ObjectStore
    setting: str
    reads: str = f"{PROBES}none"
    writes: bool = True
    conditions: bool = False

    async def meet(self, *, make: bool = True) -> None:
        """Try each right and condition; with `make`, make the bucket first if it is missing. Raises StoreUnavailable;
        StoreRefused names the right or the condition that is missing."""
        if make:
            await self._may("be made, or seen", self.store.ensure)
        else:
            await self.look()
        await self._may("be read", self._read)
        if self.writes:
            key = probe_key()
            await self._may("be written", lambda: self.store.put(key, b""))
            await self._may("be deleted from", lambda: self.store.delete_many([key]))
        if self.conditions:
            await self._may("be used", lambda: prove_conditions(self.store))

    async def look(self) -> None:
        """See that the bucket is there; make nothing. Raises StoreUnavailable; StoreRefused for one that is gone."""

        async def listed() -> None:
            await self.store.list(PROBES, limit=1)

        await self._may("be listed", listed)

    async def _read(self) -> None:
        with suppress(ObjectNotFound):
            await self.store.stat(self.reads)

    async def _may(self, verb: str, call: Callable[[], Awaitable[object]]) -> None:
        try:
            await call()
        except StoreRefused as error:
            raise StoreRefused(f"{self.setting} may not {verb}: {error}") from None


class Preparation:
    """Meets needs in the background, so that a process starts, and says that it is not ready, while the store is away.
    Then it goes on looking: a process is ready only while its buckets are there.

    A store that refuses from the start, or stays away for `patience` seconds, is a configuration that cannot work:
    `give_up` is told. Once the needs were met it never is. A bucket that vanishes later is not made again: the address
    may lead to another store, and there an empty bucket would say that no device is registered and none revoked
    (docs/decisions/0022-a-vanished-bucket-is-not-made-again.md).
    """

    def __init__(self, *needs: BucketNeed, patience: float, give_up: GiveUp, clock: Clock | None = None) -> None:
        self._needs = needs
        self._patience = patience
        self._give_up = give_up
        self._clock = clock or SystemClock()
        self._task: asyncio.Task[None] | None = None
        self._refusals = 0
        self._trouble = ""
        self.ready = False

    async def start(self) -> None:
        """Try once now; go on in the background."""
        until = self._clock.monotonic() + self._patience
        if not await self._try():
            log.warning("store unavailable, will keep trying", error=self._trouble)
        self._task = asyncio.create_task(self._keep(until), name="preparation")

    async def close(self) -> None:
        if self._task:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _keep(self, until: float) -> None:
        pause = _SHORTEST_PAUSE
        while not self.ready:
            await self._clock.sleep(_JITTER.uniform(pause / 2, pause))
            pause = min(pause * 2, _LONGEST_PAUSE)
            if await self._try():
                log.info("store is there")
            elif reason := self._hopeless(until):
                self._give_up(ConfigurationError(reason))
                return
        await self._look_on()

    async def _look_on(self) -> None:
        failed = 0
        while True:
            pause = LOOK_AGAIN if failed else LOOK_INTERVAL
            await self._clock.sleep(_JITTER.uniform(pause / 2, pause))
            try:
                for need in self._needs:
                    await need.look()
            except Exception as error:  # whatever it is: readiness that nobody keeps up would be a lie
                failed += 1
                if failed == LOOKS_FAILED:
                    self.ready = False
                    log.error("not ready: the store is gone", error=str(error))
            else:
                if not self.ready:
                    log.info("ready: the store is there again")
                failed, self.ready = 0, True

    def _hopeless(self, until: float) -> str:
        """Why no waiting helps; empty while it may."""
        if self._refusals >= REFUSALS:
            return self._trouble
        if self._clock.monotonic() > until:
            return _away(self._needs, self._patience, self._trouble)
        return ""

    async def _try(self) -> bool:
        try:
            for need in self._needs:
                await need.meet()
        except StoreError as error:
            self._refusals = self._refusals + 1 if isinstance(error, StoreRefused) else 0
            self._trouble = str(error)
            return False
        self.ready = True
        return True


def _away(needs: tuple[BucketNeed, ...], patience: float, trouble: str) -> str:
    settings = ", ".join(need.setting for need in needs)
    return (
        f"the store of {settings} does not answer for {patience:g} s: {trouble}. Check that it runs, and its address: "
        "e.g. MINIO_ENDPOINT=minio.example.com:9000"
    )
