"""One upload over a slow link, by the client of the project: SECONDS long, then downloaded and compared."""

import asyncio
import io
import json
import os
import secrets
import time

import aiohttp

from libs.client import HiperClient
from libs.client.tokens import ClientCredentials

INGEST, AUTH = os.environ["HIPER_INGEST"], os.environ["HIPER_AUTH"]
CHUNK, CHUNKS = 256 * 1024, 120  # bytes, and how many
PAUSE = float(os.environ["SECONDS"]) / CHUNKS
retries: list[str] = []


def notify(error: Exception, _seconds: float) -> None:
    retries.append(str(error))
    print("trying again:", error, flush=True)


def linger(done: int, total: int) -> None:
    time.sleep(PAUSE)  # the link is busy
    print(done, "of", total, flush=True)


async def main() -> None:
    content, received = secrets.token_bytes(CHUNK * CHUNKS), io.BytesIO()
    async with HiperClient(AUTH, "admin", os.environ["ADMIN_SECRET"], retry_for=120, on_retry=notify) as admin:
        secret = (await admin.devices.register("car-17")).client_secret
    async with aiohttp.ClientSession() as session:
        tokens = ClientCredentials(session, AUTH, "car-17", secret)
        async with HiperClient(INGEST, tokens=tokens, retry_for=120, on_retry=notify) as hiper:
            await hiper.upload(content, "drive.bin", chunk_size=CHUNK, jobs=1, progress=linger)
            await hiper.download("drive.bin", received)
    print(json.dumps({"equal": received.getvalue() == content, "bytes": len(content), "retries": len(retries)}))


asyncio.run(main())
