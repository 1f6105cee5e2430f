"""The size that an upload declares."""

from pathlib import Path

import pytest

from libs.common.settings import Settings
from tests.unit.ingest.running import make_settings, stored
from tests.unit.ingest.talk import CountedBody, Device, accepted, framed, header, refused

LIMIT = 2**33  # bytes
GIB_4 = 2**32  # bytes


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return make_settings(tmp_path, max_file_size=LIMIT)


@pytest.mark.parametrize(
    "size",
    ["", "-1", "+10", " 10", "10 ", "1.5", "1e3", "0x10", "abc", "\u0661\u0660", "10\n", "9" * 31, "None"],
)
async def test_it_must_be_a_whole_number_of_bytes(device: Device, settings: Settings, size: str) -> None:
    before = stored(settings)
    refused(await device.post("a", size, framed(b"0123456789")), 400, "bad-total-size")
    assert stored(settings) == before


@pytest.mark.parametrize("missing", ["filename", "total_size"])
async def test_it_and_the_filename_must_be_there(device: Device, settings: Settings, missing: str) -> None:
    query = {"filename": "a", "total_size": "10"}
    del query[missing]
    answer = await device.ask("POST", "/upload", params=query, content=framed(b"0123456789"))
    assert missing in refused(answer, 400, "bad-request")["detail"]
    assert stored(settings) == {}


@pytest.mark.parametrize("size", [LIMIT + 1, 10**29])
async def test_it_is_limited_before_the_body_is_read(device: Device, settings: Settings, size: int) -> None:
    body = CountedBody([framed(b"0123456789")])
    document = refused(await device.post("a", size, body), 413, "too-large")
    assert str(LIMIT) in document["detail"]
    assert (document["limited"], document["limit"]) == ("file", LIMIT)
    assert body.taken == 0
    assert stored(settings) == {}


async def test_a_file_of_the_limit_itself_is_taken(device: Device) -> None:
    answer = await device.post("a", LIMIT, b"x", {"Content-Range": f"bytes {LIMIT - 1}-{LIMIT - 1}/{LIMIT}"})
    assert accepted(answer)["next_expected_byte"] == 0
    assert accepted(await device.status("a"))["missing_ranges"] == [[0, LIMIT - 1]]


async def test_the_header_form_reaches_to_4_gib(device: Device) -> None:
    accepted(await device.post("a", GIB_4, header(GIB_4 - 1, GIB_4 - 1, ord("x")) + b"x"))
    assert accepted(await device.status("a"))["received_bytes"] == 1


async def test_beyond_4_gib_the_header_form_is_refused_and_the_way_on_named(device: Device, settings: Settings) -> None:
    body = CountedBody([framed(b"0123456789")])
    document = refused(await device.post("a", GIB_4 + 1, body), 400, "offset-too-large")
    assert "Content-Range" in document["detail"]
    assert body.taken == 0
    assert stored(settings) == {}


async def test_it_cannot_change_while_an_upload_is_open(device: Device, settings: Settings) -> None:
    accepted(await device.chunk("a", bytes(10), 0, 5))
    before = stored(settings)
    document = refused(await device.chunk("a", bytes(11), 0, 5), 409, "total-size-conflict")
    assert (document["total_size"], document["existing_total_size"]) == (11, 10)
    for word in ("11", "10", "DELETE /files/{filename}"):
        assert word in document["detail"]
    assert stored(settings) == before


async def test_it_cannot_change_once_the_file_is_complete(device: Device, settings: Settings) -> None:
    await device.upload("a", bytes(10))
    document = refused(await device.chunk("a", bytes(11), 0, 5), 409, "total-size-conflict")
    assert document["existing_total_size"] == 10
    assert (await device.get("a")).content == bytes(10)
