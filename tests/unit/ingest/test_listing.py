"""Listing an owner's files."""

from base64 import urlsafe_b64encode
from datetime import UTC, datetime, timedelta

import pytest

from libs.common.settings import Settings
from tests.unit.ingest.running import OWNER, park, settled
from tests.unit.ingest.talk import Device, accepted, refused

CONTENT = b"0123456789"
COMPLETE = ("a", "a b", "a-b", "b", "ä")
PARTIAL = ("p", "p-q", "p0", "q")
PENDING = ("x", "x y", "x-y", "x0", "😀")


@pytest.fixture
async def files(device: Device, settings: Settings) -> list[tuple[str, str]]:
    """Names with their status, in the order of the listing: by section, then by the bytes of the storage keys."""
    for name in COMPLETE:
        await device.upload(name, CONTENT)
    await settled(settings)
    for name in PARTIAL:
        await park(settings, name, CONTENT, (0, 3), (5, 7))
    for name in PENDING:
        accepted(await device.chunk(name, CONTENT, 0, 5))
        accepted(await device.chunk(name, CONTENT, 7, 9))
    by_folder = [
        (status, sorted(names, key=lambda name: f"{name}/".encode()))
        for status, names in (("partial", PARTIAL), ("pending", PENDING))
    ]
    complete = [("complete", sorted(COMPLETE, key=str.encode))]
    return [(name, status) for status, names in [*complete, *by_folder] for name in names]


async def test_it_tells_complete_then_partial_then_pending_files(device: Device, files: list[tuple[str, str]]) -> None:
    page = await device.files()
    assert [(file["filename"], file["status"]) for file in page["files"]] == files
    assert page["next"] is None
    for file in page["files"]:
        assert set(file) == {"filename", "owner", "status", "size", "last_modified"}
        assert (file["owner"], file["size"]) == (OWNER, 10)
        assert datetime.now(UTC) - datetime.fromisoformat(file["last_modified"]) < timedelta(minutes=1)


@pytest.mark.parametrize("limit", [1, 2, 5, 14])
async def test_its_pages_hold_every_file_once(device: Device, files: list[tuple[str, str]], limit: int) -> None:
    seen: list[tuple[str, str]] = []
    after: dict[str, str] = {}
    for _ in range(len(files) + 1):
        page = await device.files(limit=limit, **after)
        seen += [(file["filename"], file["status"]) for file in page["files"]]
        if page["next"] is None:
            break
        assert len(page["files"]) == limit
        after = {"after": page["next"]}
    assert seen == files


@pytest.mark.parametrize("status", ["complete", "partial", "pending"])
async def test_it_can_be_of_one_status(device: Device, files: list[tuple[str, str]], status: str) -> None:
    wanted = [name for name, there in files if there == status]
    assert [file["filename"] for file in (await device.files(status=status))["files"]] == wanted
    first = await device.files(status=status, limit=2)
    rest = await device.files(status=status, after=first["next"])
    assert [file["filename"] for file in first["files"] + rest["files"]] == wanted


async def test_a_resumed_file_is_pending_and_no_longer_partial(device: Device, settings: Settings) -> None:
    await park(settings, "p", CONTENT, (0, 3))
    accepted(await device.chunk("p", CONTENT, 3, 5))
    assert [file["status"] for file in (await device.files())["files"]] == ["pending"]


async def test_of_an_owner_without_files_it_is_empty(device: Device) -> None:
    assert await device.files() == {"files": [], "next": None}


FOREIGN = (
    "nonsense",
    "%%%",
    "ä",
    "complete:a",
    *(
        urlsafe_b64encode(text).decode()
        for text in (b"weird:a", b"complete", b"\xff\xfe", b"complete:\x00", b"pending:a/b")
    ),
)


@pytest.mark.parametrize("after", FOREIGN)
async def test_a_cursor_must_be_one_of_this_server(device: Device, after: str) -> None:
    refused(await device.ask("GET", "/files", params={"after": after}), 400, "bad-request")


@pytest.mark.parametrize(
    ("name", "value"),
    [("limit", "0"), ("limit", "1001"), ("limit", "x"), ("limit", "-1"), ("status", "done")],
)
async def test_its_parameters_must_be_what_the_api_says(device: Device, name: str, value: str) -> None:
    refused(await device.ask("GET", "/files", params={name: value}), 400, "bad-request")
