"""Downloads, whole and in ranges (RFC 9110, sections 13 and 14)."""

import pytest
from fastapi import FastAPI

from libs.common.files.extents import Extent
from libs.common.settings import Settings
from libs.common.storage import ObjectNotFound
from libs.common.storage.filesystem import FilesystemStore
from libs.common.uploads.layout import FileId, file_key
from libs.common.uploads.reading import FileReader
from services.ingest.ranges import http_date
from services.ingest.routes_files import started
from services.ingest.upload_head import media_type
from tests.unit.ingest.running import OWNER, park, settled
from tests.unit.ingest.talk import Device, accepted, digest, refused

CONTENT = bytes(range(100))
RANGES = {
    "bytes=0-0": (0, 1),
    "bytes=10-19": (10, 20),
    "bytes=0-99": (0, 100),
    "bytes=90-": (90, 100),
    "bytes=95-1000": (95, 100),
    "bytes=-5": (95, 100),
    "bytes=-100": (0, 100),
    "bytes=-1000": (0, 100),
    "BYTES=0-4": (0, 5),
}
IGNORED = (
    "",
    "bytes=",
    "bytes=-",
    "bytes=5-4",
    "bytes=a-b",
    "bytes=0-1,5-6",
    "bytes=0-4;x",
    "bytes 0-4",
    "items=0-4",
    "0-4",
    f"bytes=0-{10**30}",
)


@pytest.fixture
async def tag(device: Device) -> str:
    """The ETag of a complete file `a`."""
    return f'"{await device.upload("a", CONTENT, {"Content-Type": "text/csv"})}"'


@pytest.mark.usefixtures("tag")
@pytest.mark.parametrize(("field", "extent"), RANGES.items(), ids=RANGES)
async def test_a_range_is_answered_in_part(device: Device, field: str, extent: tuple[int, int]) -> None:
    start, end = extent
    got = await device.get("a", {"Range": field})
    assert (got.status_code, got.content) == (206, CONTENT[start:end])
    assert got.headers["content-range"] == f"bytes {start}-{end - 1}/100"
    assert got.headers["content-length"] == str(end - start)


@pytest.mark.usefixtures("tag")
@pytest.mark.parametrize("field", ["bytes=100-", "bytes=100-200", f"bytes={10**15}-", "bytes=-0"])
async def test_a_range_beyond_the_end_tells_the_size(device: Device, field: str) -> None:
    got = await device.get("a", {"Range": field})
    refused(got, 416, "range-not-satisfiable")
    assert got.headers["content-range"] == "bytes */100"


@pytest.mark.usefixtures("tag")
@pytest.mark.parametrize("field", IGNORED)
async def test_several_ranges_and_what_is_no_range_are_ignored(device: Device, field: str) -> None:
    got = await device.get("a", {"Range": field})
    assert (got.status_code, got.content) == (200, CONTENT)
    assert "content-range" not in got.headers


async def test_if_range_lets_the_range_stand_for_the_same_file_only(device: Device, tag: str) -> None:
    modified = (await device.get("a")).headers["last-modified"]
    for validator, status in (
        (tag, 206),
        (modified, 206),
        ('"other"', 200),
        (f"W/{tag}", 200),
        (http_date(0), 200),
        ("nonsense", 200),
    ):
        got = await device.get("a", {"Range": "bytes=0-4", "If-Range": validator})
        assert (validator, got.status_code) == (validator, status)


@pytest.mark.usefixtures("tag")
async def test_a_head_is_answered_like_a_get_without_the_bytes(device: Device) -> None:
    got, head = await device.get("a"), await device.head("a")
    assert (head.status_code, head.content) == (200, b"")
    for answer in (got, head):
        del answer.headers["x-request-id"]
    assert head.headers == got.headers


@pytest.mark.usefixtures("tag")
async def test_a_head_knows_no_ranges(device: Device) -> None:
    head = await device.head("a", {"Range": "bytes=0-4"})
    assert (head.status_code, head.headers["content-length"]) == (200, "100")


