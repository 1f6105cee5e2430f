"""Every answer names the upload by its ETag, and a request can be pinned to it."""

import pytest

from libs.common.settings import Settings
from tests.unit.ingest.running import park, settled, stored
from tests.unit.ingest.talk import Device, accepted, refused

CONTENT = b"0123456789"
OTHER = '"10-00000000ffffffffffffffff"'


async def test_every_answer_carries_the_session(device: Device) -> None:
    sent = await device.chunk("a", CONTENT, 0, 5)
    tag = f'"{accepted(sent)["session"]}"'
    answers = [sent, await device.status("a"), await device.get("a", {"Range": "bytes=0-"})]
    answers.append(await device.chunk("a", CONTENT, 5, 10))
    await device.completed("a")
    answers += [
        await device.status("a"),
        await device.get("a"),
        await device.head("a"),
        await device.chunk("a", CONTENT),
    ]
    assert [answer.headers["etag"] for answer in answers] == [tag] * 8
    assert (await device.status("a")).json()["session"] == tag.strip('"')


async def test_a_chunk_pinned_to_the_open_upload_is_taken(device: Device) -> None:
    tag = (await device.chunk("a", CONTENT, 0, 2)).headers["etag"]
    for start, pin in ((2, tag), (4, "*"), (6, f"{OTHER}, {tag}"), (8, f" W/{tag} ")):  # by a proxy
        accepted(await device.chunk("a", CONTENT, start, start + 2, {"If-Match": pin}))
    await device.completed("a")


@pytest.mark.parametrize("pin", [OTHER, '""', "nonsense", ""])
async def test_a_chunk_pinned_to_another_upload_is_refused(device: Device, settings: Settings, pin: str) -> None:
    accepted(await device.chunk("a", CONTENT, 0, 5))
    before = stored(settings)
    refused(await device.chunk("a", CONTENT, 5, 10, {"If-Match": pin}), 412, "precondition-failed")
    assert stored(settings) == before


@pytest.mark.parametrize("pin", [OTHER, "*"])
async def test_a_chunk_pinned_to_an_upload_starts_none(device: Device, settings: Settings, pin: str) -> None:
    refused(await device.chunk("a", CONTENT, headers={"If-Match": pin}), 412, "precondition-failed")
    assert stored(settings) == {}


async def test_a_start_is_taken_where_there_is_nothing(device: Device) -> None:
    accepted(await device.chunk("a", CONTENT, headers={"If-None-Match": "*"}))


@pytest.mark.parametrize("sent", [5, 10], ids=["open", "complete"])
async def test_a_start_is_refused_where_something_is(device: Device, settings: Settings, sent: int) -> None:
    accepted(await device.chunk("a", CONTENT, 0, sent))
    if sent == len(CONTENT):
        await device.completed("a")
    answer = await device.chunk("a", CONTENT, 0, 5, {"If-None-Match": "*"})
    refused(answer, 412, "precondition-failed")
    assert accepted(await device.status("a"))["received_bytes"] == sent


async def test_a_start_resumes_a_partial_file(device: Device, settings: Settings) -> None:
    await park(settings, "a", CONTENT, (0, 5))
    answer = await device.chunk("a", CONTENT, 5, 10, {"If-None-Match": "*"})
    assert accepted(answer)["next_expected_byte"] == 10
    await device.completed("a")
    assert (await device.get("a")).content == CONTENT


async def test_a_chunk_pinned_to_the_upload_that_completed_is_still_answered(
    device: Device, settings: Settings
) -> None:
    session = await device.upload("a", CONTENT)
    await settled(settings)
    answer = accepted(await device.chunk("a", CONTENT, 2, 7, {"If-Match": f'"{session}"'}))
    assert (answer["status"], answer["next_expected_byte"], answer["session"]) == ("complete", 10, session)
    refused(await device.chunk("a", CONTENT, 2, 7, {"If-Match": OTHER}), 412, "precondition-failed")


@pytest.mark.parametrize("sent", [5, 10], ids=["open", "complete"])
async def test_a_delete_pinned_to_another_upload_is_refused(device: Device, settings: Settings, sent: int) -> None:
    accepted(await device.chunk("a", CONTENT, 0, sent))
    if sent == len(CONTENT):
        await device.completed("a")
    refused(await device.delete("a", {"If-Match": OTHER}), 412, "precondition-failed")
    assert accepted(await device.status("a"))["received_bytes"] == sent


@pytest.mark.parametrize("sent", [5, 10], ids=["open", "complete"])
async def test_a_delete_pinned_to_this_upload_is_done(device: Device, sent: int) -> None:
    tag = (await device.chunk("a", CONTENT, 0, sent)).headers["etag"]
    if sent == len(CONTENT):
        await device.completed("a")
    assert (await device.delete("a", {"If-Match": tag})).status_code == 204
    refused(await device.status("a"), 404, "not-found")
