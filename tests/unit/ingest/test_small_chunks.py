"""Small chunks: as many as a small file needs, and no more, for each is an object of the store."""

from pathlib import Path

import httpx
import pytest

from libs.common.files.extents import Extent, Extents
from libs.common.problems import Kind, Problem
from libs.common.settings import Settings
from libs.common.uploads import least
from libs.common.uploads.least import LeastSize
from tests.unit.ingest.running import make_settings
from tests.unit.ingest.talk import Device, accepted, refused

CONTENT = bytes(range(200))
LEAST = 20  # bytes


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return make_settings(tmp_path, min_chunk_size=LEAST)


@pytest.fixture(autouse=True)
def _few(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(least, "FREE", 3)


async def sent_one_by_one(device: Device, *, until: int) -> httpx.Response:
    for at in range(until):
        answer = await device.chunk("a", CONTENT, at, at + 1)
    return answer


async def test_an_upload_of_crumbs_is_refused_once_it_has_many(device: Device) -> None:
    accepted(await sent_one_by_one(device, until=3))
    problem = refused(await device.chunk("a", CONTENT, 3, 4), 400, "chunk-too-small")
    assert problem["least"] == LEAST


async def test_larger_chunks_go_on_where_the_crumbs_ended(device: Device) -> None:
    accepted(await sent_one_by_one(device, until=3))
    accepted(await device.chunk("a", CONTENT, 3, 3 + LEAST))
    accepted(await device.chunk("a", CONTENT, 3 + LEAST, 199))
    accepted(await device.chunk("a", CONTENT, 199))  # the last chunk may be small
    await device.completed("a")


async def test_a_gap_can_be_filled_however_small_it_is(device: Device) -> None:
    accepted(await sent_one_by_one(device, until=3))
    accepted(await device.chunk("a", CONTENT, 5, 100))
    accepted(await device.chunk("a", CONTENT, 3, 5))


async def test_crumbs_sent_backwards_are_no_way_round(device: Device) -> None:
    for at in range(150, 147, -1):
        accepted(await device.chunk("a", CONTENT, at, at + 1))
    refused(await device.chunk("a", CONTENT, 147, 148), 400, "chunk-too-small")


async def test_a_crumb_that_is_there_already_is_acknowledged_again(device: Device) -> None:
    accepted(await sent_one_by_one(device, until=3))
    accepted(await device.chunk("a", CONTENT, 2, 3))


def test_without_a_least_size_any_goes() -> None:
    LeastSize(0).check(Extent(5, 6), 100, Extents(), 1_000_000)
    with pytest.raises(Problem) as caught:
        LeastSize(2).check(Extent(5, 6), 100, Extents(), 1_000_000)
    assert caught.value.kind is Kind.CHUNK_TOO_SMALL
