"""Writing a run: bytes of several objects as one, streamed."""

from collections.abc import Sequence

from libs.common.extents import Extent
from libs.common.store import ObjectStore
from libs.common.uploads.layout import part_size
from libs.common.uploads.stock import Source, body, stream


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
