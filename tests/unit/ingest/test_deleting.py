"""Cancelling uploads and deleting files."""

import asyncio

from libs.common.settings import Settings
from tests.unit.ingest.running import files_below, park, settled
from tests.unit.ingest.talk import Device, accepted, refused

CONTENT = b"0123456789"
NEW = b"another content"


async def gone(device: Device, settings: Settings) -> None:
    """What holds after every DELETE of `a`."""
    refused(await device.status("a"), 404, "not-found")
    refused(await device.get("a"), 404, "not-found")
    assert (await device.files())["files"] == []
    await settled(settings)
    assert not any(files_below(settings.perm_upload_dir / kind) for kind in ("files", "partials"))


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
    session = accepted(await device.chunk("a", CONTENT, 0, 5))["session"]
    pin = {"If-Match": f'"{session}"'}
    deleting = asyncio.create_task(device.delete("a"))
    while not deleting.done():
        chunk = await device.chunk("a", CONTENT, 5, 8, pin)
        assert chunk.status_code in {200, 412}
    assert deleting.result().status_code == 204
    refused(await device.chunk("a", CONTENT, 5, 8, pin), 412, "precondition-failed")


async def test_an_empty_file_can_come_again_after_it_was_deleted(device: Device, settings: Settings) -> None:
    await device.upload("a", b"")
    assert (await device.delete("a")).status_code == 204
    await device.upload("a", b"")


async def test_what_is_not_there_cannot_be_deleted(device: Device, settings: Settings) -> None:
    refused(await device.delete("a"), 404, "not-found")
    await settled(settings)
    refused(await device.status("a"), 404, "not-found")


async def test_deleting_twice_is_deleting_once(device: Device, settings: Settings) -> None:
    accepted(await device.chunk("a", CONTENT, 0, 5))
    answers = [await device.delete("a"), await device.delete("a")]
    assert [answer.status_code for answer in answers] == [204, 204]


async def test_only_the_file_of_that_name_is_deleted(device: Device, settings: Settings) -> None:
    for name in ("a", "a b", "a-b", "ab"):
        accepted(await device.chunk(name, CONTENT, 0, 5))
    assert (await device.delete("a")).status_code == 204
    assert [file["filename"] for file in (await device.files())["files"]] == ["a b", "a-b", "ab"]
    accepted(await device.chunk("a", CONTENT, 0, 1))
    assert len((await device.files())["files"]) == 4
