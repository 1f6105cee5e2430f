"""Many histories, on several processors, and one history to read."""

import gc
import signal
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack, suppress
from itertools import chain

from tests.uploads.simulation.history import Outcome, run

BLOCK = 10  # histories that a worker is handed at once, and after which it collects garbage


def replay(seed: int, *, faults: bool, broken: str) -> int:
    """Print what happened in a history. 1 if something in it is wrong."""
    with _broken(broken):
        outcome = run(seed, faults=faults, tracing=True)
    print("\n".join(outcome.trace))
    print(f"seed {seed}: {outcome.calls} store calls in {outcome.seconds:.0f} simulated seconds")
    for violation in outcome.violations:
        print(f"VIOLATION {violation}")
    return bool(outcome.violations)


def soak(first: int, count: int, jobs: int, *, faults: bool, broken: str, stop: bool) -> int:
    """Live through histories until all are done, or Ctrl-C."""
    began, done, failed = time.perf_counter(), 0, 0
    calls = seconds = 0.0
    met: Counter[str] = Counter()
    with suppress(KeyboardInterrupt):
        for outcome in _outcomes(first, count, jobs, faults, broken):
            done += 1
            calls += outcome.calls
            seconds += outcome.seconds
            met.update(outcome.met)
            if outcome.violations:
                failed += 1
                if failed <= 30:
                    print(f"seed {outcome.seed}: {outcome.violations[0]}", flush=True)
                if stop:
                    break
            if done % 10_000 == 0:
                pace = done / (time.perf_counter() - began)
                print(f"{done} histories, {failed} violate, {pace:.0f} per second", flush=True)
    if not done:
        print("no history was done")
        return False
    took = time.perf_counter() - began
    print(table(done, failed, done / took, calls, met))
    print(
        f"{failed} of {done} histories violate; {done / took:.1f} histories per second, "
        f"{calls / done:.0f} store calls and {seconds / done:.0f} simulated seconds in each"
    )
    return bool(failed)


def table(done: int, failed: int, pace: float, calls: float, met: Counter[str]) -> str:
    """A table in Markdown: what happened in all histories together."""
    rows = {
        "histories, and a second": f"{done:,}, {pace:.0f}",
        "store calls": f"{calls:,.0f}",
        "chunks acknowledged": f"{met['acknowledged']:,}",
        "processes killed before a call took effect, and after": f"{met['killed before']:,}, {met['killed after']:,}",
        "calls or processes held up": f"{met['held up']:,}",
        "calls that failed": f"{met['refused']:,}",
        "calls that timed out but took effect, at once and later": f"{met['unanswered']:,}, {met['late']:,}",
        "open multipart uploads purged": f"{met['purged']:,}",
        "events lost": f"{met['events lost']:,}",
        "**promises broken**": f"**{failed}**",
    }
    return "\n".join(["| | |", "|---|---|", *(f"| {name} | {value} |" for name, value in rows.items())])


def _outcomes(first: int, count: int, jobs: int, faults: bool, broken: str) -> Iterator[Outcome]:
    blocks = [(at, min(BLOCK, first + count - at), faults, broken) for at in range(first, first + count, BLOCK)]
    if jobs == 1:
        for block in blocks:
            yield from _block(*block)
        return
    pool = ProcessPoolExecutor(jobs, initializer=_prepare)
    try:
        yield from chain.from_iterable(pool.map(_unpacked, blocks))
    finally:
        pool.shutdown(cancel_futures=True)


def _prepare() -> None:
    """What a worker does at first: leave Ctrl-C to its parent, and what was imported out of every collection."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    gc.freeze()


def _unpacked(block: tuple[int, int, bool, str]) -> list[Outcome]:
    return list(_block(*block))


def _block(first: int, count: int, faults: bool, broken: str) -> Iterator[Outcome]:
    with _broken(broken):
        for seed in range(first, first + count):
            yield run(seed, faults=faults)
    gc.collect()


def _broken(name: str) -> ExitStack:
    stack = ExitStack()
    if name:
        from tests.uploads.simulation.breakages import BREAKAGES

        stack.enter_context(BREAKAGES[name].applied())
    return stack
