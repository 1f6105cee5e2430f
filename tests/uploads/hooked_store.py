"""A store between a process under test and a real one: it counts calls and bytes, holds calls up, lets them fail, and
dies."""

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

from libs.common.storage import (
    Body,
    Buckets,
    Fence,
    Fetched,
    Listing,
    ObjectInfo,
    ObjectStore,
    Origin,
    PartInfo,
    StoreUnavailable,
    Stream,
)

When = Literal["before", "after"]
Act = Callable[[], Awaitable[None]]


class Crash(Exception):
    """The process that made the call is dead."""


class Call(NamedTuple):
    """One call of a store: its method, the keys (or the prefix) that it is about, and the body of a put."""

    method: str
    key: str
    body: Body = b""


@dataclass
class Rule:
    """What happens before or after the next `times` calls of a method about keys that hold `part`."""

    when: When
    method: str
    part: str
    act: Act
    times: int

    def applies(self, when: When, call: Call) -> bool:
        return self.times > 0 and when == self.when and self.method == call.method and self.part in call.key


@dataclass
class Gate:
    """A place where one call waits until the test opens it."""

    reached: asyncio.Event = field(default_factory=asyncio.Event)
    opened: asyncio.Event = field(default_factory=asyncio.Event)

    async def pass_through(self) -> None:
        self.reached.set()
        await self.opened.wait()


class Hooks:
    """What happens at the store calls of one process, on both of its buckets.

    `written`: bytes of every body that the stores took. `held`: bytes of chunks that were read and not yet written, and
    `most_held` the most of them at once: what streaming from store to store keeps in memory."""

    def __init__(self) -> None:
        self.calls: list[Call] = []
        self.written = 0
        self.held = 0
        self.most_held = 0
        self.dead = False
        self._rules: list[Rule] = []
        self._last = 0
        self._jitter: tuple[random.Random, float] | None = None

    def over(self, buckets: Buckets) -> Buckets:
        return Buckets(HookedStore(buckets.temp, self), HookedStore(buckets.perm, self))

    def on(self, method: str, part: str, act: Act, *, when: When = "before", times: int = 1) -> None:
        self._rules.append(Rule(when, method, part, act, times))

    def hold(self, method: str, part: str = "", *, when: When = "before") -> Gate:
        """Hold the next such call up."""
        gate = Gate()
        self.on(method, part, gate.pass_through, when=when)
        return gate

    def fail(self, method: str, part: str = "", *, when: When = "before", times: int = 1) -> None:
        """Let such calls raise StoreUnavailable, without or with their effect."""

        async def refuse() -> None:
            raise StoreUnavailable(f"{method} {part}")

        self.on(method, part, refuse, when=when, times=times)

    def crash(self, number: int) -> None:
        """Die before the call of this number, counted from 1."""
        self._last = number

    def jitter(self, chance: random.Random, longest: float) -> None:
        """Hesitate before and after every call, for at most `longest` seconds."""
        self._jitter = chance, longest

    def count(self, method: str = "", part: str = "") -> int:
        return sum(method in ("", call.method) and part in call.key for call in self.calls)

    def body(self, body: Body) -> Body:
        """The body, counted as it is taken."""
        if isinstance(body, Origin):
            self.written += body.size
            return body
        if not isinstance(body, Stream):
            self.written += memoryview(body).nbytes
            return body
        return Stream(body.size, lambda: self._taken(body.blocks()))

    async def _taken(self, blocks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        async for block in blocks:
            self.written += len(block)
            self.held -= len(block)
            yield block

    async def given(self, key: str, blocks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        """Blocks of an object, counted as they are read."""
        async for block in blocks:
            if key.startswith("chunks/"):
                self.held += len(block)
                self.most_held = max(self.most_held, self.held)
            yield block

    @asynccontextmanager
    async def around(self, call: Call) -> AsyncIterator[None]:
        if self.dead:
            raise Crash
        self.calls.append(call)
        if len(self.calls) == self._last:
            self.dead = True
            raise Crash
        await self._apply("before", call)
        yield
        await self._apply("after", call)

    async def _apply(self, when: When, call: Call) -> None:
        if self._jitter:
            chance, longest = self._jitter
            await asyncio.sleep(chance.uniform(0, longest))
        for rule in self._rules:
            if rule.applies(when, call):
                rule.times -= 1
                await rule.act()


class HookedStore:
    """ObjectStore that tells its hooks of every call."""

    def __init__(self, store: ObjectStore, hooks: Hooks) -> None:
        self._store = store
        self._hooks = hooks

    def _call(self, method: str, *keys: str) -> AbstractAsyncContextManager[None]:
        return self._hooks.around(Call(method, " ".join(keys)))

    async def ensure(self) -> None:
        await self._store.ensure()

    async def close(self) -> None:
        await self._store.close()

    def origin(self, key: str, size: int) -> Origin:
        return self._store.origin(key, size)

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
        async with self._hooks.around(Call("put", key, body)):
            counted = self._hooks.body(body)
            return await self._store.put(
                key, counted, absent=absent, match=match, fence=fence, content_type=content_type, metadata=metadata
            )

    async def fetch(self, key: str, *, known: str = "") -> Fetched:
        async with self._call("fetch", key):
            return await self._store.fetch(key, known=known)

    @asynccontextmanager
    async def get(
        self, key: str, start: int = 0, end: int | None = None, *, etag: str = ""
    ) -> AsyncIterator[AsyncIterator[bytes]]:
        async with self._call("get", key), self._store.get(key, start, end, etag=etag) as blocks:
            yield self._hooks.given(key, blocks)

    async def stat(self, key: str) -> ObjectInfo:
        async with self._call("stat", key):
            return await self._store.stat(key)

    async def list(self, prefix: str, *, start_after: str = "", limit: int = 1000) -> Listing:
        async with self._call("list", prefix):
            return await self._store.list(prefix, start_after=start_after, limit=limit)

    async def delete_many(self, keys: Sequence[str], *, fence: Fence | None = None) -> None:
        async with self._call("delete_many", *keys):
            await self._store.delete_many(keys, fence=fence)

    async def delete(self, key: str, *, match: str = "", fence: Fence | None = None) -> None:
        async with self._call("delete", key):
            await self._store.delete(key, match=match, fence=fence)

    async def create_multipart(
        self,
        key: str,
        *,
        part_size: int,
        content_type: str = "application/octet-stream",
        metadata: Mapping[str, str] | None = None,
    ) -> str:
        async with self._call("create_multipart", key):
            return await self._store.create_multipart(
                key, part_size=part_size, content_type=content_type, metadata=metadata
            )

    async def put_part(self, key: str, upload_id: str, number: int, body: Body) -> PartInfo:
        async with self._call("put_part", key, upload_id, str(number)):
            return await self._store.put_part(key, upload_id, number, self._hooks.body(body))

    async def list_parts(self, key: str, upload_id: str) -> Sequence[PartInfo]:
        async with self._call("list_parts", key, upload_id):
            return await self._store.list_parts(key, upload_id)

    async def complete_multipart(
        self,
        key: str,
        upload_id: str,
        parts: Sequence[PartInfo],
        *,
        absent: bool = False,
        fence: Fence | None = None,
    ) -> None:
        async with self._call("complete_multipart", key, upload_id):
            await self._store.complete_multipart(key, upload_id, parts, absent=absent, fence=fence)

    async def abort_multipart(self, key: str, upload_id: str) -> None:
        async with self._call("abort_multipart", key, upload_id):
            await self._store.abort_multipart(key, upload_id)
