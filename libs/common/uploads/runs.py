"""Writing a run, or a copy of rejected bytes: bytes of several objects as one, streamed."""

from collections.abc import Sequence

from libs.common.files.extents import Extent
from libs.common.storage import LEASE, ObjectStore
from libs.common.uploads.layout import part_size
from libs.common.uploads.records import DATE, SLACK
from libs.common.uploads.stock import Source, body, stream

UNNAMED = 86_400.0  # seconds after which a run that no record names is garbage


def can_be_named(began: float, now: float) -> bool:
    """Whether a record may still name runs at `now`. The first run was begun at `began`. A sweep may delete it later,
    because no record names it. Both in seconds, on this process's clock."""
    return now - began < UNNAMED - LEASE - SLACK - DATE


async def write_run(perm: ObjectStore, key: str, sources: Sequence[Source], run: Extent) -> None:
    """Write a run under a key that no other process writes. Raises ObjectNotFound where the bytes moved; then nothing
    is there."""
    size = part_size(run.length)
    if run.length <= size:
        await perm.put(key, stream(sources, run))
        return
    upload = await perm.create_multipart(key, part_size=size)
    try:
        cuts = [Extent(at, min(at + size, run.end)) for at in range(run.start, run.end, size)]
        parts = [await perm.put_part(key, upload, n, body(sources, cut)) for n, cut in enumerate(cuts, start=1)]
        await perm.complete_multipart(key, upload, parts)
    except BaseException:
        await perm.abort_multipart(key, upload)
        raise
