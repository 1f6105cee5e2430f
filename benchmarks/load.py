"""Loads, and how long a system takes for one."""

import os
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from benchmarks.systems import File, Peer, System

KIB = 1 << 10
MIB = 1 << 20
_RANDOM = memoryview(os.urandom(80 * MIB))
_runs = iter(range(10**9))


@dataclass(frozen=True)
class Load:
    """`devices` at once, each sending `files` files one after the other, in chunks one after the other."""

    chunk: int  # bytes
    devices: int
    chunks: int  # of each file
    files: int = 1  # of each device

    @property
    def size(self) -> int:
        """Bytes in all."""
        return self.chunk * self.chunks * self.files * self.devices

    @property
    def requests(self) -> int:
        return self.chunks * self.files * self.devices

    def of_devices(self) -> list[list[File]]:
        """Fresh files for each device. Chunks are random bytes, and no two at the same place of a file are equal."""
        run = next(_runs)
        return [
            [
                File(f"device-{device}", f"r{run}-f{n}.bin", self._chunks(run * 7919 + device * 104_729 + n * 31))
                for n in range(self.files)
            ]
            for device in range(self.devices)
        ]

    def _chunks(self, seed: int) -> list[memoryview]:
        room = len(_RANDOM) - self.chunk
        starts = [(seed * 4099 + n * 65_537) % room for n in range(self.chunks)]
        return [_RANDOM[start : start + self.chunk] for start in starts]


def random_bytes(size: int) -> memoryview:
    return _RANDOM[:size]


@dataclass(frozen=True)
class Took:
    """Seconds until everything was acknowledged, and until everything was complete."""

    acknowledged: float
    complete: float


def run(system: System, load: Load) -> Took:
    """Upload a load and wait until every file is complete."""
    work = load.of_devices()
    peers = [system.peer(files[0].device) for files in work]

    def send(peer: Peer, files: Sequence[File]) -> None:
        for file in files:
            peer.upload(file)

    def wait(peer: Peer, files: Sequence[File]) -> None:
        for file in files:
            peer.finish(file)

    began = time.monotonic()
    together([lambda p=peer, f=files: send(p, f) for peer, files in zip(peers, work, strict=True)])  # type: ignore[misc]
    acknowledged = time.monotonic() - began
    for peer, files in zip(peers, work, strict=True):
        wait(peer, files)
    return Took(acknowledged, time.monotonic() - began)


def together(calls: Sequence[Callable[[], None]]) -> None:
    """Run calls in threads, all from one moment; raises what the first of them raised. They spend their time in the
    kernel, outside of the interpreter's lock."""
    failures: list[BaseException] = []
    start = threading.Barrier(len(calls))

    def guarded(call: Callable[[], None]) -> None:
        try:
            start.wait()
            call()
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=guarded, args=(call,)) for call in calls]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        raise failures[0]
