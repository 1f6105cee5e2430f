"""The machine, which the processes that share the tests divide: a few tests need it for themselves."""

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def share_of(folder: Path, *, alone: bool) -> Iterator[None]:
    """Wait for the turn of a test. One that runs `alone` waits until all others have ended, and the gate keeps back
    those that come after it. The files of `folder` are the same for all processes."""
    with (folder / "gate").open("w") as gate, (folder / "machine").open("w") as machine:
        fcntl.flock(gate, fcntl.LOCK_EX)
        fcntl.flock(machine, fcntl.LOCK_EX if alone else fcntl.LOCK_SH)
        fcntl.flock(gate, fcntl.LOCK_UN)
        try:
            yield
        finally:
            fcntl.flock(machine, fcntl.LOCK_UN)  # a child that was forked meanwhile holds the file open
