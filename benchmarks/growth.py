"""What growth costs: store calls and time, at the beginning of a file and far into it, and of a sweep."""

import asyncio
import time
from collections.abc import Callable
from typing import Any

from benchmarks.servers import Store
from benchmarks.systems import empty_bucket, make_bucket
from libs.common.bus.memory import MemoryBus
from libs.common.clock import SystemClock
from libs.common.extents import Extent
from libs.common.layout import FileId, chunk_key, fact_key, new_replica, new_session, part_size
from libs.common.store import Buckets
from libs.common.store.minio import MinioStore
from libs.common.sweep import Ages, store_time, sweep
from libs.common.uploads.payload import Payload
from services.assembler.advance import Advancer
from services.ingest.reading import FileReader
from services.ingest.view import Views
from services.ingest.writing import Chunk, ChunkWriter
from tests.unit.core.hooked_store import Hooks

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
        clock, bus = SystemClock(), MemoryBus()
        self.writer = ChunkWriter(counted, bus, clock, Views(counted, clock, new_replica()))
        self.reader = FileReader(counted, clock)
        self.advancer = Advancer(counted, bus, clock)

    async def send(self, number: int, total: int) -> None:
        data = number.to_bytes(8, "big") * (CHUNK // 8)
        payload = Payload(Extent(number * CHUNK, (number + 1) * CHUNK), data)
        await self.writer.write(Chunk(FILE, total, payload))


async def _growing(buckets: Buckets, points: list[int], say: Callable[[str], None]) -> list[dict[str, Any]]:
    total, size = (points[-1] + 2 * SAMPLE) * CHUNK, part_size(0)
    replica, assembler, rows, sent = _Replica(buckets), _Replica(buckets), [], 0
    for point in points:
        for start in range(sent, point, AT_ONCE):
            await asyncio.gather(*(replica.send(n, total) for n in range(start, min(point, start + AT_ONCE))))
            if start * CHUNK // size != (start + AT_ONCE) * CHUNK // size:
                await assembler.advancer.advance(FILE, [start * CHUNK // size])
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
    rows, there = [], 0
    for size in sizes:
        for start in range(there, size, AT_ONCE):
            await asyncio.gather(*(_seed(buckets, n) for n in range(start, min(size, start + AT_ONCE))))
        there = size
        hooks = Hooks()
        began = time.monotonic()
        found = [finding async for finding in sweep(hooks.over(buckets).temp, await store_time(buckets.temp), AGES)]
        row = {"sessions": size, "seconds": time.monotonic() - began, "calls": len(hooks.calls), "found": len(found)}
        say(f"sweep: {row}")
        rows.append(row)
    return rows


async def _seed(buckets: Buckets, number: int) -> None:
    """An upload with one chunk."""
    file, session = FileId(f"device-{number % 997}", f"f{number}"), new_session(2 * CHUNK)
    await buckets.temp.put(fact_key(file, session, "open"), b"{}")
    await buckets.temp.put(chunk_key(file, session, Extent(0, CHUNK), f"{number:064x}"), bytes(CHUNK))


def measure(
    store: Store, points: list[int], sizes: list[int], say: Callable[[str], None]
) -> dict[str, list[dict[str, Any]]]:
    """On buckets of its own; through the protocol alone, without HTTP and broker."""
    names = ("growth-temp", "growth-perm")
    for name in names:
        make_bucket(store, name)

    async def run() -> dict[str, list[dict[str, Any]]]:
        signer = store.signer
        opened = [
            MinioStore(
                endpoint=signer.endpoint, access_key=signer.access_key, secret_key=signer.secret_key, bucket=name
            )
            for name in names
        ]
        try:
            return {
                "growth": await _growing(Buckets(*opened), points, say),
                "sweep": await _sweeping(Buckets(*opened), sizes, say),
            }
        finally:
            for bucket in opened:
                await bucket.close()

    try:
        return asyncio.run(run())
    finally:
        for name in names:
            empty_bucket(store, name)
