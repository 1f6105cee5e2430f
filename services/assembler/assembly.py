"""Building the final object of a file whose bytes are all there: what `advance` and closing share."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import TypedDict

from libs.common.gather import (
    Assembly,
    Source,
    counting_upload,
    coverage,
    find_assembly,
    full_parts,
    gather,
    media_type,
)
from libs.common.layout import assembly_fact, digests_prefix, fact_key, file_key, part_count, part_extent, part_size
from libs.common.look import Look
from libs.common.store import (
    Buckets,
    Fence,
    ObjectInfo,
    ObjectStore,
    Stream,
    UploadNotFound,
)
from services.assembler.runs import body, sha256_of, write_run


class _About(TypedDict):
    content_type: str
    metadata: dict[str, str]


Right = Callable[[], Awaitable[Look]]
"""Looks again; raises Superseded when what the caller is about to do is not its to do any more."""


class Superseded(Exception):
    """The uploads of the file are not any more what a look showed: somebody else went on. Look again."""


class DigestMismatch(Exception):
    """The bytes are not those that were declared. Digests are SHA-256 in hex."""

    def __init__(self, declared: str, computed: str) -> None:
        super().__init__(f"declared {declared}, computed {computed}")
        self.declared = declared
        self.computed = computed


@dataclass(frozen=True)
class Ready:
    """A file whose bytes are all there: all in one multipart upload, or (a file of one part) in these sources.
    `look`: one that was taken after the last byte was seen, if it was."""

    assembly: Assembly | None
    sources: Sequence[Source] = ()
    look: Look | None = None

    @property
    def sole_chunk(self) -> Source | None:
        """The chunk that is the whole file, where one is."""
        is_sole = len(self.sources) == 1 and not self.sources[0].is_partial
        return self.sources[0] if is_sole and self.assembly is None else None


@dataclass(frozen=True)
class Finished:
    """A file that was made one object, and the look that showed the right to it."""

    look: Look
    info: ObjectInfo


def is_single(total_size: int) -> bool:
    """Whether a file is put directly: it has one part at most."""
    return total_size <= part_size(total_size)


async def record_assembly(buckets: Buckets, look: Look) -> Assembly:
    """The multipart upload that counts, opened and recorded under the session if there is none.

    Recorded before any chunk is read: a closing aborts what is recorded after it has deleted the chunks. Raises
    UploadNotFound when the one that counts is gone (purged by the store, or just completed): its record is dropped,
    and no other, for what is not recorded is never aborted.
    """
    found = await find_assembly(buckets.perm, look)
    if found:
        return found
    session, recorded = look.open[0], counting_upload(look)
    if recorded:
        gone = assembly_fact(recorded)
        await buckets.temp.delete_many([fact_key(look.file, s.id, gone) for s in look.open if gone in s.facts])
        raise UploadNotFound(look.file.filename)
    upload_id = await buckets.perm.create_multipart(
        file_key(look.file),
        part_size=part_size(session.total_size),
        content_type=await media_type(buckets.temp, look),
        metadata={"session": session.id},
    )
    await buckets.temp.put(fact_key(look.file, session.id, assembly_fact(upload_id)), b"")
    return Assembly(upload_id, {})


async def add_parts(buckets: Buckets, look: Look, assembly: Assembly, sources: Sequence[Source]) -> Ready | None:
    """Write the parts that the sources fill and the upload lacks; Ready when all parts are there then."""
    total_size, key = look.open[0].total_size, file_key(look.file)
    missing = [part for part in range(part_count(total_size)) if part not in assembly.parts]
    for part in full_parts(total_size, coverage(sources), missing):
        content = body(sources, part_extent(total_size, part))
        assembly.parts[part] = await buckets.perm.put_part(key, assembly.upload_id, part + 1, content)
    return Ready(assembly) if len(assembly.parts) == part_count(total_size) else None


async def finish(buckets: Buckets, ready: Ready, right: Right) -> Finished:
    """Make the final object, or raise DigestMismatch. A look after the last byte was seen shows the digest: that is
    declared before the last byte is stored."""
    look = ready.look or await _open_look(right)
    if look.digests:
        sources = ready.sources if ready.assembly is None else await gather(buckets, look)
        computed = await sha256_of(sources, look.open[0].total_size)
        look = await _open_look(right)
        for declared in look.digests - {computed}:
            raise DigestMismatch(declared, computed)
        await _keep_digest(buckets.perm, look, computed)
    if ready.assembly is None:
        await _put_directly(buckets, look, ready.sources, right)
    else:
        await _complete(buckets, look, ready.assembly)
    session = look.open[0]
    info = ObjectInfo(
        file_key(look.file), session.total_size, look.fence.issued, metadata={"session": session.id}
    )  # of its making, which is what `modified` will say but for a moment
    return Finished(look, info)


async def _open_look(right: Right) -> Look:
    """Look again. Another closer may have deleted all facts but the markers: then it finished the file."""
    look = await right()
    if not look.open:
        raise Superseded(look.file)
    return look


async def _keep_digest(perm: ObjectStore, look: Look, checked: str) -> None:
    """Remember, before the file is there, which digest it was checked against: one declared later was not."""
    key = f"{digests_prefix(look.file, look.open[0].id)}{checked}"
    await perm.put(key, b"", fence=look.fence)


async def _complete(buckets: Buckets, look: Look, assembly: Assembly) -> None:
    parts = [assembly.parts[part] for part in sorted(assembly.parts)]
    key = file_key(look.file)
    await buckets.perm.complete_multipart(key, assembly.upload_id, parts, fence=look.fence)


async def _put_directly(buckets: Buckets, look: Look, sources: Sequence[Source], right: Right) -> None:
    """A file of one part at most: at once where no byte passes through here, else from behind a new look."""

    async def fence() -> Fence:
        return (await right()).fence

    session, key = look.open[0], file_key(look.file)
    about: _About = {"content_type": await media_type(buckets.temp, look), "metadata": {"session": session.id}}
    extent = part_extent(session.total_size, 0)
    content = body(sources, extent) if extent.length else b""
    if isinstance(content, Stream):
        await write_run(buckets.perm, key, sources, extent, fence, **about)
    else:
        await buckets.perm.put(key, content, fence=look.fence, **about)
