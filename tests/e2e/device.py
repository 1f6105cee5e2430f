"""A device as its firmware engineer would write it: raw HTTP, retries, no knowledge of the server's inside."""

import asyncio
import io
import random
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import aiohttp

from libs.client.wire import encode_chunk
from tests.e2e.processes import Deployment

Answer = tuple[int, dict[str, Any]]


@dataclass
class Device:
    """Sends chunks to any of the ingest replicas, again until it is answered."""

    http: aiohttp.ClientSession
    apis: Sequence[str]
    token: str
    name: str
    acknowledged: int = 0  # chunks
    tries: int = 0
    offsets: dict[str, int] = field(default_factory=dict)

    async def send(self, filename: str, total: int, start: int, payload: bytes, *, raw: bool = True) -> dict[str, Any]:
        """One chunk, until it is acknowledged."""
        while True:
            status, answer = await self.try_once(filename, total, start, payload, raw=raw)
            if status == 200:
                self.acknowledged += 1
                return answer
            assert status in (0, 408, 429, 500, 502, 503), (status, answer)
            await asyncio.sleep(random.uniform(0.05, 0.5))

    async def try_once(
        self,
        filename: str,
        total: int,
        start: int,
        payload: bytes,
        *,
        raw: bool = True,
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        self.tries += 1
        headers, body = dict(headers or {}), payload
        if not payload:
            headers["Content-Range"] = "bytes */0"
        elif raw:
            headers["Content-Range"] = f"bytes {start}-{start + len(payload) - 1}/{total}"
        else:
            body = encode_chunk(start, payload)
        params = {"filename": filename, "total_size": str(total)}
        return await self.request("POST", "/upload", params=params, data=io.BytesIO(body), headers=headers)

    async def request(self, method: str, path: str, **options: Any) -> Answer:
        """Status and JSON; status 0 when the connection failed."""
        headers = {"Authorization": f"Bearer {self.token}", **options.pop("headers", {})}
        url = random.choice(self.apis) + path
        try:
            async with self.http.request(method, url, headers=headers, **options) as answer:
                return answer.status, await answer.json(content_type=None)
        except (aiohttp.ClientError, TimeoutError, OSError):
            return 0, {}

    async def status(self, filename: str) -> Answer:
        return await self.request("GET", f"/files/{filename}/status")

    async def wait_for(self, filename: str, status: str, within: float = 60) -> dict[str, Any]:
        """Poll until the file has the status."""
        async with asyncio.timeout(within):
            while True:
                code, answer = await self.status(filename)
                if code == 200 and answer["status"] == status:
                    return answer
                await asyncio.sleep(0.1)

    @asynccontextmanager
    async def download(self, filename: str, **headers: str) -> AsyncIterator[aiohttp.ClientResponse]:
        auth = {"Authorization": f"Bearer {self.token}", **headers}
        async with self.http.get(f"{self.apis[0]}/files/{filename}", headers=auth) as answer:
            yield answer

    async def content(self, filename: str) -> bytes:
        async with self.download(filename) as answer:
            assert answer.status == 200, await answer.text()
            return await answer.read()


async def get_token(http: aiohttp.ClientSession, auth: str, client_id: str, secret: str, **more: str) -> str:
    """`more`: of the form, such as `scope`."""
    form = {"grant_type": "client_credentials", "client_id": client_id, "client_secret": secret, **more}
    async with http.post(f"{auth}/token", data=form) as answer:
        assert answer.status == 200, await answer.text()
        token: str = (await answer.json())["access_token"]
        return token


@asynccontextmanager
async def new_device(deployment: Deployment, name: str) -> AsyncIterator[Device]:
    """A registered device with a token."""
    timeout = aiohttp.ClientTimeout(total=60)
    async with aiohttp.ClientSession(timeout=timeout, connector=aiohttp.TCPConnector(limit=0)) as http:
        admin = await get_token(http, deployment.auth, "admin", deployment.admin_secret)
        headers = {"Authorization": f"Bearer {admin}"}
        async with http.post(f"{deployment.auth}/devices", json={"device_id": name}, headers=headers) as answer:
            assert answer.status == 201, await answer.text()
            secret = (await answer.json())["client_secret"]
        yield Device(http, deployment.apis, await get_token(http, deployment.auth, name, secret), name)
