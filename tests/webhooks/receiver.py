"""A real HTTP server that gets webhooks."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass

from aiohttp import web

Answer = Callable[[int], tuple[int, Mapping[str, str]]]


@dataclass(frozen=True)
class Message:
    headers: Mapping[str, str]
    body: bytes


class Receiver:
    """`answer`: status and headers by the number of the message, from 1. `hangs`: it never answers."""

    def __init__(self) -> None:
        self.got: list[Message] = []
        self.accepted: list[str] = []  # the ids of messages that were answered with 204
        self.answer: Answer = lambda number: (204, {})
        self.hangs = False
        self.endless = False
        self.port = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/hook"

    async def _take(self, request: web.Request) -> web.StreamResponse:
        body = await request.read()
        self.got.append(Message({name.lower(): value for name, value in request.headers.items()}, body))
        if self.hangs:
            await asyncio.Event().wait()
        if self.endless:
            await self._never_end(request)
        status, headers = self.answer(len(self.got))
        if status == 204:
            self.accepted.append(self.got[-1].headers["webhook-id"])
        return web.Response(status=status, headers=dict(headers))

    async def _never_end(self, request: web.Request) -> None:
        response = web.StreamResponse()
        await response.prepare(request)
        with suppress(ConnectionError):
            while True:
                await response.write(b"x" * 65536)


@asynccontextmanager
async def receiving() -> AsyncIterator[Receiver]:
    receiver, app = Receiver(), web.Application()
    app.router.add_post("/{path:.*}", receiver._take)
    runner = web.AppRunner(app, shutdown_timeout=0.1, handler_cancellation=True)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    receiver.port = runner.addresses[0][1]
    try:
        yield receiver
    finally:
        await runner.cleanup()
