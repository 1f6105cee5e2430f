"""A proxy before a real S3 store that drops what the protocol rests on, as a gateway may do that is set up wrongly."""

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Literal

import aiohttp
from aiohttp import web
from yarl import URL

from libs.common.storage._s3_sign import Signer

Carelessness = Literal["If-None-Match on PUT", "If-None-Match on POST", "If-Match", "X-Amz-Expires"]
_OF_HOP = {"connection", "content-length", "transfer-encoding", "expect"}


@asynccontextmanager
async def careless(store: Signer, drops: Carelessness | None) -> AsyncIterator[str]:
    """The address of a proxy before the store; `drops`: what it does not hand on."""
    async with aiohttp.ClientSession(auto_decompress=False) as session:

        async def hand_on(request: web.Request) -> web.Response:
            headers = {name: value for name, value in request.headers.items() if not _dropped(name, request, drops)}
            url = URL(f"http://{store.endpoint}{request.raw_path}", encoded=True)
            if drops == "X-Amz-Expires":
                del headers["Host"]
                url = _signed_anew(store, request)
            async with session.request(
                request.method, url, headers=headers, data=await request.read() or None
            ) as answer:
                kept = {name: value for name, value in answer.headers.items() if name.lower() not in _OF_HOP}
                return web.Response(status=answer.status, headers=kept, body=await answer.read())

        app = web.Application()
        app.router.add_route("*", "/{path:.*}", hand_on)
        runner = web.AppRunner(app)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        host, port = runner.addresses[0][:2]
        try:
            yield f"{host}:{port}"
        finally:
            await runner.cleanup()


def _dropped(name: str, request: web.Request, drops: Carelessness | None) -> bool:
    header, _, method = (drops or "").partition(" on ")
    return name.lower() in _OF_HOP or (name == header and method in ("", request.method))


def _signed_anew(store: Signer, request: web.Request) -> URL:
    """The same request, signed by the proxy now: whatever the client's signature says of its time is lost."""
    query = {name: value for name, value in request.query.items() if not name.startswith("X-Amz-")}
    signed = {name: value for name, value in request.headers.items() if name.startswith("x-amz-")}
    return store.url(request.method, request.path, query, signed, issued=int(time.time()), seconds=60)
