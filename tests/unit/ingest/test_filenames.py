"""Names that cannot be, and odd ones that can."""

import asyncio
import re
from urllib.parse import unquote

import pytest

from libs.common.settings import Settings
from tests.unit.ingest.running import settled, stored
from tests.unit.ingest.talk import Device, accepted, framed, path_of, refused

CONTENT = b"0123456789"
BAD = (
    *("", ".", "..", " ", "/", "../a", "a/..", "a/../b", "a//b", "/a", "a/", "a/./b", "a\\b", "a\x00b", "a\x7fb"),
    *("a\x85b", "e\u0301", "x" * 256, "a/" + "x" * 256, "a/" * 425 + "b", "=a", "a/=record", "a/b__XLDIR__"),
)
ODD = (
    "ä ö ü.txt",
    'say "hi".txt',
    "100%.txt",
    "%41%2F.txt",
    "what?.txt",
    "a#b.txt",
    "a+b c.txt",
    "a;b=c&d.txt",
    "a,b.txt",
    "it's (1) [2] {3}*.txt",
    "😀.bin",
    "日本語.log",
    "status",
    ".hidden",
    "...",
    " leading and trailing ",
    "C:x",
    "~-_!$@|<>^`",
    "a\u2028b",
    "x" * 255,
    "\u00e9" * 127 + "x",
    "drives/2026-11-30/drive 0417.mcap",
    "a/..b/...",
    "x/status/a",
    "a/status.txt",
    "/".join(["\u00e9" * 127] * 3),
)


@pytest.mark.parametrize("filename", BAD)
async def test_a_name_that_cannot_be_is_refused_by_every_route(
    device: Device, settings: Settings, filename: str
) -> None:
    answers = [
        await device.chunk(filename, CONTENT),
        await device.status(filename),
        await device.get(filename),
    ]
    answers.append(await device.delete(filename))
    for answer in answers:
        refused(answer, 400, "bad-filename")
    assert stored(settings) == {}


async def test_a_name_with_a_line_break_has_no_address_either(device: Device) -> None:
    refused(await device.chunk("a\nb", CONTENT), 400, "bad-filename")
    refused(await device.get("a\nb"), 404, "no-route")
    await device.upload("a", CONTENT)
    for answer in (await device.get("a\n"), await device.delete("a\n"), await device.chunk("a\n", CONTENT)):
        refused(answer, 400, "bad-filename")
    assert [file["filename"] for file in (await device.files())["files"]] == ["a"]


async def test_a_file_in_a_folder_is_not_named_as_a_status_is(device: Device, settings: Settings) -> None:
    refused(await device.chunk("a/status", CONTENT), 400, "bad-filename")
    assert stored(settings) == {}


async def test_a_slash_in_an_address_may_be_encoded_or_not(device: Device) -> None:
    await device.upload("a/b", CONTENT)
    for path in ("/files/a/b", "/files/a%2Fb", "/files/a%2fb"):
        assert (await device.ask("GET", path)).content == CONTENT
        assert accepted(await device.ask("GET", f"{path}/status"))["filename"] == "a/b"
    assert (await device.ask("DELETE", "/files/a/b")).status_code == 204


@pytest.mark.parametrize(
    "path", ["/files/a%2F%2E%2E%2Fb", "/files/%2Fetc%2Fpasswd", "/files/%2E%2E", "/files/%2E%2E%2Fa"]
)
async def test_an_encoded_slash_does_not_lead_out(device: Device, path: str) -> None:
    refused(await device.ask("GET", path), 400, "bad-filename")


@pytest.mark.parametrize("name", ["%FF", "a%C3", "%ED%A0%80", "%C0%AF"])
async def test_an_address_must_be_utf_8(device: Device, settings: Settings, name: str) -> None:
    await device.upload("\ufffd", CONTENT)  # what a lenient server would take it for
    await settled(settings)
    before = stored(settings)
    for method, path in (
        ("POST", f"/upload?total_size=10&filename={name}"),
        ("GET", f"/files/{name}"),
        ("GET", f"/files/{name}/status"),
        ("DELETE", f"/files/{name}"),
    ):
        refused(await device.ask(method, path, content=framed(CONTENT)), 400, "bad-request")
    assert stored(settings) == before


@pytest.mark.parametrize("filename", ODD)
async def test_an_odd_name_works_everywhere(device: Device, filename: str) -> None:
    accepted(await device.chunk(filename, CONTENT, 0, 5))
    assert accepted(await device.status(filename))["filename"] == filename
    assert accepted(await device.chunk(filename, CONTENT, 5, 10))["filename"] == filename
    await device.completed(filename)
    got = await device.get(filename)
    assert got.content == CONTENT
    assert saved_as(got.headers["content-disposition"]) == filename.rpartition("/")[2]
    assert (await device.head(filename)).headers["content-disposition"] == got.headers["content-disposition"]
    assert [file["filename"] for file in (await device.files())["files"]] == [filename]


async def test_odd_names_are_deleted_too(device: Device) -> None:
    for filename in ODD:
        accepted(await device.chunk(filename, CONTENT, 0, 5))
    answers = await asyncio.gather(*(device.delete(filename) for filename in ODD))
    assert {answer.status_code for answer in answers} == {204}
    assert (await device.files())["files"] == []


def saved_as(disposition: str) -> str:
    """The name under which a browser saves a download (RFC 6266: `filename*` counts more than `filename`)."""
    match = re.fullmatch(r"""attachment; filename="[ -!#-\[\]-~]*"; filename\*=UTF-8''([!-~]+)""", disposition)
    assert match, disposition
    assert not set(match[1]) & set("\"'();,/ ")
    return unquote(match[1], errors="strict")


async def test_names_differ_by_case_and_by_every_character(device: Device) -> None:
    names = ["a", "A", "a ", "a.", "a%20", "á"]
    for name in names:
        await device.upload(name, name.encode())
    for name in names:
        assert (await device.get(name)).content == name.encode()


def test_the_tests_themselves_ask_for_the_name_they_mean() -> None:
    assert path_of("../b?") == "/files/%2E%2E%2Fb%3F"
