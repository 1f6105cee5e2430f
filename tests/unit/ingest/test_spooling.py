"""When memory has no room, payloads wait on disk."""

import random
import tempfile
from pathlib import Path

import pytest

from libs.common.settings import Settings
from tests.unit.ingest.running import files_below, make_settings, stored
from tests.unit.ingest.talk import Device, accepted, digest, refused

MIB = 2**20
CONTENT = random.Random(1).randbytes(20 * MIB)  # three parts of 8 MiB at most


@pytest.fixture(params=[0, 128 * MIB], ids=["on disk", "in memory"])
def settings(request: pytest.FixtureRequest, tmp_path: Path) -> Settings:
    return make_settings(tmp_path, memory_budget=request.param)


async def test_chunks_across_part_boundaries_make_the_file(device: Device, settings: Settings) -> None:
    part = 10 * MIB
    sent = accepted(await device.raw("a", CONTENT, part, headers={"Content-Digest": digest(CONTENT[part:])}))
    assert sent["next_expected_byte"] == 0
    assert accepted(await device.raw("a", CONTENT, 9 * MIB, 17 * MIB))["next_expected_byte"] == 0
    assert accepted(await device.chunk("a", CONTENT, 0, 9 * MIB))["next_expected_byte"] == len(CONTENT)
    await device.completed("a")
    assert (await device.get("a")).content == CONTENT
    assert (await device.get("a", {"Range": f"bytes={8 * MIB - 5}-{16 * MIB + 4}"})).content == CONTENT[
        8 * MIB - 5 : 16 * MIB + 5
    ]


def chunks(settings: Settings) -> dict[Path, bytes]:
    """What is stored of bytes; the assembler may be at work on others."""
    return {file: file.read_bytes() for file in files_below(settings.temp_upload_dir / "chunks")}


async def test_payloads_are_verified_and_compared(device: Device, settings: Settings) -> None:
    content = CONTENT[: 9 * MIB]
    accepted(await device.raw("a", content, 7 * MIB))
    before = chunks(settings)
    other = content[:-1] + bytes([content[-1] ^ 1])
    refused(await device.raw("a", other, 8 * MIB), 409, "content-conflict")
    refused(await device.post("a", 10, b"\0" * 8 + b"\1" + b"x"), 400, "checksum-mismatch")
    assert chunks(settings) == before
    accepted(await device.raw("a", content, 6 * MIB))


async def test_a_range_of_an_open_upload_is_read_across_parts(device: Device) -> None:
    accepted(await device.raw("a", CONTENT, 0, 17 * MIB))
    got = await device.get("a", {"Range": f"bytes={7 * MIB}-"})
    assert got.status_code == 206
    assert got.content == CONTENT[7 * MIB : 17 * MIB]


class TestWithoutDisk:
    @pytest.fixture
    def settings(self, tmp_path: Path) -> Settings:
        return make_settings(tmp_path, memory_budget=10)

    async def test_a_chunk_that_has_room_nowhere_is_to_come_later(
        self, device: Device, settings: Settings, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "not there"))
        refused(await device.chunk("a", bytes(11)), 503, "busy")
        assert stored(settings) == {}
        accepted(await device.chunk("b", bytes(10)))
