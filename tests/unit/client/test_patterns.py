"""Which files a pattern means, and that no listing leads out of the directory."""

import json

import pytest

from libs.client import HiperClient
from libs.client.patterns import chosen
from tests.unit.client.test_strangers import Tokens
from tests.unit.scripted_server import answer, scripted

LISTED = {"a.log": "complete", "b.log": "complete", "c.log": "pending", ".bashrc": "complete", "[x]": "complete"}
IN_FOLDERS = ("a.log", "d/a.log", "d/e/a.log", "d/.hidden/a.log", "d/e/b.txt", ".d/a.log")
HOSTILE = [
    "../up.log",
    "d/../../up.log",
    "d//a.log",
    "/d/a.log",
    "/etc/cron.d/x.log",
    "..",
    "a\\b.log",
    "a\x1b[2J.log",
    "nul\0.log",
    "",
    "x" * 256 + ".log",
]


def listing(files: dict[str, str]) -> bytes:
    entries = [{"filename": name, "owner": "car-7", "status": status} for name, status in files.items()]
    return answer(200, json.dumps({"files": entries}).encode(), X_Request_Id="1")


async def choose(files: dict[str, str], *names: str) -> tuple[list[str], list[str]]:
    async with (
        scripted([listing(files)]) as script,
        HiperClient(f"http://{script.endpoint}", tokens=Tokens(), retry_for=0) as client,
    ):
        found, errors = await chosen(client, names, None)
        return found, [str(error) for error in errors]


@pytest.mark.parametrize(
    ("names", "found"),
    [
        (["*.log"], ["a.log", "b.log"]),
        (["b*", "*.log"], ["b.log", "a.log"]),
        (["[ac].log", "missing"], ["a.log", "missing"]),
        (["*"], ["[x]", "a.log", "b.log"]),
        ([".*"], [".bashrc"]),
        (["[x]"], ["[x]"]),
        (["c.log"], ["c.log"]),
    ],
)
async def test_a_pattern_means_complete_files_and_each_once(names: list[str], found: list[str]) -> None:
    assert await choose(LISTED, *names) == (found, [])


@pytest.mark.parametrize(
    ("pattern", "found"),
    [
        ("*", ["a.log"]),
        ("*/*", ["d/a.log"]),
        ("d/*", ["d/a.log"]),
        ("d/**", ["d/a.log", "d/e/a.log", "d/e/b.txt"]),
        ("**/a.log", ["a.log", "d/a.log", "d/e/a.log"]),
        ("**", ["a.log", "d/a.log", "d/e/a.log", "d/e/b.txt"]),
        ("d/**/*.txt", ["d/e/b.txt"]),
        ("d/.*/*", ["d/.hidden/a.log"]),
        (".d/*", [".d/a.log"]),
    ],
)
async def test_in_a_pattern_only_two_stars_stand_for_folders(pattern: str, found: list[str]) -> None:
    assert await choose(dict.fromkeys(IN_FOLDERS, "complete"), pattern) == (found, [])


async def test_a_pattern_without_a_match_is_an_error_and_the_others_count() -> None:
    assert await choose(LISTED, "*.mcap", "a*", "c.*") == (
        ["a.log"],
        ["no complete file matches '*.mcap'", "no complete file matches 'c.*'"],
    )


async def test_without_a_pattern_nothing_is_listed() -> None:
    async with HiperClient("http://nowhere.invalid", tokens=Tokens(), retry_for=0) as client:
        assert await chosen(client, ["b", "a", "b"], None) == (["b", "a"], [])


async def test_a_name_that_no_server_of_ours_gives_is_not_chosen() -> None:
    files = {**dict.fromkeys(HOSTILE, "complete"), "good.log": "complete"}
    assert (await choose(files, "*"))[0] == ["good.log"]
    assert (await choose(files, "**"))[0] == ["good.log"]