async def test_what_the_client_has_already_is_not_sent_again(device: Device, tag: str) -> None:
    for known, status in ((tag, 304), ("*", 304), (f'"other", W/{tag}', 304), ('"other"', 200)):
        got = await device.get("a", {"If-None-Match": known})
        assert (known, got.status_code) == (known, status)
        assert got.headers["etag"] == tag
        assert got.content == (CONTENT if status == 200 else b"")


async def test_a_download_can_be_pinned(device: Device, tag: str) -> None:
    for pin in (tag, "*"):
        assert (await device.get("a", {"If-Match": pin})).status_code == 200
    refused(await device.get("a", {"If-Match": '"other"'}), 412, "precondition-failed")


@pytest.mark.usefixtures("tag")
async def test_a_download_says_what_it_is(device: Device) -> None:
    got = await device.get("a")
    assert got.headers["content-type"] == "text/csv"
    assert got.headers["x-content-type-options"] == "nosniff"
    assert got.headers["accept-ranges"] == "bytes"
    assert got.headers["cache-control"] == "private, no-cache"
    assert got.headers["repr-digest"] == digest(CONTENT)  # the server saw all of it at once


async def test_a_file_of_many_chunks_has_no_digest_that_the_device_did_not_declare(device: Device) -> None:
    accepted(await device.chunk("a", CONTENT, 0, 50))
    accepted(await device.chunk("a", CONTENT, 50, 100))
    await device.completed("a")
    assert "repr-digest" not in (await device.get("a")).headers


async def test_a_declared_digest_comes_with_the_file(device: Device) -> None:
    await device.upload("a", CONTENT, {"Repr-Digest": digest(CONTENT)})
    for answer in (
        await device.get("a"),
        await device.head("a"),
        await device.get("a", {"Range": "bytes=0-4"}),
    ):
        assert answer.headers["repr-digest"] == digest(CONTENT)


@pytest.fixture(params=["open", "partial"])
async def unfinished(request: pytest.FixtureRequest, device: Device, settings: Settings) -> str:
    """A file of which bytes 0 to 39 and 60 to 99 are there."""
    if request.param == "partial":
        await park(settings, "partial", CONTENT, (0, 40), (60, 100))
    else:
        accepted(await device.chunk("open", CONTENT, 60, 100))
        accepted(await device.chunk("open", CONTENT, 0, 40))
    name: str = request.param
    return name


@pytest.mark.parametrize(
    ("field", "extent"),
    [("bytes=0-", (0, 40)), ("bytes=0-99", (0, 40)), ("bytes=10-19", (10, 20)), ("bytes=30-70", (30, 40))],
)
async def test_of_an_unfinished_file_ranges_of_the_gap_free_prefix_are_there(
    device: Device, unfinished: str, field: str, extent: tuple[int, int]
) -> None:
    start, end = extent
    got = await device.get(unfinished, {"Range": field})
    assert (got.status_code, got.content) == (206, CONTENT[start:end])
    assert got.headers["content-range"] == f"bytes {start}-{end - 1}/100"


@pytest.mark.parametrize("field", ["bytes=40-", "bytes=60-99", "bytes=-40", "bytes=100-"])
async def test_of_an_unfinished_file_nothing_beyond_the_prefix_is_there(
    device: Device, unfinished: str, field: str
) -> None:
    got = await device.get(unfinished, {"Range": field})
    refused(got, 416, "range-not-satisfiable")
    assert got.headers["content-range"] == "bytes */100"


async def test_an_unfinished_file_cannot_be_had_whole(device: Device, unfinished: str) -> None:
    document = refused(await device.get(unfinished), 409, "upload-incomplete")
    assert (document["next_expected_byte"], document["total_size"]) == (40, 100)
    assert (await device.head(unfinished)).status_code == 409


async def test_an_unfinished_file_has_the_session_of_its_upload(device: Device, unfinished: str) -> None:
    got = await device.get(unfinished, {"Range": "bytes=0-"})
    session = accepted(await device.status(unfinished))["session"]
    assert got.headers["etag"] == f'"{session}"'


async def test_an_unknown_file_is_not_there(device: Device) -> None:
    for answer in (await device.get("x"), await device.status("x")):
        refused(answer, 404, "not-found")
    assert (await device.head("x")).status_code == 404


