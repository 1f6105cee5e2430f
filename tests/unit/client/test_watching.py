"""Watching one file through a real server and bad links."""

import asyncio
import hashlib
import json
import os
from contextlib import aclosing

from libs.client import HiperClient
from libs.client.models import Status
from tests.unit.client.conftest import ADMIN_SECRET
from tests.unit.client.live import CuttingProxy, LiveServer
from tests.unit.client.test_following import NOT_FOUND, OURS, state
from tests.unit.client.test_strangers import Tokens
from tests.unit.client.test_uploads import interrupt
from tests.unit.scripted_server import answer, scripted

KIB = 1024


async def watch(client: HiperClient, name: str) -> list[Status]:
    """What a watcher sees until the file is complete."""
    seen = list[Status]()
    async with asyncio.timeout(60), aclosing(client.watch(name)) as states:
        async for each in states:
            seen.append(each)
            if each.status == "complete":
                break
    return seen


async def test_a_watcher_outlives_broken_connections_and_a_server_that_starts_again(
    client: HiperClient, server: LiveServer, proxy: CuttingProxy
) -> None:
    data = os.urandom(6 * 1024 * KIB)
    await interrupt(client, data, "f", 2 * 1024 * KIB)
    async with HiperClient(proxy.url, "admin", ADMIN_SECRET, retry_for=60) as watcher:
        seeing = asyncio.create_task(watch(watcher, "f"))
        await asyncio.sleep(1)
        proxy.cuts, proxy.after = 2, 100
        await asyncio.to_thread(server.restart)
        await asyncio.sleep(1)
        await client.upload(data, "f")
        seen = await seeing
    offsets = [each.next_expected_byte for each in seen]
    assert offsets == sorted(offsets)
    assert (seen[0].status, seen[-1].status, offsets[-1]) == ("pending", "complete", len(data))


async def test_an_upload_waits_for_its_completion_by_one_request_after_some_quick_looks() -> None:
    payload = b"x"
    unknown = answer(404, json.dumps(NOT_FOUND).encode(), Content_Type="application/problem+json")
    session = {"session": "5" * 16}

    pending = json.dumps(json.loads(state(0, 1)) | session | {"next_expected_byte": 1, "received_bytes": 1})
    complete = json.dumps(json.loads(state(1, 1)) | session)
    looks = [answer(200, pending.encode(), **OURS)] * 4
    last = answer(200, complete.encode(), Preference_Applied="wait=30", **OURS)
    async with (
        scripted([unknown, answer(200, pending.encode(), **OURS), *looks, last]) as script,
        HiperClient(f"http://{script.endpoint}", tokens=Tokens()) as client,
    ):
        result = await client.upload(payload, "f")
    assert (result.status, result.sha256) == ("complete", hashlib.sha256(payload).hexdigest())
    assert [header.get("prefer") for header in script.headers] == [None] * 6 + ["wait=30"]
    assert script.requests[-1] == "GET /files/f/status?after=v0"
    assert len(script.requests) == 7
