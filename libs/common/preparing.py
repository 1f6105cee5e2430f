"""Making what is missing at start, however long the store takes to come."""

import asyncio
import random

import structlog

from libs.common.store import ObjectStore, StoreUnavailable

log = structlog.get_logger(__name__)

_LONGEST_PAUSE = 5.0  # seconds


class Preparation:
    """Makes buckets in the background, so that a process starts, and says that it is not ready, while they are away."""

    def __init__(self, *stores: ObjectStore) -> None:
        self._stores = stores
        self._task: asyncio.Task[None] | None = None
        self.done = False

    async def start(self) -> None:
        """Try once now; go on in the background if the store is away."""
        if not await self._try(first=True):
            self._task = asyncio.create_task(self._keep_trying())

    async def close(self) -> None:
        if self._task:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _keep_trying(self) -> None:
        pause = 0.2
        while not self.done:
            await asyncio.sleep(random.uniform(pause / 2, pause))  # noqa: S311  # jitter, not a secret
            pause = min(pause * 2, _LONGEST_PAUSE)
            await self._try(first=False)
        log.info("store is there")

    async def _try(self, *, first: bool) -> bool:
        try:
            for store in self._stores:
                await store.ensure()
        except StoreUnavailable as error:
            if first:
                log.warning("store unavailable, will keep trying", error=str(error))
            return False
        self.done = True
        return True
