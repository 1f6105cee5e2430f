"""What growth costs: store calls and time, at the beginning of a file and far into it, and of a sweep."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from benchmarks.servers import Store
from benchmarks.systems import empty_bucket, make_bucket
from libs.common.bus.memory import MemoryBus
from libs.common.clock import SystemClock
from libs.common.files.extents import Extent
from libs.common.storage import Buckets
from libs.common.storage.minio import MinioStore
from libs.common.uploads.assembling import Assembler
from libs.common.uploads.layout import (
    MIN_PART_SIZE,
    FileId,
    chunk_key,
    new_session,
    new_version,
    record_key,
)
from libs.common.uploads.payload import Payload
from libs.common.uploads.reading import FileReader
from libs.common.uploads.record import Record
from libs.common.uploads.sweeping import Ages, Sweep, findings, store_time
from libs.common.uploads.tools import Tools
from libs.common.uploads.writing import Chunk, ChunkWriter
from tests.uploads.hooked_store import Hooks

CHUNK = 1024  # bytes; 8,192 fill a part
AT_ONCE = 32  # requests in flight while a file or a bucket is filled
SAMPLE = 20  # chunks that are timed at each point
FILE = FileId("device-0", "growing.bin")
AGES = Ages.of(3600, 60)


class _Replica:
    """An ingest of its own, with its calls counted."""

    def __init__(self, buckets: Buckets) -> None:
        self.hooks = Hooks()
        counted = self.hooks.over(buckets)
        tools = Tools(counted, MemoryBus(), SystemClock())
        self.writer = ChunkWriter(tools)
        self.reader = FileReader(counted, tools.clock)
        self.assembler = Assembler(tools)

    async def send(self, number: int, total: int) -> None:
        data = number.to_bytes(8, "big") * (CHUNK // 8)
        payload = Payload(Extent(number * CHUNK, (number + 1) * CHUNK), data)
        await self.writer.write(Chunk(FILE, total, payload))

    async def assemble(self, part: int) -> None:
        while not await self.assembler.add(FILE, [part]):
            pass


async def _growing(buckets: Buckets, points: list[int], say: Callable[[str], None]) -> list[dict[str, Any]]:
    total, size = (points[-1] + 2 * SAMPLE) * CHUNK, MIN_PART_SIZE
    replica, assembler, rows, sent = _Replica(buckets), _Replica(buckets), [], 0
    for point in points:
        for start in range(sent, point, AT_ONCE):
            await asyncio.gather(*(replica.send(n, total) for n in range(start, min(point, start + AT_ONCE))))
            if start * CHUNK // size != (start + AT_ONCE) * CHUNK // size:
                await assembler.assemble(start * CHUNK // size)
        calls, began = len(replica.hooks.calls), time.monotonic()
        for number in range(point, point + SAMPLE):
            await replica.send(number, total)
        sent = point + SAMPLE
        row = {
            "chunk": point,
            "calls per chunk": (len(replica.hooks.calls) - calls) / SAMPLE,
            "ms per chunk": 1000 * (time.monotonic() - began) / SAMPLE,
        }
        asking, began = _Replica(buckets), time.monotonic()
        await asking.reader.state(FILE)
        row |= {"calls for a status": len(asking.hooks.calls), "ms for a status": 1000 * (time.monotonic() - began)}
        say(f"growth: {row}")
        rows.append(row)
    return rows


async def _sweeping(buckets: Buckets, sizes: list[int], say: Callable[[str], None]) -> list[dict[str, Any]]:
    """The first sweep of a process reads every record; the next one those alone that changed."""
    rows, there = [], 0
    for size in sizes:
        for start in range(there, size, AT_ONCE):
            numbers = range(start, min(size, start + AT_ONCE))
            await asyncio.gather(*(seed(buckets, FileId(f"device-{n % 997}", f"f{n}")) for n in numbers))
        there = size
        await asyncio.sleep(2)  # what was written a moment before is read again
        hooks = Hooks()
        sweep, row = Sweep(hooks.over(buckets).temp), dict[str, Any](sessions=size)
        for which in ("first", "next"):
            hooks.calls.clear()
            began, now = time.monotonic(), await store_time(buckets.temp)
            found = [found async for swept in sweep.names(now) for found in findings(swept, now, AGES)]
            row |= {f"{which}: seconds": time.monotonic() - began, f"{which}: calls": len(hooks.calls)}
        say(f"sweep: {row}")
        rows.append(row | {"found": len(found)})
    return rows


async def seed(buckets: Buckets, file: FileId) -> None:
    """An upload with one chunk."""
    session = new_session()
    record = Record(state="open", version=new_version(), session=session, total_size=2 * CHUNK)
    await buckets.temp.put(record_key(file), record.model_dump_json().encode())
    await buckets.temp.put(chunk_key(file, session, 0, Extent(0, CHUNK), "0" * 64), bytes(CHUNK))


@asynccontextmanager
async def opened(store: Store, names: tuple[str, str]) -> AsyncIterator[Buckets]:
    """The temporary and the permanent bucket of these names."""
    signer = store.signer
    buckets = [
        MinioStore(endpoint=signer.endpoint, access_key=signer.access_key, secret_key=signer.secret_key, bucket=name)
        for name in names
    ]
    try:
        yield Buckets(*buckets)
    finally:
        for bucket in buckets:
            await bucket.close()


def measure(
    store: Store, points: list[int], sizes: list[int], say: Callable[[str], None]
) -> dict[str, list[dict[str, Any]]]:
    """On buckets of its own; through the protocol alone, without HTTP and broker."""
    names = "growth-temp", "growth-perm"
    for name in names:
        make_bucket(store, name)

    async def run() -> dict[str, list[dict[str, Any]]]:
        async with opened(store, names) as buckets:
            return {
                "growth": await _growing(buckets, points, say),
                "sweep": await _sweeping(buckets, sizes, say),
            }

    try:
        return asyncio.run(run())
    finally:
        for name in names:
            empty_bucket(store, name)
