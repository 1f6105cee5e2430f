"""The object store on a local file system: the embedded default."""

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing, asynccontextmanager, suppress
from pathlib import Path
from typing import ParamSpec, TypeVar

from libs.common.storage import Body, Fence, Fetched, Listing, ObjectInfo, Origin, PartInfo, Stream
from libs.common.storage._bodies import exactly, gathered
from libs.common.storage._checks import check_condition, check_key, check_metadata
from libs.common.storage._fs_files import TempFile, store_errors
from libs.common.storage._fs_parts import PartWriter, copy_part, put_part
from libs.common.storage._fs_places import Places
from libs.common.storage._fs_read import Reader, fetch_object, list_objects, stat_object
from libs.common.storage._fs_tree import Attributes, Tree, When
from libs.common.storage._fs_uploads import Upload, abort, purge

BLOCK = 2**20  # bytes read or written in one hop to a thread
THREADS = 16  # most of them wait for fsync

P = ParamSpec("P")
T = TypeVar("T")


class FilesystemStore:
    """One bucket in one directory, shared by any number of processes of one machine.

    Not for network file systems: it needs flock, and rename that is atomic for every reader. An object becomes
    visible a moment before its name is durable: whoever lists it in that moment may see it go in a power cut,
    but its writer has not been told yet.
    """

    def __init__(self, root: Path) -> None:
        self._places = Places(root)
        self._tree = Tree(self._places)
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="store")

    async def ensure(self) -> None:
        await self._run(self._tree.ensure)
        await self._run(purge, self._places)

    async def close(self) -> None:
        await asyncio.to_thread(self._threads.shutdown)
        self._tree.close()

    def origin(self, key: str, size: int) -> Origin:
        check_key(key)
        return Origin(os.fsdecode(self._places.root), key, size)

    async def put(
        self,
        key: str,
        body: Body,
        *,
        absent: bool = False,
        match: str = "",
        fence: Fence | None = None,
        content_type: str = "application/octet-stream",
        metadata: Mapping[str, str] | None = None,
    ) -> str:
        check_key(key)
        check_condition(body, absent, match)
        attributes, when = Attributes(content_type, check_metadata(metadata or {})), When(fence, absent, match)
        if isinstance(body, Origin):
            return await self._run(self._tree.copy, body, key, attributes, when)
        if not isinstance(body, Stream):
            return await self._run(self._tree.put, key, body, attributes, when)
        file = TempFile(self._places.new_temp())
        try:
            await self._run(file.open)
            await self._feed(body, file.write)
            await self._run(file.sync)
            return await self._run(self._tree.name, file.path, key, attributes, when)
        finally:
            await self._run(file.discard)

    @asynccontextmanager
    async def get(
        self, key: str, start: int = 0, end: int | None = None, *, etag: str = ""
    ) -> AsyncIterator[AsyncIterator[bytes]]:
        reader = Reader(self._places, key, start, end, BLOCK, etag)
        try:
            block = await self._run(reader.open)
            yield self._blocks(reader, block)
        finally:
            reader.close()

    async def _blocks(self, reader: Reader, block: bytes) -> AsyncIterator[bytes]:
        while block:
            yield block
            block = await self._run(reader.read)

    async def stat(self, key: str) -> ObjectInfo:
        return await self._run(stat_object, self._places, key)

    async def list(self, prefix: str, *, start_after: str = "", limit: int = 1000) -> Listing:
        return await self._run(list_objects, self._places, prefix, start_after, limit)

    async def fetch(self, key: str, *, known: str = "") -> Fetched:
        check_key(key)
        return await self._run(fetch_object, self._places, key, known)

    async def delete(self, key: str, *, match: str = "", fence: Fence | None = None) -> None:
        check_key(key)
        await self._run(self._tree.delete_one, key, When(fence, match=match))

    async def delete_many(self, keys: Sequence[str], *, fence: Fence | None = None) -> None:
        await self._run(self._tree.delete, keys, fence)

    async def create_multipart(
        self,
        key: str,
        *,
        part_size: int,
        content_type: str = "application/octet-stream",
        metadata: Mapping[str, str] | None = None,
    ) -> str:
        attributes = Attributes(content_type, check_metadata(metadata or {}))
        return await self._run(Upload.create, self._places, key, part_size, attributes)

    async def put_part(self, key: str, upload_id: str, number: int, body: Body) -> PartInfo:
        upload = await self._run(Upload, self._places, key, upload_id)
        if isinstance(body, Origin):
            return await self._run(copy_part, upload, number, body)
        if not isinstance(body, Stream):
            return await self._run(put_part, upload, number, body)
        writer = PartWriter(upload, number, body.size)
        try:
            await self._run(writer.open)
            return await self._put_part(writer, body)
        finally:
            writer.close()

    async def _put_part(self, writer: PartWriter, body: Stream) -> PartInfo:
        if writer.compares:
            await self._feed(body, writer.compare)
            if part := await self._run(writer.same):
                return part
        await self._feed(body, writer.write)
        return await self._run(writer.finish)

    async def list_parts(self, key: str, upload_id: str) -> Sequence[PartInfo]:
        return await self._run(lambda: Upload(self._places, key, upload_id).parts())

    async def complete_multipart(
        self,
        key: str,
        upload_id: str,
        parts: Sequence[PartInfo],
        *,
        absent: bool = False,
        fence: Fence | None = None,
    ) -> None:
        when = When(fence, absent)
        await self._run(lambda: Upload(self._places, key, upload_id).complete(self._tree, parts, when))

    async def abort_multipart(self, key: str, upload_id: str) -> None:
        await self._run(abort, self._places, key, upload_id)

    async def _feed(self, body: Stream, take: Callable[[bytes], None]) -> None:
        async with aclosing(exactly(body)) as blocks:
            async for block in gathered(blocks, BLOCK):
                await self._run(take, block)

    async def _run(self, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run a blocking call in a thread, and never return before it ends: its files may be closed then."""

        def guarded() -> T:
            with store_errors():
                return call(*args, **kwargs)

        future = asyncio.get_running_loop().run_in_executor(self._threads, guarded)
        try:
            return await asyncio.shield(future)
        except asyncio.CancelledError:
            while not future.done():  # who left may be cancelled again, until it has ended
                with suppress(asyncio.CancelledError):
                    await asyncio.wait([future])
            future.exception()  # seen: asyncio must not complain that nobody looked
            raise
