"""What a device says to ingest, and what tests ask of its answers."""

import asyncio
import hashlib
import struct
from base64 import b64encode
from collections.abc import AsyncIterator, Callable, Iterable
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import httpx

Body = bytes | AsyncIterator[bytes]


def framed(content: bytes, start: int = 0, end: int | None = None) -> bytes:
    """Bytes [start, end) of a content in the header form."""
    payload = content[start:end]
    last = start + len(payload) - 1 if content else 0
    return header(start, last, sum(payload) % 256) + payload


def header(first: int, last: int, checksum: int) -> bytes:
    """The 9 bytes; `last` is inclusive."""
    return struct.pack(">IIB", first, last, checksum)


def digest(content: bytes, algorithm: str = "sha-256") -> str:
    """A field value of Content-Digest or Repr-Digest."""
    value = hashlib.new(algorithm.replace("-", ""), content).digest()
    return f"{algorithm}=:{b64encode(value).decode()}:"


async def streamed(*blocks: bytes) -> AsyncIterator[bytes]:
    """A body whose length is not known beforehand."""
    for block in blocks:
        yield block


class CountedBody:
    """A body that counts the blocks that the server took from it."""

    def __init__(self, blocks: Iterable[bytes]) -> None:
        self._blocks = blocks
        self.taken = 0

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for block in self._blocks:
            self.taken += 1
            yield block


def refused(answer: httpx.Response, status: int, slug: str) -> dict[str, Any]:
    """The problem document of an answer that must be this problem (RFC 9457)."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    document: dict[str, Any] = answer.json()
    assert document["type"] == f"urn:hiper:problem:{slug}"
    assert document["status"] == status
    assert document["title"]
    assert document["detail"]
    if status in {408, 429, 503}:
        assert int(answer.headers["retry-after"]) > 0
    return document


def accepted(answer: httpx.Response) -> dict[str, Any]:
    """The body of an answer that must be 200."""
    assert answer.status_code == 200, answer.text
    body: dict[str, Any] = answer.json()
    return body


def of(owner: str | None) -> dict[str, str]:
    """The query that names an owner."""
    return {} if owner is None else {"owner": owner}


async def until(condition: Callable[[], bool], seconds: float = 10) -> None:
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110  # what is waited for has no event to offer
            await asyncio.sleep(0.005)


@dataclass(frozen=True)
class Device:
    """A client with a token."""

    http: httpx.AsyncClient
    token: str

    async def ask(self, method: str, path: str, **more: Any) -> httpx.Response:
        headers = {"Authorization": f"Bearer {self.token}"} | more.pop("headers", {})
        return await self.http.request(method, path, headers=headers, **more)

    async def post(
        self,
        filename: str,
        total_size: object,
        body: Body | CountedBody,
        headers: dict[str, str] | None = None,
        owner: str | None = None,
    ) -> httpx.Response:
        """POST /upload, whatever the body."""
        query = {"filename": filename, "total_size": str(total_size)} | of(owner)
        return await self.ask("POST", "/upload", params=query, content=body, headers=headers or {})

    async def chunk(
        self,
        filename: str,
        content: bytes,
        start: int = 0,
        end: int | None = None,
        headers: dict[str, str] | None = None,
        owner: str | None = None,
    ) -> httpx.Response:
        """Send bytes [start, end) of a content in the header form."""
        return await self.post(filename, len(content), framed(content, start, end), headers, owner)

    async def raw(
        self,
        filename: str,
        content: bytes,
        start: int = 0,
        end: int | None = None,
        headers: dict[str, str] | None = None,
        owner: str | None = None,
    ) -> httpx.Response:
        """Send bytes [start, end) of a content in the raw form."""
        payload = content[start:end]
        field = f"bytes {start}-{start + len(payload) - 1}/{len(content)}"
        return await self.post(filename, len(content), payload, {"Content-Range": field} | (headers or {}), owner)

    async def upload(
        self, filename: str, content: bytes, headers: dict[str, str] | None = None, owner: str | None = None
    ) -> str:
        """Send a file in one chunk and wait until it is complete; the session that made it."""
        session: str = accepted(await self.chunk(filename, content, headers=headers, owner=owner))["session"]
        await self.completed(filename, owner)
        return session

    async def completed(self, filename: str, owner: str | None = None) -> dict[str, Any]:
        """Wait until the file is complete; its status."""
        async with asyncio.timeout(10):
            while True:
                status = accepted(await self.status(filename, owner))
                if status["status"] == "complete":
                    return status
                await asyncio.sleep(0.005)

    async def status(self, filename: str, owner: str | None = None) -> httpx.Response:
        return await self.ask("GET", f"{path_of(filename)}/status", params=of(owner))

    async def get(
        self, filename: str, headers: dict[str, str] | None = None, owner: str | None = None
    ) -> httpx.Response:
        return await self.ask("GET", path_of(filename), headers=headers or {}, params=of(owner))

    async def head(self, filename: str, headers: dict[str, str] | None = None) -> httpx.Response:
        return await self.ask("HEAD", path_of(filename), headers=headers or {})

    async def delete(
        self, filename: str, headers: dict[str, str] | None = None, owner: str | None = None
    ) -> httpx.Response:
        return await self.ask("DELETE", path_of(filename), headers=headers or {}, params=of(owner))

    async def files(self, **params: object) -> dict[str, Any]:
        """A page of the listing."""
        return accepted(await self.ask("GET", "/files", params=params))


def path_of(filename: str) -> str:
    """Dots are encoded as well, because clients take `/files/..` for `/`."""
    return f"/files/{quote(filename, safe='').replace('.', '%2E')}"
