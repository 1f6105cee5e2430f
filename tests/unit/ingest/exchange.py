"""One request to an application whose answer lasts: httpx's own transport waits for the end of every answer."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import urlsplit

from fastapi import FastAPI


class Exchange:
    """What has come so far. `leave` hangs up; without `reads` the client takes nothing after the header."""

    def __init__(self, reads: bool = True) -> None:
        self.status = 0
        self.headers: dict[str, str] = {}
        self.body = b""
        self.ended = False
        self.reads = reads
        self._news = asyncio.Event()
        self._left = asyncio.Event()

    async def receive(self) -> dict[str, Any]:
        await self._left.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: Any) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            self.headers = {name.decode().lower(): value.decode() for name, value in message["headers"]}
        else:
            if not self.reads:
                await self._left.wait()
            self.body += message.get("body", b"")
            self.ended = not message.get("more_body", False)
        self._news.set()

    def leave(self) -> None:
        self._left.set()

    async def until(self, holds: Any, within: float = 10) -> None:
        """Wait until it holds of this exchange; fails after so many seconds."""
        async with asyncio.timeout(within):
            while not holds(self):
                self._news.clear()
                await self._news.wait()

    @property
    def events(self) -> list[dict[str, str]]:
        """The complete server-sent events, each as its fields; comments are left out."""
        blocks = self.body.decode().split("\n\n")[:-1]
        fields = [[line.split(": ", 1) for line in block.split("\n") if not line.startswith(":")] for block in blocks]
        return [dict(pairs) for pairs in fields if pairs]

    @property
    def shown(self) -> list[Any]:
        """The data of the events."""
        return [json.loads(event["data"]) for event in self.events if "data" in event]

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@asynccontextmanager
async def ask(app: FastAPI, url: str, token: str, *, reads: bool = True, **headers: str) -> AsyncIterator[Exchange]:
    """A GET request. Header names have `_` for `-`. The client leaves at the end of the block."""
    parts, exchange = urlsplit(url), Exchange(reads)
    fields = {"authorization": f"Bearer {token}", **{name.replace("_", "-"): text for name, text in headers.items()}}
    scope = {
        "type": "http", "asgi": {"version": "3.0", "spec_version": "2.3"}, "http_version": "1.1", "method": "GET",
        "scheme": "http", "path": parts.path, "raw_path": parts.path.encode(), "query_string": parts.query.encode(),
        "root_path": "", "headers": [(name.encode(), text.encode()) for name, text in fields.items()],
        "client": ("127.0.0.1", 1), "server": ("test", 80), "app": app, "state": {},
    }  # fmt: skip
    task = asyncio.create_task(app(scope, exchange.receive, exchange.send))
    try:
        yield exchange
    finally:
        exchange.leave()
        async with asyncio.timeout(10):
            await task
