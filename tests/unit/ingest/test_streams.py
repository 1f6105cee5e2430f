"""Bodies without a checksum: they may have any length, and what comes of them is kept."""

import asyncio
import random
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
from fastapi import FastAPI

from libs.common.settings import Settings
from tests.unit.ingest.running import files_below, make_settings
from tests.unit.ingest.talk import CountedBody, Device, accepted, digest, refused

MIB = 2**20
CONTENT = random.Random(7).randbytes(20 * MIB)  # three parts


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return make_settings(tmp_path, max_chunk_size=MIB, body_idle_timeout=0.3)


def blocks_of(content: bytes) -> list[bytes]:
    return [content[at : at + 64 * 1024] for at in range(0, len(content), 64 * 1024)]


async def hanging(content: bytes) -> AsyncIterator[bytes]:
    for block in blocks_of(content):
        yield block
    await asyncio.sleep(60)


async def send(device: Device, body: AsyncIterator[bytes] | bytes, range_: str, query: str = "") -> httpx.Response:
    return await device.ask("POST", f"/upload?filename=a{query}", content=body, headers={"Content-Range": range_})


async def test_a_body_longer_than_a_chunk_makes_the_file(device: Device) -> None:
    sent = accepted(await device.raw("a", CONTENT))
    assert sent["next_expected_byte"] == len(CONTENT)
    await device.completed("a")
    assert (await device.get("a")).content == CONTENT


async def test_the_first_pieces_are_stored_while_the_next_ones_come(device: Device, settings: Settings) -> None:
    seen = []

    async def watching() -> AsyncIterator[bytes]:
        for at, block in enumerate(blocks_of(CONTENT)):
            if at == 17 * MIB // len(block):
                seen.extend(files_below(settings.temp_upload_dir / "chunks"))
            yield block
            await asyncio.sleep(0)

    accepted(await send(device, watching(), f"bytes 0-{len(CONTENT) - 1}/{len(CONTENT)}"))
    assert len(seen) >= 1


@pytest.mark.parametrize("size", [100, 9 * MIB + 5])
async def test_a_body_that_hangs_keeps_what_came(device: Device, size: int) -> None:
    answer = await send(device, hanging(CONTENT[:size]), f"bytes 0-{len(CONTENT) - 1}/{len(CONTENT)}")
    assert refused(answer, 408, "timeout")["next_expected_byte"] == size
    assert accepted(await device.status("a"))["next_expected_byte"] == size
    assert accepted(await device.raw("a", CONTENT, size))["next_expected_byte"] == len(CONTENT)
    await device.completed("a")
    assert (await device.get("a")).content == CONTENT


async def test_a_body_that_ends_too_early_stores_nothing_of_its_last_piece(device: Device) -> None:
    body = CountedBody(blocks_of(CONTENT[: 9 * MIB]))
    answer = await device.post("a", len(CONTENT), body, {"Content-Range": f"bytes 0-{10 * MIB}/{len(CONTENT)}"})
    refused(answer, 400, "malformed-chunk")
    assert accepted(await device.status("a"))["next_expected_byte"] == 8 * MIB


async def test_a_body_with_a_digest_is_verified_first_and_so_has_a_largest_size(device: Device) -> None:
    refused(await device.raw("a", CONTENT, headers={"Content-Digest": digest(CONTENT)}), 413, "too-large")
    refused(await device.status("a"), 404, "not-found")


async def test_a_file_larger_than_the_server_takes_is_refused_before_a_byte_is_read(device: Device) -> None:
    body = CountedBody(blocks_of(CONTENT))
    answer = await device.post("a", 2**40 + 1, body, {"Content-Range": f"bytes 0-{2**40}/{2**40 + 1}"})
    assert refused(answer, 413, "too-large")["limited"] == "file"
    assert body.taken == 0


async def test_a_server_that_ends_keeps_what_came_and_says_so(app: FastAPI, device: Device) -> None:
    async def ends() -> AsyncIterator[bytes]:
        for block in blocks_of(CONTENT[: 9 * MIB]):
            yield block
        app.state.drain.begin(0)
        while True:
            yield b"x"

    problem = refused(await send(device, ends(), f"bytes 0-{len(CONTENT) - 1}/{len(CONTENT)}"), 503, "not-ready")
    assert problem["next_expected_byte"] >= 9 * MIB


class TestUnknownLength:
    async def test_it_is_null_until_it_is_told(self, device: Device) -> None:
        first = accepted(await send(device, CONTENT[:1000], "bytes 0-999/*"))
        assert (first["status"], first["next_expected_byte"], first["total_size"]) == ("pending", 1000, None)
        status = accepted(await device.status("a"))
        assert (status["total_size"], status["status"]) == (None, "pending")
        last = accepted(await send(device, CONTENT[1000:3000], "bytes 1000-2999/3000"))
        assert (last["next_expected_byte"], last["total_size"]) == (3000, 3000)
        await device.completed("a")
        assert (await device.get("a")).content == CONTENT[:3000]

    async def test_an_empty_body_can_tell_it(self, device: Device) -> None:
        accepted(await send(device, CONTENT[:1000], "bytes 0-999/*"))
        assert accepted(await send(device, b"", "bytes */1000"))["total_size"] == 1000
        await device.completed("a")
        assert (await device.get("a")).content == CONTENT[:1000]

    async def test_a_size_below_what_is_stored_is_refused(self, device: Device) -> None:
        accepted(await send(device, CONTENT[:1000], "bytes 0-999/*"))
        refused(await send(device, b"", "bytes */999"), 409, "total-size-conflict")

    async def test_the_header_form_needs_the_size(self, device: Device) -> None:
        answer = await device.ask("POST", "/upload?filename=a", content=b"\0" * 9)
        refused(answer, 400, "bad-request")
