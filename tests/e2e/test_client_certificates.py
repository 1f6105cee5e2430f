"""A device shows its certificate at the edge, which tells the server whose it is: from `hiper` to the file."""

import asyncio
import ssl
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web

from libs.client.client import HiperClient
from libs.client.errors import HiperError, UnauthorizedError
from libs.client.identity import identity
from services.embedded.app import build_app
from tests.certificates import Authority
from tests.unit.client.live import LiveServer
from tests.unit.ingest.running import ADMIN_SECRET, make_settings

HEADER = "ssl-client-subject-dn"


class Edge:
    """What an ingress does: asks for a certificate of the fleet's CA, and passes its subject on, whatever came with the
    request."""

    def __init__(self, upstream: str, tls: ssl.SSLContext) -> None:
        self._upstream, self._tls = upstream, tls

    async def __aenter__(self) -> str:
        self._session = aiohttp.ClientSession(auto_decompress=False)
        app = web.Application(client_max_size=2**30)
        app.router.add_route("*", "/{path:.*}", self._pass)
        self._runner = web.AppRunner(app)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0, ssl_context=self._tls).start()
        return f"https://localhost:{self._runner.addresses[0][1]}"

    async def __aexit__(self, *_: object) -> None:
        await self._runner.cleanup()
        await self._session.close()

    async def _pass(self, request: web.Request) -> web.Response:
        assert request.transport
        shown = request.transport.get_extra_info("peercert")["subject"]
        (name,) = [value for part in shown for kind, value in part if kind == "commonName"]
        headers = request.headers.copy()
        headers[HEADER] = f"CN={name}"
        body = await request.read()
        async with self._session.request(
            request.method, self._upstream + request.raw_path, headers=headers, data=body
        ) as answer:
            kept = {k: v for k, v in answer.headers.items() if k.lower() not in ("content-length", "transfer-encoding")}
            return web.Response(status=answer.status, headers=kept, body=await answer.read())


def shown_by(ca: Authority, name: str, directory: Path) -> ssl.SSLContext:
    files = directory / f"{name}.pem", directory / f"{name}-key.pem"
    ca.issue(name, *files)
    context = identity({"HIPER_CLIENT_CERT": str(files[0]), "HIPER_CLIENT_KEY": str(files[1])})
    assert context
    context.load_verify_locations(directory / "ca.pem")
    return context


async def test_a_device_works_with_its_own_certificate_and_with_no_other(tmp_path: Path) -> None:
    ca = Authority("fleet")
    ca.write(tmp_path / "ca.pem")
    ca.issue("localhost", tmp_path / "edge.pem", tmp_path / "edge-key.pem")
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=tmp_path / "ca.pem")
    tls.load_cert_chain(tmp_path / "edge.pem", tmp_path / "edge-key.pem")
    tls.verify_mode = ssl.CERT_REQUIRED
    admin, car, other = (shown_by(ca, name, tmp_path) for name in ("admin", "car-7", "car-8"))

    settings = make_settings(tmp_path / "data", client_cert_header=HEADER)
    server = LiveServer(lambda: build_app(settings))
    await asyncio.to_thread(server.start)
    async with Edge(server.url, tls) as edge:
        async with HiperClient(edge, "admin", ADMIN_SECRET, tls=admin, retry_for=20) as client:
            secret = (await client.devices.register("car-7")).client_secret
        async with HiperClient(edge, "car-7", secret, tls=car, retry_for=20) as client:
            await client.upload(b"x" * 100_000, "drive.bin")
            stolen = await client.tokens.token() if client.tokens else ""
        async with HiperClient(edge, "car-7", secret, tls=other, retry_for=0) as client:
            with pytest.raises(UnauthorizedError):
                await client.verify()
        bearer = {"Authorization": f"Bearer {stolen}", HEADER: "CN=car-7"}
        async with aiohttp.ClientSession() as session:
            for context, status in ((car, 200), (other, 401)):
                async with session.get(f"{edge}/files/drive.bin/status", headers=bearer, ssl=context) as answer:
                    assert answer.status == status
        nobody = ssl.create_default_context(cafile=tmp_path / "ca.pem")
        async with HiperClient(edge, "car-7", secret, tls=nobody, retry_for=0) as client:
            with pytest.raises(HiperError):
                await client.verify()
    await asyncio.to_thread(server.stop)


def test_what_is_no_certificate_is_told(tmp_path: Path) -> None:
    (tmp_path / "none.pem").write_text("nothing")
    for env, words in (
        ({"HIPER_CLIENT_CERT": str(tmp_path / "none.pem")}, "none.pem"),
        ({"HIPER_CLIENT_CERT": str(tmp_path / "missing.pem")}, "No such file"),
        ({"HIPER_CLIENT_KEY": "key.pem"}, "HIPER_CLIENT_KEY goes with"),
    ):
        with pytest.raises(HiperError, match=words):
            identity(env)
    assert identity({}) is None
