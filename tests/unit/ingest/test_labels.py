"""Labels of files, from the first chunk to status, listing, download and event."""

import pytest
from fastapi import FastAPI

from libs.common.bus import EVERY_OWNER
from libs.common.bus.events import Event, FileCompleted
from libs.common.settings import Settings
from tests.unit.ingest.running import settled, stored
from tests.unit.ingest.talk import Device, accepted, refused, until

CONTENT = b"0123456789"
LABELS = {"drive": "0417", "trip": "two words"}
FIELD = {"Hiper-Label": "drive=0417, trip=two words"}


async def shown(device: Device) -> object:
    """What status and listing say of `a`."""
    status = accepted(await device.status("a"))["labels"]
    (listed,) = (await device.files(labels="true"))["files"]
    assert listed["labels"] == status
    return status


async def test_a_file_in_one_request_keeps_its_labels(device: Device) -> None:
    await device.upload("a", CONTENT, FIELD)
    assert await shown(device) == LABELS


@pytest.mark.parametrize("size", [10, 9 * 2**20], ids=["one part", "many parts"])
async def test_an_upload_shows_its_labels_and_so_does_the_file(device: Device, settings: Settings, size: int) -> None:
    content = bytes(size)
    accepted(await device.chunk("a", content, 0, 5, FIELD))
    assert await shown(device) == LABELS
    accepted(await device.chunk("a", content, 5, size))
    await device.completed("a")
    await settled(settings)
    assert await shown(device) == LABELS


async def test_the_labels_of_the_first_chunk_count(device: Device) -> None:
    accepted(await device.chunk("a", CONTENT, 0, 5, FIELD))
    accepted(await device.chunk("a", CONTENT, 5, 8, {"Hiper-Label": "drive=another"}))
    assert await shown(device) == LABELS


async def test_a_listing_asks_for_the_labels_of_complete_files_only_where_it_is_told_to(device: Device) -> None:
    await device.upload("a", CONTENT, FIELD)
    accepted(await device.chunk("b", CONTENT, 0, 5, FIELD))
    assert [file["labels"] for file in (await device.files())["files"]] == [None, LABELS]


async def test_a_field_may_come_several_times(device: Device) -> None:
    field = [
        ("Hiper-Label", "drive=0417"),
        ("Hiper-Label", "trip=two words"),
        ("Authorization", f"Bearer {device.token}"),
    ]
    query = {"filename": "a", "total_size": "1"}
    body = b"\0" * 8 + b"\x61" + b"a"
    accepted(await device.http.post("/upload", params=query, content=body, headers=field))
    assert await shown(device) == LABELS


async def test_a_completed_file_is_told_with_its_labels(app: FastAPI, device: Device) -> None:
    told: list[Event] = []
    app.state.bus.listen(told.append).watch(EVERY_OWNER)
    await device.upload("a", CONTENT, FIELD)
    accepted(await device.chunk("b", CONTENT, 0, 5, FIELD))
    accepted(await device.chunk("b", CONTENT, 5, 10))

    def completed() -> dict[str, dict[str, str]]:
        return {event.data.filename: event.data.labels for event in told if isinstance(event, FileCompleted)}

    await until(lambda: completed() == {"a": LABELS, "b": LABELS})


async def test_bad_labels_are_refused_and_nothing_is_stored(device: Device, settings: Settings) -> None:
    for field in ("drive", "Drive=1", "drive=", ",".join(f"k{n}=v" for n in range(11))):
        refused(await device.chunk("a", CONTENT, headers={"Hiper-Label": field}), 400, "bad-label")
    assert stored(settings) == {}
