"""ObjectStore as one process has it: latencies, failures, time-outs, and its own death at every call."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from typing import Any, Protocol, TypeVar

from libs.common.storage import (
    LEASE,
    Body,
    Fence,
    FenceExpired,
    Fetched,
    Listing,
    ObjectInfo,
    Origin,
    PartInfo,
    StoreError,
    StoreUnavailable,
    Stream,
)
from tests.simulation.bucket import Bucket, Upload
from tests.simulation.loop import Process
from tests.simulation.odds import Odds, Plan

T = TypeVar("T")
DELAY = 1.9  # seconds from accepting a request to its effect, at most; SLACK allows for that and for clocks that differ
TRAVEL = (0.0, 0.0, 2.0, 5.0, 15.0, 50.0, 200.0)  # seconds that a request without an answer may be on its way
LATEST = max(TRAVEL) + DELAY


class Site(Protocol):
    """What a store needs of its world."""

    odds: Odds
    outside: Process
    temp: Bucket
    perm: Bucket
    tracing: bool
    suspects: set[str]  # processes of which a call failed, so that they may have left a multipart upload behind

    def say(self, *words: object) -> None: ...

    def date(self, now: float) -> float:
        """A moment as one of the store's nodes tells it in a Date or Last-Modified field."""
        ...

    def node_time(self, now: float) -> float:
        """A moment as one of the store's nodes knows it."""
        ...


class Killed(Exception):
    """A process that is dead asks for something on its way out."""


def kind(key: str) -> str:
    """What a key is about, for people and for odds: `chunks`, `uploads`, `files`, ..."""
    return key.split("/")[0]


