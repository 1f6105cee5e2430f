"""Chunks come in any order, twice and overlapping; acknowledged bytes never change."""

import asyncio
import itertools
import random

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from libs.common.settings import Settings
from services.embedded.app import build_app
from tests.unit.ingest.running import settled, stored, token_for
from tests.unit.ingest.talk import Device, accepted, refused

SIZE = 60  # bytes
CONTENT = bytes(range(SIZE))
OTHER = bytes(255 - byte for byte in CONTENT)  # differs in every byte
OVERLAPS = {
    "exact": (20, 40),
    "over its start": (15, 21),
    "over its end": (39, 45),
    "inside": (25, 30),
    "around": (10, 50),
    "over two": (30, 56),
}


async def two_chunks(device: Device) -> None:
    accepted(await device.chunk("a", CONTENT, 20, 40))
    accepted(await device.chunk("a", CONTENT, 55, 60))


@pytest.mark.parametrize(("start", "end"), OVERLAPS.values(), ids=OVERLAPS)
async def test_other_bytes_for_an_acknowledged_range_are_refused(
    device: Device, settings: Settings, start: int, end: int
) -> None:
    await two_chunks(device)
    before = stored(settings)
    document = refused(await device.chunk("a", OTHER, start, end), 409, "content-conflict")
    assert start <= document["start"] <= document["end"] < end
    assert "DELETE /files/{filename}" in document["detail"]
    assert stored(settings) == before


@pytest.mark.parametrize(("start", "end"), OVERLAPS.values(), ids=OVERLAPS)
async def test_the_same_bytes_again_are_taken(device: Device, start: int, end: int) -> None:
    await two_chunks(device)
    assert accepted(await device.chunk("a", CONTENT, start, end))["next_expected_byte"] == 0
    offset = 60 if end > 55 else max(40, end)  # what follows without a gap once 0 to 30 are there
    assert accepted(await device.raw("a", CONTENT, 0, 30))["next_expected_byte"] == offset
    accepted(await device.raw("a", CONTENT))
    await device.completed("a")
    assert (await device.get("a")).content == CONTENT


@pytest.mark.parametrize("cleaned", [False, True])
@pytest.mark.parametrize(("start", "end"), OVERLAPS.values(), ids=OVERLAPS)
async def test_of_a_complete_file_the_same_bytes_are_taken_and_others_refused(
    device: Device, settings: Settings, start: int, end: int, cleaned: bool
) -> None:
    await device.upload("a", CONTENT)
    if cleaned:
        await settled(settings)
    refused(await device.chunk("a", OTHER, start, end), 409, "content-conflict")
    again = accepted(await device.chunk("a", CONTENT, start, end))
    assert again["next_expected_byte"] == SIZE
    if cleaned:  # before that, an answer from the chunks themselves is as good
        assert again["status"] == "complete"
    assert (await device.get("a")).content == CONTENT


async def test_one_byte_that_differs_is_enough(device: Device, settings: Settings) -> None:
    await two_chunks(device)
    before = stored(settings)
    document = refused(await device.chunk("a", CONTENT[:39] + b"x" + CONTENT[40:], 10, 50), 409, "content-conflict")
    assert document["end"] == 39
    assert stored(settings) == before


async def test_a_conflict_does_not_stop_the_upload(device: Device) -> None:
    await two_chunks(device)
    refused(await device.chunk("a", OTHER, 0, 60), 409, "content-conflict")
    assert accepted(await device.chunk("a", CONTENT, 0, 20))["next_expected_byte"] == 40
    assert accepted(await device.chunk("a", CONTENT, 40, 55))["next_expected_byte"] == SIZE
    await device.completed("a")
    assert (await device.get("a")).content == CONTENT


async def test_another_process_goes_on_where_the_first_one_died(device: Device, settings: Settings) -> None:
    await two_chunks(device)
    second = build_app(settings)
    async with (
        second.router.lifespan_context(second),
        httpx.AsyncClient(transport=httpx.ASGITransport(second), base_url="http://test") as client,
    ):
        other = Device(client, token_for(settings))
        refused(await other.chunk("a", OTHER, 20, 40), 409, "content-conflict")
        assert accepted(await other.chunk("a", CONTENT, 0, 20))["next_expected_byte"] == 40
        assert accepted(await other.chunk("a", CONTENT, 40, 55))["next_expected_byte"] == SIZE
        await other.completed("a")
    assert (await device.get("a")).content == CONTENT


numbers = itertools.count()
chunks = st.lists(
    st.tuples(st.integers(0, SIZE - 1), st.integers(1, SIZE), st.booleans()).map(
        lambda drawn: (drawn[0], min(SIZE, drawn[0] + drawn[1]), drawn[2])
    ),
    max_size=12,
)


@pytest.mark.no_cover  # other tests reach the same lines
class TestAnySequence:
    """With parts of 16 bytes, so that chunks cross their boundaries."""

    @pytest.fixture(autouse=True)
    def small_parts(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("libs.common.uploads.layout.MIN_PART_SIZE", 16)

    @settings(
        max_examples=40,
        suppress_health_check=[HealthCheck.function_scoped_fixture],
    )
    @given(sent=chunks)
    async def test_of_chunks_completes_the_file_with_the_right_offset_in_every_answer(
        self, device: Device, sent: list[tuple[int, int, bool]]
    ) -> None:
        filename, there = f"file-{next(numbers)}", bytearray(SIZE)
        for start, end, raw in [*sent, *((at, min(SIZE, at + 13), True) for at in range(0, SIZE, 13))]:
            answer = accepted(await (device.raw if raw else device.chunk)(filename, CONTENT, start, end))
            there[start:end] = b"\1" * (end - start)
            assert answer["next_expected_byte"] == (there + b"\0").index(0)
        await device.completed(filename)
        assert (await device.get(filename)).content == CONTENT


async def test_many_chunks_at_once_complete_the_file(device: Device) -> None:

    shuffled = random.Random(1)
    extents = [(at, min(SIZE, at + 7)) for at in range(0, SIZE, 5)] * 2
    shuffled.shuffle(extents)
    answers = await asyncio.gather(*(device.raw("a", CONTENT, *extent) for extent in extents))
    offsets = [accepted(answer)["next_expected_byte"] for answer in answers]
    assert max(offsets) == SIZE
    await device.completed("a")
    assert (await device.get("a")).content == CONTENT
