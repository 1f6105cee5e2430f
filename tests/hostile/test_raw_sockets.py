"""What no HTTP library would send, to the running server: each is answered with a problem, or the connection ends by
the deadline; nothing is stored that was not asked for, and the server goes on."""

import asyncio
from collections.abc import Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest

from libs.common.settings import Settings
from tests.hostile.raw import LONGEST, exchange, wired
from tests.hostile.rows import BODY, ROWS
from tests.hostile.serving import served
from tests.unit.ingest.running import OWNER, stored, token_for
from tests.unit.ingest.talk import framed

SILENCE = 1.0  # seconds that the server waits for the rest of a head, or within a body
CROWD = 300  # connections that send one byte
SENT = [row.sent.partition(b"filename=")[2].partition(b"&")[0].decode() for row in ROWS.values()]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Settings]]:
    with served(tmp_path_factory.mktemp("raw"), header_timeout=SILENCE, body_idle_timeout=SILENCE) as running:
        yield running


async def test_whatever_comes_is_answered_with_a_problem_or_ended_and_stores_nothing_else(
    server: tuple[str, Settings],
) -> None:
    url, settings = server
    port, token = urlsplit(url).port or 0, token_for(settings).encode()
    rows = [(name, row, row.sent.replace(b"{token}", token)) for name, row in ROWS.items()]
    found = await asyncio.gather(
        *(exchange(port, sent, row.statuses, stays=row.stays, hangs_up=row.hangs_up) for _, row, sent in rows)
    )
    assert "\n".join(f"{name}: {wrong}" for (name, *_), wrong in zip(rows, found, strict=True) if wrong) == ""
    await an_ordinary_upload_works(url, settings, "after-the-rows")
    asked = {name for row in ROWS.values() for name in row.stores} | {"after-the-rows"}
    assert await names(url, settings) == asked
    assert {name for path in stored(settings) for name in Path(path).parts if name in {*SENT, "smuggled"}} <= asked


async def test_a_flood_of_connections_that_send_one_byte_is_dropped_while_others_go_on(
    server: tuple[str, Settings],
) -> None:
    url, settings = server
    async with AsyncExitStack() as stack:
        flood = [await stack.enter_async_context(wired(urlsplit(url).port or 0)) for _ in range(CROWD)]
        for number, wire in enumerate(flood):
            wire.writer.write(b"GP\r\0"[number % 4 : number % 4 + 1])
        await an_ordinary_upload_works(url, settings, "meanwhile")
        answers = await asyncio.gather(*(wire.reader.read() for wire in flood))
    assert {answer[:12] for answer in answers} <= {b"", b"HTTP/1.1 400"}
    await an_ordinary_upload_works(url, settings, "after-the-flood")


async def an_ordinary_upload_works(url: str, settings: Settings, name: str) -> None:
    async with httpx.AsyncClient(base_url=url, headers=bearer(settings)) as http:
        answer = await http.post("/upload", params={"filename": name, "total_size": "5"}, content=framed(BODY))
        assert answer.status_code == 200, answer.text
        async with asyncio.timeout(LONGEST):
            while (await http.get(f"/files/{name}/status")).json()["status"] != "complete":  # noqa: ASYNC110
                await asyncio.sleep(0.02)
        assert (await http.get(f"/files/{name}")).content == BODY


async def names(url: str, settings: Settings) -> set[str]:
    """What the owner has, complete or not."""
    async with httpx.AsyncClient(base_url=url, headers=bearer(settings)) as http:
        return {file["filename"] for file in (await http.get("/files", params={"limit": "1000"})).json()["files"]}


def bearer(settings: Settings) -> dict[str, str]:
    return {"Authorization": f"Bearer {token_for(settings, OWNER)}"}
