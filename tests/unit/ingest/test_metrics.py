"""What a whole process tells Prometheus of the way of its files."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from libs.common.settings import Settings
from services.ingest.metrics import NAMES
from tests.unit.ingest.running import make_settings, settled
from tests.unit.ingest.talk import Device, accepted, digest, framed, refused, until
from tests.unit.metrics import growth, value

STEP = "hiper_chunk_step_duration_seconds_count"


async def test_a_chunk_is_measured_at_every_step(device: Device) -> None:
    before = {name: value(STEP, step=name) for name in NAMES}
    with growth("hiper_chunk_received_bytes_total") as received:
        accepted(await device.chunk("a", b"hello, world", 0, 5))
    assert {name: value(STEP, step=name) - count for name, count in before.items()} == dict.fromkeys(NAMES, 1)
    assert received.by == 5


async def test_a_chunk_that_is_not_what_it_says_is_no_payload(device: Device) -> None:
    with growth("hiper_chunk_received_bytes_total") as received:
        refused(await device.post("a", 10, b"\0" * 8 + b"\1" + b"x"), 400, "checksum-mismatch")
    assert received.by == 0


async def test_a_problem_is_counted_by_its_slug(device: Device) -> None:
    with growth("hiper_http_problems_total", type="checksum-mismatch", status="400") as problems:
        refused(await device.post("a", 10, b"\0" * 8 + b"\1" + b"x"), 400, "checksum-mismatch")
    assert problems.by == 1


@pytest.mark.parametrize(("budget", "where"), [(1000, "memory"), (0, "disk")])
class TestBuffers:
    @pytest.fixture
    def settings(self, budget: int, tmp_path: Path) -> Settings:
        return make_settings(tmp_path, memory_budget=budget)

    async def test_bodies_under_way_are_counted_where_they_are(self, device: Device, budget: int, where: str) -> None:
        free = asyncio.Event()

        async def slowly() -> AsyncIterator[bytes]:
            yield framed(b"hello")[:10]
            await free.wait()
            yield framed(b"hello")[10:]

        before = value("hiper_ingest_buffered_bytes", where=where)
        sending = asyncio.create_task(device.post("a", 5, slowly()))
        await until(lambda: value("hiper_ingest_buffered_bytes", where=where) == before + 5)
        free.set()
        accepted(await sending)
        assert value("hiper_ingest_buffered_bytes", where=where) == before
        assert value("hiper_ingest_memory_budget_bytes") == budget


async def test_a_complete_file_is_counted_with_its_lag(device: Device, settings: Settings) -> None:
    with (
        growth("hiper_files_completed_total") as completed,
        growth("hiper_finalize_lag_seconds_count") as lags,
        growth("hiper_finalize_lag_seconds_sum") as seconds,
    ):
        accepted(await device.chunk("a", b"hello", 0, 2))
        accepted(await device.chunk("a", b"hello", 2, 5))
        await settled(settings)
    assert (completed.by, lags.by) == (1, 1)
    assert 0 <= seconds.by < 10


async def test_a_file_that_comes_in_one_request_is_counted_too(device: Device) -> None:
    with growth("hiper_files_completed_total") as completed:
        await device.upload("a", b"hello")
        await device.upload("a", b"hello")
    assert completed.by == 1


async def test_a_rejected_file_is_counted(device: Device, settings: Settings) -> None:
    wrong = {"Repr-Digest": digest(b"other")}
    before = value("hiper_files_rejected_total")
    with growth("hiper_files_completed_total") as completed:
        accepted(await device.chunk("a", b"hello", 0, 2, wrong))
        accepted(await device.chunk("a", b"hello", 2, 5))
        await until(lambda: value("hiper_files_rejected_total") == before + 1)
    assert completed.by == 0
