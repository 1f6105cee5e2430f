"""A storage of counters that several processes share, and that can be away; known to the library by its scheme."""

import asyncio
from typing import ClassVar

from limits.aio.storage import MemoryStorage


class SharedStorage(MemoryStorage):
    """`shared://`."""

    STORAGE_SCHEME = ["async+shared"]  # noqa: RUF012  # as in the library
    mode: ClassVar = "there"

    async def incr(self, key: str, expiry: float, amount: int = 1) -> int:
        if self.mode == "broken":
            raise ConnectionError("refused")
        if self.mode == "silent":
            await asyncio.sleep(3600)
        return await super().incr(key, expiry, amount)
