"""What the fleet's uploads cost at a glance: `python -m benchmarks.fleet_view [ROWS]`.

No store and no broker: the bytes of the object, the memory that a replica holds, and the processor time of each step.
"""

import asyncio
import random
import sys
import time
import tracemalloc
from collections.abc import Callable
from typing import Any

from libs.common.bus.events import ChunkReceived, ChunkReceivedData
from libs.common.fleet.filters import Filter
from libs.common.fleet.live import Live
from libs.common.fleet.rows import UploadRow
from libs.common.fleet.tables import UPLOADS, Table, decode, encode

NOW = 1_800_000_000.0
HEARD = 10_000  # events


def fleet(rows: int) -> list[UploadRow]:
    """Three uploads for each device, with names and numbers as logs have them."""
    chance = random.Random(rows)  # noqa: S311  # no secret
    return sorted(
        UploadRow(
            f"vehicle-{n // 3:07d}", f"logs/2026-12-01/drive-{chance.randrange(10_000):04d}.mcap",
            chance.randbytes(8).hex(), chance.randrange(2**34), received := chance.randrange(2**33), received,
            round(NOW - chance.random() * 1000, 6), False, {"kind": "drive"}, "default",
            round(chance.random() * 1e6, 1),
        )
        for n in range(rows)
    )  # fmt: skip


def timed(say: str, call: Callable[[], Any]) -> Any:
    began = time.perf_counter()
    found = call()
    print(f"{say:<60}{(time.perf_counter() - began) * 1000:>10.1f} ms")
    return found


async def longest_turn(say: str, live: Live, rows: list[UploadRow]) -> None:
    """Take over a table, and for how long everything else in the process waits meanwhile."""
    turns, over = [0.0], False

    async def others() -> None:
        before = time.perf_counter()
        while not over:
            await asyncio.sleep(0)
            now = time.perf_counter()
            turns.append(now - before)
            before = now

    task = asyncio.create_task(others())
    await asyncio.sleep(0)
    began = time.perf_counter()
    await live.replace(NOW, rows, NOW)
    took, over = time.perf_counter() - began, True
    await task
    print(f"{say:<60}{took * 1000:>10.1f} ms, others wait {max(turns) * 1000:.1f} ms at most")


async def page(live: Live, wanted: Filter, limit: int) -> int:
    found = 0
    async for _ in live.matching(wanted, None, NOW):
        found += 1
        if found == limit:
            break
    return found


async def shown(say: str, live: Live, wanted: Filter, limit: int) -> None:
    began = time.perf_counter()
    found = await page(live, wanted, limit)
    print(f"{say:<60}{(time.perf_counter() - began) * 1000:>10.1f} ms, {found} rows")


async def measure(count: int) -> None:
    rows = fleet(count)
    print(f"{count} uploads in progress")
    data = timed("janitor: write the object", lambda: encode(UPLOADS, Table(NOW, rows)))
    print(f"{'its size':<60}{len(data) / 2**20:>10.1f} MiB, {len(data) / count:.0f} bytes for each")
    table = timed("replica: read the object (in a thread)", lambda: decode(UPLOADS, data))
    del table
    tracemalloc.start()
    table, live = decode(UPLOADS, data), Live(300)
    await live.replace(NOW, table.rows, NOW)
    held = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    print(f"{'memory of the rows in a replica':<60}{held / 2**20:>10.1f} MiB, {held / count:.0f} bytes for each")
    await longest_turn("replica: take over the first table", Live(300), table.rows)
    changed = [row._replace(received_bytes=row.received_bytes + 1) for row in table.rows]
    await longest_turn("replica: take over the next, in which every row changed", live, changed)
    events = [_event(random.choice(rows)) for _ in range(HEARD)]  # noqa: S311  # no secret
    timed(f"replica: hear {HEARD} events", lambda: _hear(live, events))
    await shown("a page of 100 of all", live, Filter(), 100)
    await shown("the uploads of one owner", live, Filter(owner=rows[count // 2].owner), 100)
    await shown("a filter that no row matches", live, Filter(device_class="none"), 100)
    timed("what changed in the last 10,000 changes", lambda: live.changes(live.number - 10_000, Filter()))


def _hear(live: Live, events: list[ChunkReceived]) -> None:
    for event in events:
        live.hear(event, NOW)


def _event(row: UploadRow) -> ChunkReceived:
    data = ChunkReceivedData(
        owner=row.owner, filename=row.filename, session=row.session, start=row.next_expected_byte, length=2**20,
        offset=row.next_expected_byte + 2**20, total_size=row.total_size, filled_parts=[],
    )  # fmt: skip
    return ChunkReceived(source="/hiper/ingest", subject=f"{row.owner}/{row.filename}", data=data)


if __name__ == "__main__":
    asyncio.run(measure(int(sys.argv[1]) if len(sys.argv) > 1 else 100_000))
