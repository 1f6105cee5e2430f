"""A declared digest of the whole file is checked before the file is complete."""

import asyncio

import httpx
import pytest

from libs.common.settings import Settings
from tests.unit.ingest.running import files_below, payloads, settled, stored
from tests.unit.ingest.talk import Device, accepted, digest, refused, until

CONTENT = b"0123456789"


@pytest.mark.parametrize("declared_on", [[0], [1], [0, 1]])
async def test_the_right_one_completes_the_file(device: Device, declared_on: list[int]) -> None:
    for n, (start, end) in enumerate([(0, 5), (5, 10)]):
        headers = {"Repr-Digest": digest(CONTENT)} if n in declared_on else {}
        accepted(await device.chunk("a", CONTENT, start, end, headers))
    await device.completed("a")
    assert (await device.get("a")).headers["repr-digest"] == digest(CONTENT)


async def rejected(device: Device, filename: str) -> httpx.Response:
    """The status of a file, once it is no longer an upload that is being rejected."""
    async with asyncio.timeout(15):
        while (answer := await device.status(filename)).status_code == 200:
            assert answer.json()["status"] == "pending"
            await asyncio.sleep(0.02)
    return answer


async def test_the_wrong_one_rejects_the_file_and_a_new_upload_starts_from_byte_0(
    device: Device, settings: Settings
) -> None:
    accepted(await device.chunk("a", CONTENT, 0, 5, {"Repr-Digest": digest(b"something else")}))
    accepted(await device.chunk("a", CONTENT, 5, 10))
    refused(await rejected(device, "a"), 410, "file-rejected")
    refused(await device.get("a"), 410, "file-rejected")
    kept = files_below(settings.perm_upload_dir / "rejected" / "car-7" / "a")
    assert [file.read_bytes() for file in kept] == [CONTENT]
    assert [file["status"] for file in (await device.files())["files"]] == ["rejected"]
    answer = accepted(await device.chunk("a", b"something else", 0, 9, {"If-None-Match": "*"}))
    assert answer["next_expected_byte"] == 9
    accepted(await device.chunk("a", b"something else", 9, 14, {"Repr-Digest": digest(b"something else")}))
    await device.completed("a")
    assert (await device.get("a")).content == b"something else"


@pytest.mark.parametrize("sent", [5, 10], ids=["open", "complete"])
async def test_a_second_one_that_differs_is_refused(device: Device, settings: Settings, sent: int) -> None:
    accepted(await device.chunk("a", CONTENT, 0, sent, {"Repr-Digest": digest(CONTENT)}))
    if sent == len(CONTENT):
        await device.completed("a")
        await settled(settings)
    before = payloads(settings)
    answer = await device.chunk("a", CONTENT, 5, 10, {"Repr-Digest": digest(b"something else")})
    refused(answer, 409, "digest-conflict")
    assert payloads(settings) == before


async def test_one_that_comes_with_a_bad_chunk_does_not_count(device: Device, settings: Settings) -> None:
    accepted(await device.chunk("a", CONTENT, 0, 5))
    before = stored(settings)
    bad = {"Repr-Digest": digest(b"something else"), "Content-Digest": digest(b"x")}
    refused(await device.chunk("a", CONTENT, 5, 10, bad), 400, "digest-mismatch")
    assert stored(settings) == before
    accepted(await device.chunk("a", CONTENT, 5, 10, {"Repr-Digest": digest(CONTENT)}))
    await device.completed("a")


async def test_one_that_comes_with_bytes_in_conflict_does_not_count(device: Device, settings: Settings) -> None:
    accepted(await device.chunk("a", CONTENT, 0, 5))
    before = stored(settings)
    other = b"x" * len(CONTENT)
    answer = await device.chunk("a", other, 0, 10, {"Repr-Digest": digest(other)})
    refused(answer, 409, "content-conflict")
    assert stored(settings) == before


async def test_what_was_rejected_can_be_deleted(device: Device, settings: Settings) -> None:
    accepted(await device.chunk("a", CONTENT, 0, 5, {"Repr-Digest": digest(b"something else")}))
    accepted(await device.chunk("a", CONTENT, 5, 10))
    refused(await rejected(device, "a"), 410, "file-rejected")
    assert (await device.delete("a")).status_code == 204
    refused(await device.status("a"), 404, "not-found")
    await until(lambda: files_below(settings.perm_upload_dir / "rejected") == [])


async def test_a_file_in_one_request_that_is_not_what_it_declares_is_refused_and_not_stored(
    device: Device, settings: Settings
) -> None:
    wrong = {"Repr-Digest": digest(b"something else")}
    refused(await device.chunk("a", CONTENT, headers=wrong), 400, "digest-mismatch")
    assert stored(settings) == {}
    accepted(await device.chunk("a", CONTENT, headers={"Repr-Digest": digest(CONTENT)}))
