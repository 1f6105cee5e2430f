"""TLS in front of a server, as an ingress gives it."""

import ssl
from pathlib import Path

import aiohttp
from aiohttp import web

from tests.certificates import Authority
from tests.unit.client.live import LiveServer


class Tls:
    """Has a certificate for files.invalid and 127.0.0.1, signed by a CA that only `trust` trusts."""

    def __init__(self, server: LiveServer, directory: Path) -> None:
        ca = Authority("fleet")
        ca.write(directory / "ca.pem")
        ca.issue("files.invalid", directory / "edge.pem", directory / "edge-key.pem")
        self.trust = ssl.create_default_context(cafile=directory / "ca.pem")
        self._own = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        self._own.load_cert_chain(directory / "edge.pem", directory / "edge-key.pem")
        self._server = server

    async def __aenter__(self) -> int:
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", self._pass)
        self._runner = web.AppRunner(app)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0, ssl_context=self._own).start()
        return int(self._runner.addresses[0][1])

    async def __aexit__(self, *_: object) -> None:
        await self._runner.cleanup()

    async def _pass(self, request: web.Request) -> web.Response:
        url, body = self._server.url + request.raw_path, await request.read()
        async with (
            aiohttp.ClientSession() as session,
            session.request(request.method, url, headers=request.headers, data=body) as answer,
        ):
            kept = {k: v for k, v in answer.headers.items() if k not in ("content-length", "transfer-encoding")}
            return web.Response(status=answer.status, headers=kept, body=await answer.read())