class SimStore:
    def __init__(self, site: Site, process: Process, bucket: Bucket) -> None:
        self._site = site
        self._process = process
        self._bucket = bucket

    async def ensure(self) -> None: ...

    async def close(self) -> None: ...

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
        data = await self._read(body)

        def effect() -> str:
            about = content_type, metadata or {}
            return self._bucket.put(key, data(), *about, absent=absent, match=match)

        return await self._call("put", key, effect, fence=fence)

    async def fetch(self, key: str, *, known: str = "") -> Fetched:
        began, chance = self._process.loop.now, self._site.odds.chance

        def effect() -> Fetched:
            fence = Fence(self._site.date(min(self._process.loop.now, began + 0.25 * chance.random())))
            found = self._bucket.objects.get(key)
            if not found:
                return Fetched(fence)
            if found.info.etag == known:
                return Fetched(fence, unchanged=True)
            info = replace(found.info, modified=self._site.date(found.info.modified))
            return Fetched(fence, info, found.data)

        return await self._call("fetch", key, effect)

    @asynccontextmanager
    async def get(
        self, key: str, start: int = 0, end: int | None = None, *, etag: str = ""
    ) -> AsyncIterator[AsyncIterator[bytes]]:
        data = (await self._call("get", key, lambda: self._bucket.find(key, etag))).data[start:end]
        yield self._blocks(key, data)

    async def _blocks(self, key: str, data: bytes) -> AsyncIterator[bytes]:
        half = len(data) // 2
        if half and self._site.odds.chance.random() < 0.2:
            yield data[:half]
            await self._call("get", key, lambda: None)  # the connection may break here, or stall
            data = data[half:]
        if data:
            yield data

    async def stat(self, key: str) -> ObjectInfo:
        return (await self._call("stat", key, lambda: self._bucket.find(key))).info

    async def list(self, prefix: str, *, start_after: str = "", limit: int = 1000) -> Listing:
        began, chance = self._process.loop.now, self._site.odds.chance
        page = min(limit, self._site.odds.page)

        def effect() -> Listing:
            issued = self._site.date(min(self._process.loop.now, began + 0.25 * chance.random()))
            return self._bucket.list(prefix, start_after, page, issued)

        return await self._call("list", prefix, effect)

    async def delete_many(self, keys: Sequence[str], *, fence: Fence | None = None) -> None:
        """One after the other, in any order: a batch of S3 is not atomic either."""
        left = list(keys)
        self._site.odds.chance.shuffle(left)
        while left:
            size = self._site.odds.chance.randint(1, 4)
            batch, left = left[:size], left[size:]
            await self._call("delete_many", keys[0], lambda some=batch: self._delete(some), batch, fence=fence)  # type: ignore[misc]

    async def delete(self, key: str, *, match: str = "", fence: Fence | None = None) -> None:
        await self._call("delete", key, lambda: self._bucket.delete(key), fence=fence, once=True)

    def _delete(self, keys: Sequence[str]) -> None:
        for key in keys:
            self._bucket.delete(key)

    async def create_multipart(
        self,
        key: str,
        *,
        part_size: int,
        content_type: str = "application/octet-stream",
        metadata: Mapping[str, str] | None = None,
    ) -> str:
        upload = Upload(key, self._process.name, content_type, metadata or {})
        return await self._call("create_multipart", key, lambda: self._bucket.create_multipart(upload), once=True)

    async def put_part(self, key: str, upload_id: str, number: int, body: Body) -> PartInfo:
        data = await self._read(body)
        return await self._call(
            "put_part", key, lambda: self._bucket.put_part(key, upload_id, number, data()), (upload_id, number)
        )

    async def list_parts(self, key: str, upload_id: str) -> Sequence[PartInfo]:
        return await self._call("list_parts", key, lambda: self._bucket.list_parts(key, upload_id), upload_id)

    async def complete_multipart(
        self,
        key: str,
        upload_id: str,
        parts: Sequence[PartInfo],
        *,
        absent: bool = False,
        fence: Fence | None = None,
    ) -> None:
        def effect() -> None:
            self._bucket.complete(key, upload_id, parts, absent=absent)

        await self._call("complete_multipart", key, effect, upload_id, fence=fence)

    async def abort_multipart(self, key: str, upload_id: str) -> None:
        await self._call("abort_multipart", key, lambda: self._bucket.abort(upload_id), upload_id)

    def origin(self, key: str, size: int) -> Origin:
        return Origin("temp" if self._bucket is self._site.temp else "perm", key, size)

    async def _read(self, body: Body) -> Callable[[], bytes]:
        """The bytes, read already; of an Origin the store reads them when the request takes effect."""
        if isinstance(body, Origin):
            bucket = self._site.temp if body.place == "temp" else self._site.perm
            return lambda: bucket.find(body.key).data
        if not isinstance(body, Stream):
            return lambda data=bytes(body): data  # type: ignore[misc]
        data = b"".join([block async for block in body.blocks()])
        if len(data) != body.size:
            raise ValueError(f"a stream of {body.size} bytes gave {len(data)}")
        return lambda: data

    async def _call(
        self,
        method: str,
        key: str,
        effect: Callable[[], T],
        about: object = "",
        *,
        fence: Fence | None = None,
        once: bool = False,
    ) -> T:
        """Every call of the store goes through here. The store looks at the fence when it accepts a request, which
        takes effect up to DELAY later. `once`: the HTTP client never sends it again."""
        process, loop = self._process, self._process.loop
        if process.dead:
            raise Killed
        plan = self._site.odds.plan(process.name.partition("#")[0], f"{method} {kind(key)}")
        if plan.pause or plan.held:
            self._site.say("PAUSED" if plan.pause else "HELD", f"{plan.pause or plan.held:.1f} s before", method, key)
            process.pause(plan.pause)
        await loop.sleep(plan.there + plan.held)
        if plan.purge and (purged := self._site.perm.purge(self._site.odds.chance)):
            self._site.odds.met["purged"] += 1
            self._site.say("PURGED", purged)
        if plan.fate != "done":
            return await self._go_wrong(plan, f"{method} {key}", effect, fence)
        try:
            self._accept(fence)
            result = await self._later(plan.slow * DELAY, effect) if plan.slow else effect()
            if plan.twice and not once:
                self._site.say("(sent twice)", method, key)
                self._accept(fence)
                result = effect()
        except StoreError as error:
            self._site.say(method, key, about, "->", type(error).__name__)
            await loop.sleep(plan.back)
            raise
        if self._site.tracing:
            self._site.say(method, key, about, "->", _brief(result))
        await loop.sleep(plan.back)
        return result

    def _later(self, delay: float, effect: Callable[[], T]) -> "asyncio.Future[T]":
        """The effect of a request that the store accepted: it comes, though the process may pause or die meanwhile."""
        loop, outside = self._process.loop, self._site.outside

        async def take_effect() -> T:
            await loop.sleep(delay)
            return effect()

        return asyncio.shield(loop.create_task(take_effect(), context=outside.context))

    def _accept(self, fence: Fence | None) -> None:
        if fence is not None and self._site.node_time(self._process.loop.now) > fence.issued + LEASE:
            raise FenceExpired

    async def _go_wrong(self, plan: Plan, what: str, effect: Callable[[], T], fence: Fence | None) -> T:
        process, site, loop = self._process, self._site, self._process.loop
        site.suspects.add(process.name)

        def take_effect() -> None:
            with suppress(StoreError, ValueError):
                effect()
                site.say(f"({process.name}: {plan.fate})", what)

        def arrive() -> None:
            with suppress(FenceExpired):
                self._accept(fence)
                loop.call_later(plan.slow * DELAY, take_effect, context=site.outside.context)

        if plan.fate == "late" or (plan.fate == "killed before" and plan.late < 0.3):
            travel = TRAVEL[int(plan.late * 997) % len(TRAVEL)] * (0.5 if site.odds.quiet else 1.0)
            loop.call_later(travel, arrive, context=site.outside.context)
        elif plan.fate in ("unanswered", "killed after"):
            arrive()
        site.say(plan.fate.upper(), what)
        if plan.fate.startswith("killed"):
            process.kill()
        await loop.sleep(plan.back + 2 * (plan.fate != "refused"))
        raise StoreUnavailable(f"{what}: {plan.fate}")


def _brief(result: Any) -> str:
    if isinstance(result, Listing):
        return " ".join(["/".join(info.key.split("/")[4:]) or info.key for info in result.objects]) or "nothing"
    return "" if result is None else str(getattr(result, "key", "") or getattr(result, "etag", "") or result)[:60]
