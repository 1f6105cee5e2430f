"""What the directory store costs by itself: `python -m benchmarks.directory [--against CHECKOUT]`.

Processor time (user and system) of the process for each call, and calls in a second. With `--against`, two checkouts
alternate, each round in a process of its own, and the ratio within a round counts: a machine that others use too moves
both."""

import argparse
import asyncio
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from itertools import count
from pathlib import Path

from libs.common.storage.filesystem import FilesystemStore

KIB, MIB = 1024, 2**20
PART = 8 * MIB  # bytes
Call = Callable[[int], Awaitable[object]]


class Calls:
    """The calls that the protocol makes, on two buckets in one directory."""

    def __init__(self, root: Path) -> None:
        self.temp, self.perm = FilesystemStore(root / "temp"), FilesystemStore(root / "perm")
        self._numbers = count()

    async def chunk(self, writer: int, body: bytes) -> None:
        """As ingest stores one: its key is new, and each part has a folder."""
        number = next(self._numbers)
        await self.temp.put(
            f"chunks/ab/car-{writer}/log/=0/{number * len(body) // (16 * PART):05d}/{number:016d}", body
        )

    async def record(self, writer: int) -> None:
        """A name's record is created, replaced and deleted: three calls."""
        key, kind = f"uploads/ab/car-{writer}/log-{next(self._numbers)}/=record", "application/json"
        fence = (await self.temp.fetch(key)).fence
        etag = await self.temp.put(key, bytes(400), absent=True, fence=fence, content_type=kind)
        etag = await self.temp.put(key, bytes(400), match=etag, fence=fence, content_type=kind)
        await self.temp.delete(key, match=etag, fence=fence)

    async def file(self, writer: int, body: bytes) -> None:
        """A small file in one request."""
        key = f"files/car-{writer}/{next(self._numbers)}"
        fence = (await self.temp.fetch("uploads/ab/none/=record")).fence
        await self.perm.put(key, body, absent=True, fence=fence, metadata={"session": "0" * 16, "sha256": "0" * 64})

    async def part(self, writer: int, size: int) -> None:
        """A part that is one chunk, stored before."""
        key = f"files/car-{writer}/big"
        upload = await self.perm.create_multipart(key, part_size=PART)
        await self.perm.put_part(key, upload, 1, self.temp.origin("origin", size))
        await self.perm.abort_multipart(key, upload)


async def _timed(call: Call, calls: int, writers: int) -> dict[str, float]:
    """`calls` calls of each of so many writers at once; milliseconds of processor time for one, and calls a second."""

    async def write(writer: int) -> None:
        for _ in range(calls):
            await call(writer)

    began, used = time.perf_counter(), _processor_time()
    await asyncio.gather(*map(write, range(writers)))
    done = calls * writers
    return {"ms": (_processor_time() - used) / done * 1000, "per_s": done / (time.perf_counter() - began)}


def _processor_time() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


async def measure(root: Path) -> dict[str, dict[str, float]]:
    calls = Calls(root)
    for store in (calls.temp, calls.perm):
        await store.ensure()
    await calls.temp.put("origin", os.urandom(PART))
    small, chunk, middle, large = (os.urandom(size) for size in (10 * KIB, 64 * KIB, MIB, PART))
    found = {
        "64 KiB chunk, 16 writers": await _timed(lambda n: calls.chunk(n, chunk), 100, 16),
        "64 KiB chunk, 1 writer": await _timed(lambda n: calls.chunk(n, chunk), 400, 1),
        "1 MiB chunk, 16 writers": await _timed(lambda n: calls.chunk(n, middle), 20, 16),
        "8 MiB chunk, 8 writers": await _timed(lambda n: calls.chunk(n, large), 5, 8),
        "record made, changed, deleted, 16 writers": await _timed(calls.record, 20, 16),
        "10 KiB file, 16 writers": await _timed(lambda n: calls.file(n, small), 30, 16),
        "part of one 8 MiB chunk, 4 writers": await _timed(lambda n: calls.part(n, PART), 6, 4),
    }
    for store in (calls.temp, calls.perm):
        await store.close()
    return found


def rounds(checkouts: list[Path], number: int) -> Iterator[list[dict[str, dict[str, float]]]]:
    """Run every checkout once in each round. The order alternates. Yields the times of each round, in the order of
    `checkouts`."""
    for turn in range(number):
        found = {}
        for checkout in checkouts[:: 1 if turn % 2 else -1]:
            with tempfile.TemporaryDirectory(prefix="hiper-directory-") as root:
                command = [sys.executable, str(Path(__file__).absolute()), "--child", root]
                environment = {**os.environ, "PYTHONPATH": str(checkout)}
                found[checkout] = json.loads(subprocess.check_output(command, env=environment, cwd=checkout))  # noqa: S603  # this file
        yield [found[checkout] for checkout in checkouts]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--against", type=Path, help="another checkout of this repository")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--child", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        print(json.dumps(asyncio.run(measure(options.child))))
        return
    here = Path(__file__).absolute().parent.parent
    checkouts = [here, *filter(None, [options.against and options.against.absolute()])]
    found = list(rounds(checkouts, options.rounds))
    for row in found[0][0]:
        for unit in ("ms", "per_s"):
            values = [[one[row][unit] for one in turn] for turn in found]
            text = " against ".join(f"{statistics.median(column):.3f}" for column in zip(*values, strict=True))
            if options.against:
                ratios = sorted(new / old for new, old in values)
                text += f" = {statistics.median(ratios):.2f} ({ratios[0]:.2f} to {ratios[-1]:.2f})"
            print(f"{row:45} {unit:6} {text}")


if __name__ == "__main__":
    main()