@pytest.mark.parametrize(
    ("sent", "filename", "kept"),
    [
        ("text/csv; charset=utf-16", "a.json", "text/csv; charset=utf-16"),
        ("application/vnd.acme+json", "a", "application/vnd.acme+json"),
        ("", "a.json", "application/json"),
        ("application/octet-stream", "a.json", "application/json"),
        ("application/x-www-form-urlencoded", "a.png", "image/png"),
        ("Application/X-WWW-Form-Urlencoded; charset=x", "a", "application/octet-stream"),
        ("", "a", "application/octet-stream"),
        ("", "a.csv.gz", "application/gzip"),
        ("", "a.csv.bz2", "application/octet-stream"),
        ("nonsense", "a", "application/octet-stream"),
        ("text/pläin", "a.txt", "text/plain"),
        ("text/plain; x=\x01", "a", "application/octet-stream"),
        ("text/plain; x=" + "y" * 1000, "a", "application/octet-stream"),
        ("t" * 128 + "/plain", "a", "application/octet-stream"),
        ("t" * 127 + "/" + "p" * 127, "a", "t" * 127 + "/" + "p" * 127),
    ],
)
def test_the_media_type_is_the_one_sent_or_the_one_of_the_name(sent: str, filename: str, kept: str) -> None:
    assert media_type(sent, filename) == kept


async def test_a_media_type_that_no_store_would_keep_is_refused_and_nothing_is_stored(device: Device) -> None:
    refused(await device.chunk("a", CONTENT, 0, 5, {"Content-Type": "a/" + "b" * 1023}), 400, "bad-request")
    refused(await device.status("a"), 404, "not-found")
    accepted(await device.chunk("a", CONTENT, 0, 5, {"Content-Type": "a/" + "b" * 1022}))


async def test_the_media_type_of_an_open_upload_is_known_too(device: Device) -> None:
    accepted(await device.chunk("a", CONTENT, 0, 5, {"Content-Type": "text/csv"}))
    assert accepted(await device.status("a"))["content_type"] == "text/csv"
    got = await device.get("a", {"Range": "bytes=0-"})
    assert got.headers["content-type"] == "text/csv"


A = FileId(OWNER, "a")


async def test_a_download_goes_on_when_the_upload_is_completed_meanwhile(
    app: FastAPI, device: Device, settings: Settings
) -> None:
    accepted(await device.chunk("a", CONTENT, 0, 60))
    reader: FileReader = app.state.ingest.reader
    state = await reader.state(A)
    accepted(await device.chunk("a", CONTENT, 60, 100))
    await settled(settings)
    assert b"".join([bytes(block) async for block in reader.blocks(state, Extent(10, 60))]) == CONTENT[10:60]


@pytest.mark.parametrize("sent", [60, 100], ids=["open", "complete"])
async def test_a_download_of_what_was_deleted_a_moment_before_finds_nothing(
    app: FastAPI, device: Device, settings: Settings, sent: int
) -> None:
    accepted(await device.chunk("a", CONTENT, 0, sent))
    if sent == len(CONTENT):
        await device.completed("a")
    state = await app.state.ingest.reader.state(A)
    await device.delete("a")
    await settled(settings)
    with pytest.raises(ObjectNotFound):
        await started(app.state.ingest, state, Extent(0, sent), OWNER)
    refused(await device.get("a"), 404, "not-found")


async def test_a_download_finds_the_file_that_took_the_place_of_the_one_that_was_seen(
    app: FastAPI, device: Device, settings: Settings
) -> None:
    accepted(await device.chunk("a", CONTENT, 0, len(CONTENT)))
    await device.completed("a")
    assert (await device.get("a")).content == CONTENT
    store = FilesystemStore(settings.perm_upload_dir)
    await store.put(file_key(A), b"another", metadata={"session": "another"})
    got = await device.get("a")
    assert (got.content, got.headers["etag"]) == (b"another", '"another"')
    await store.delete_many([file_key(A)])
    refused(await device.get("a"), 404, "not-found")
    await store.close()
