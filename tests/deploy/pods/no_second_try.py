"""Requests of every kind for SECONDS, each tried once: on kept-alive connections, and on one of its own each."""

import asyncio
import json
import os
import secrets
import time
from typing import Any

import aiohttp

INGEST, AUTH, ADMIN = os.environ["HIPER_INGEST"], os.environ["HIPER_AUTH"], os.environ["ADMIN_SECRET"]
UNTIL = time.monotonic() + float(os.environ["SECONDS"])
done, failed = 0, list[str]()


async def ask(http: aiohttp.ClientSession, method: str, url: str, **options: Any) -> dict[str, str]:
    global done
    try:
        async with http.request(method, url, **options) as answer:
            done += 1
            if answer.status < 300:
                found: dict[str, str] = await answer.json(content_type=None)
                return found
            failed.append(f"{time.monotonic() - UNTIL:.1f} {method} {url} {answer.status} {await answer.text()}")
    except (aiohttp.ClientError, TimeoutError, OSError) as error:
        done += 1
        failed.append(f"{time.monotonic() - UNTIL:.1f} {method} {url} {error!r}")
    return {}


async def token(http: aiohttp.ClientSession, client: str, secret: str) -> str:
    form = {"grant_type": "client_credentials", "client_id": client, "client_secret": secret}
    return (await ask(http, "POST", f"{AUTH}/token", data=form)).get("access_token", "")


async def device(name: str, secret: str, *, kept_alive: bool) -> None:
    connector = aiohttp.TCPConnector(force_close=not kept_alive)
    async with aiohttp.ClientSession(connector=connector) as http:
        bearer = {"Authorization": f"Bearer {await token(http, name, secret)}"}
        number = 0
        while time.monotonic() < UNTIL:
            number += 1
            file, payload = f"{number}.bin", secrets.token_bytes(2000)
            for start in (0, 1000):
                await ask(
                    http,
                    "POST",
                    f"{INGEST}/upload",
                    params={"filename": file, "total_size": "2000"},
                    headers={**bearer, "Content-Range": f"bytes {start}-{start + 999}/2000"},
                    data=payload[start : start + 1000],
                )
            await ask(http, "GET", f"{INGEST}/files/{file}/status", headers=bearer)
            await token(http, name, secret)
            await asyncio.sleep(0.05)


async def main() -> None:
    async with aiohttp.ClientSession() as http:
        admin = {"Authorization": f"Bearer {await token(http, 'admin', ADMIN)}"}
        devices = [
            (await ask(http, "POST", f"{AUTH}/devices", json={"device_id": f"car-{n}"}, headers=admin))
            for n in range(100, 104)
        ]
    await asyncio.gather(
        *(device(d["device_id"], d["client_secret"], kept_alive=n % 2 == 0) for n, d in enumerate(devices))
    )
    print(json.dumps({"requests": done, "failed": failed}))


asyncio.run(main())
