"""Cancelling uploads and deleting files."""

import asyncio
from pathlib import Path

import pytest

from libs.common.settings import Settings
from tests.unit.ingest.running import files_below, park, settled, stored
from tests.unit.ingest.talk import Device, accepted, refused, until

pytestmark = pytest.mark.usefixtures("hasty")
CONTENT = b"0123456789"
NEW = b"another content"


async def gone(device: Device, settings: Settings) -> None:
    """What holds after every DELETE of `a`."""
    refused(await device.status("a"), 404, "not-found")
    refused(await device.get("a"), 404, "not-found")
    assert (await device.files())["files"] == []
    refused(await device.chunk("a", CONTENT, 5, 10), 503, "upload-closing")
    refused(await device.chunk("a", NEW), 503, "upload-closing")
    await settled(settings)
    assert stored(settings) == {}
    refused(await device.status("a"), 404, "not-found")


async def usable_again(device: Device) -> None:
    assert accepted(await device.chunk("a", NEW, 0, 5, {"If-None-Match": "*"}))["next_expected_byte"] == 5
    accepted(await device.chunk("a", NEW, 5))
    await device.completed("a")
    assert (await device.get("a")).content == NEW


async def test_an_open_upload_is_cancelled(device: Device, settings: Settings) -> None:
    accepted(await device.chunk("a", CONTENT, 0, 5))
    assert (await device.delete("a")).status_code == 204
    await gone(device, settings)
    await usable_again(device)


async def test_a_complete_file_is_deleted(device: Device, settings: Settings) -> None:
    await device.upload("a", CONTENT)
    assert (await device.delete("a")).status_code == 204
    await gone(device, settings)
    await usable_again(device)


async def test_a_partial_file_is_deleted(device: Device, settings: Settings) -> None:
    await park(settings, "a", CONTENT, (0, 5))
    assert (await device.delete("a")).status_code == 204
    await gone(device, settings)
    await usable_again(device)


async def test_from_the_answer_on_no_chunk_is_acknowledged(device: Device, settings: Settings) -> None:
    """Not even by a process that looked at the upload a moment before."""
    accepted(await device.chunk("a", CONTENT, 0, 5))
    deleting = asyncio.create_task(device.delete("a"))
    while not deleting.done():
        chunk = await device.chunk("a", CONTENT, 5, 8)
        assert chunk.status_code in {200, 503}
    assert deleting.result().status_code == 204
    refused(await device.chunk("a", CONTENT, 5, 8), 503, "upload-closing")


async def test_an_empty_file_can_come_again_after_it_was_deleted(device: Device, settings: Settings) -> None:
    await device.upload("a", b"")
    assert (await device.delete("a")).status_code == 204
    refused(await device.chunk("a", b""), 503, "upload-closing")
    await settled(settings)
    await device.upload("a", b"")


async def test_what_is_not_there_cannot_be_deleted(device: Device, settings: Settings) -> None:
    refused(await device.delete("a"), 404, "not-found")
    assert stored(settings) == {}


async def test_deleting_twice_is_deleting_once(device: Device, settings: Settings) -> None:
    accepted(await device.chunk("a", CONTENT, 0, 5))
    answers = [await device.delete("a"), await device.delete("a")]
    assert [answer.status_code for answer in answers] == [204, 204]
    await settled(settings)
    refused(await device.delete("a"), 404, "not-found")


async def test_only_the_file_of_that_name_is_deleted(device: Device, settings: Settings) -> None:
    for name in ("a", "a b", "a-b", "ab"):
        accepted(await device.chunk(name, CONTENT, 0, 5))
    assert (await device.delete("a")).status_code == 204
    assert [file["filename"] for file in (await device.files())["files"]] == ["a b", "a-b", "ab"]
    await until(lambda: not session_files(settings, "a"))
    accepted(await device.chunk("a", CONTENT, 0, 1))
    assert len((await device.files())["files"]) == 4


def session_files(settings: Settings, filename: str) -> list[Path]:
    return [file for file in files_below(settings.temp_upload_dir / "sessions") if filename in file.parts]
