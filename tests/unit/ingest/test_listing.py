"""Listing an owner's files."""

from base64 import urlsafe_b64encode
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from libs.common.settings import Settings
from tests.unit.ingest.running import OWNER, park, reject, settled
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
        assert set(file) == {"filename", "owner", "status", "size", "last_modified", "labels"}
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


async def test_a_rejected_upload_is_listed_as_that(device: Device, settings: Settings) -> None:
    await reject(settings, "r", CONTENT)
    for query in ({}, {"status": "rejected"}):
        assert [(file["filename"], file["status"]) for file in (await device.files(**query))["files"]] == [
            ("r", "rejected")
        ]
    assert (await device.files(status="pending"))["files"] == []


async def test_a_resumed_file_is_pending_and_no_longer_partial(device: Device, settings: Settings) -> None:
    await park(settings, "p", CONTENT, (0, 3))
    accepted(await device.chunk("p", CONTENT, 3, 5))
    assert [file["status"] for file in (await device.files())["files"]] == ["pending"]


async def test_of_an_owner_without_files_it_is_empty(device: Device) -> None:
    assert await device.files() == {"files": [], "folders": [], "next": None}


FOLDERS = ("drives/1/a", "drives/1/b", "drives/2/a", "drives/x", "drives-old", "e", ".hidden/a")


@pytest.fixture
async def in_folders(device: Device, settings: Settings) -> None:
    """Files in folders, the last of them unfinished."""
    for name in FOLDERS:
        await device.upload(name, CONTENT)
    await park(settings, "drives/3/a", CONTENT, (0, 3))
    accepted(await device.chunk("drives/1/c", CONTENT, 0, 5))


def names(page: dict[str, Any]) -> list[str]:
    return [file["filename"] for file in page["files"]]


@pytest.mark.usefixtures("in_folders")
@pytest.mark.parametrize(
    ("prefix", "files"),
    [
        ("drives/1", ["drives/1/a", "drives/1/b", "drives/1/c"]),
        ("drives/", ["drives/1/a", "drives/1/b", "drives/2/a", "drives/x", "drives/3/a", "drives/1/c"]),
        ("drives/3/", ["drives/3/a"]),
        ("drives/1/c", ["drives/1/c"]),
        ("drives/1/c/", []),
        (".", [".hidden/a"]),
        ("..", []),
        ("x", []),
    ],
)
async def test_a_prefix_chooses_names_of_every_status(device: Device, prefix: str, files: list[str]) -> None:
    assert names(await device.files(prefix=prefix)) == files


@pytest.mark.usefixtures("in_folders")
@pytest.mark.parametrize(
    ("query", "files", "folders"),
    [
        ({}, ["drives-old", "e"], [".hidden/", "drives/"]),
        ({"prefix": "drives"}, ["drives-old"], ["drives/"]),
        ({"prefix": "drives/"}, ["drives/x"], ["drives/1/", "drives/2/", "drives/3/"]),
        ({"prefix": "drives/1/"}, ["drives/1/a", "drives/1/b", "drives/1/c"], []),
        ({"status": "pending"}, [], ["drives/"]),
        ({"status": "partial", "prefix": "drives/"}, [], ["drives/3/"]),
    ],
)
async def test_with_a_delimiter_folders_stand_for_what_is_in_them(
    device: Device, query: dict[str, str], files: list[str], folders: list[str]
) -> None:
    page = await device.files(delimiter="/", **query)
    assert (names(page), page["folders"], page["next"]) == (files, folders, None)


@pytest.mark.usefixtures("in_folders")
@pytest.mark.parametrize("limit", [1, 2, 3])
async def test_pages_of_folders_hold_each_file_once_and_each_folder_once_for_a_status(
    device: Device, limit: int
) -> None:
    files, folders, after = list[str](), list[str](), dict[str, str]()
    for _ in range(10):
        page = await device.files(delimiter="/", prefix="drives/", status="complete", limit=limit, **after)
        files, folders = files + names(page), folders + page["folders"]
        if page["next"] is None:
            break
        assert len(page["files"]) + len(page["folders"]) == limit
        after = {"after": page["next"]}
    assert (files, folders) == (["drives/x"], ["drives/1/", "drives/2/"])


FOREIGN = (
    "nonsense",
    "%%%",
    "ä",
    "complete:a",
    *(
        urlsafe_b64encode(text).decode()
        for text in (b"weird:a", b"complete", b"\xff\xfe", b"complete:\x00", b"pending:a/")
    ),
)


@pytest.mark.parametrize("after", FOREIGN)
async def test_a_cursor_must_be_one_of_this_server(device: Device, after: str) -> None:
    refused(await device.ask("GET", "/files", params={"after": after}), 400, "bad-request")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(("limit", "0"), ("limit", "1001"), ("limit", "x"), ("limit", "-1"), ("status", "done")),
        *(("delimiter", "-"), ("delimiter", ""), ("prefix", "../"), ("prefix", "a//"), ("prefix", "a/=b")),
    ],
)
async def test_its_parameters_must_be_what_the_api_says(device: Device, name: str, value: str) -> None:
    refused(await device.ask("GET", "/files", params={name: value}), 400, "bad-request")
