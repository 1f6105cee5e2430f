"""`helm test`: a device uploads a file in chunks, waits until it is complete, and gets the same bytes back.

The device is one that auth knows by a secret of its own, with the rights of a device. This pod holds no secret of
`admin`.
"""

import asyncio
import io
import os
import secrets
from pathlib import Path

import aiohttp

from libs.client import HiperClient
from libs.client.tokens import ClientCredentials

INGEST, AUTH, DEVICE = os.environ["HIPER_INGEST"], os.environ["HIPER_AUTH"], os.environ["HIPER_DEVICE_ID"]
SIZE, PATIENCE = int(os.environ["HIPER_SIZE"]), float(os.environ["HIPER_PATIENCE"])
CHUNK = 256 * 1024  # bytes


async def main(secret: str) -> None:
    name, content, received = f"test-{secrets.token_hex(4)}.bin", secrets.token_bytes(SIZE), io.BytesIO()
    async with aiohttp.ClientSession() as session:
        tokens = ClientCredentials(session, AUTH, DEVICE, secret)
        async with HiperClient(INGEST, tokens=tokens, retry_for=PATIENCE, on_retry=print) as hiper:
            await hiper.upload(content, name, chunk_size=CHUNK)
            print(await hiper.status(name))
            await hiper.download(name, received)
            await hiper.delete(name)
    if received.getvalue() != content:
        raise SystemExit("what came down is not what went up")
    print(f"{SIZE} bytes went up and came down")


asyncio.run(main(Path("/etc/hiper/secrets/TEST_DEVICE_SECRET").read_text()))
