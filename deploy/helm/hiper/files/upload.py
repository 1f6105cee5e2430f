"""`helm test`: a new device uploads a file in chunks, waits until it is complete, and gets the same bytes back."""

import asyncio
import io
import os
import secrets

import aiohttp

from libs.client import HiperClient
from libs.client.tokens import ClientCredentials

INGEST, AUTH = os.environ["HIPER_INGEST"], os.environ["HIPER_AUTH"]
SIZE, PATIENCE = int(os.environ["HIPER_SIZE"]), float(os.environ["HIPER_PATIENCE"])
CHUNK = 256 * 1024  # bytes


async def main() -> None:
    device = f"helm-test-{secrets.token_hex(4)}"
    async with HiperClient(AUTH, "admin", os.environ["ADMIN_SECRET"], retry_for=PATIENCE) as admin:
        await admin.verify()
        secret = (await admin.devices.register(device)).client_secret
        try:
            await transfer(device, secret)
        finally:
            await admin.devices.revoke(device)


async def transfer(device: str, secret: str) -> None:
    content, received = secrets.token_bytes(SIZE), io.BytesIO()
    async with aiohttp.ClientSession() as session:
        tokens = ClientCredentials(session, AUTH, device, secret)
        async with HiperClient(INGEST, tokens=tokens, retry_for=PATIENCE, on_retry=print) as hiper:
            await hiper.upload(content, "helm-test.bin", chunk_size=CHUNK)
            print(await hiper.status("helm-test.bin"))
            await hiper.download("helm-test.bin", received)
            await hiper.delete("helm-test.bin")
    if received.getvalue() != content:
        raise SystemExit("what came down is not what went up")
    print(f"{SIZE} bytes went up and came down")


asyncio.run(main())
