"""`hiper` with directories and labels against a real server."""

import json
from pathlib import Path

from tests.e2e.test_cli import Hiper, anonymous, data, env, hiper, server

__all__ = ["anonymous", "data", "env", "hiper", "server"]  # fixtures


def make(directory: str, *names: str) -> None:
    for name in names:
        path = Path(directory, name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"content of {name}")


def tree(directory: str) -> dict[str, str]:
    """The files below a directory."""
    root = Path(directory)
    return {path.relative_to(root).as_posix(): path.read_text() for path in root.rglob("*") if path.is_file()}


def test_a_directory_uploads_with_its_relative_names_and_comes_back_the_same(hiper: Hiper) -> None:
    make("out", "a.txt", "sub/b.txt", "sub/deep/c d.txt")
    result = hiper("upload", "out", "--name", "trip")
    assert result.exit_code == 0, result.stderr
    listed = [line.split("\t")[0] for line in hiper("ls", "trip/").stdout.splitlines()]
    assert sorted(listed) == ["trip/a.txt", "trip/sub/b.txt", "trip/sub/deep/c d.txt"]
    assert hiper("download", "trip/**", "-o", "back/").exit_code == 0
    assert tree("back/trip") == tree("out")
    assert [line.split("\t")[0] for line in hiper("ls", "trip/sub/d").stdout.splitlines()] == ["trip/sub/deep/c d.txt"]


def test_without_a_name_the_paths_in_the_directory_are_the_names(hiper: Hiper) -> None:
    make("plain", "relative/x.txt")
    assert hiper("upload", "plain").exit_code == 0
    assert hiper("download", "relative/x.txt").exit_code == 0
    assert Path("relative/x.txt").read_text() == "content of relative/x.txt"
    assert hiper("rm", "-y", "relative/x.txt").exit_code == 0


def test_an_empty_directory_is_a_usage_error(hiper: Hiper) -> None:
    Path("empty").mkdir()
    assert hiper("upload", "empty").exit_code == 2


def test_a_file_and_a_folder_of_one_name_exclude_each_other(hiper: Hiper) -> None:
    make("both", "taken/x.txt")
    assert hiper("upload", "both").exit_code == 0
    result = hiper("upload", "both/taken/x.txt", "--name", "taken")
    assert result.exit_code == 1
    assert "choose another name: --name" in result.stderr


def test_a_link_does_not_lead_a_download_out_of_its_directory(hiper: Hiper) -> None:
    make("linked", "inside/x.txt")
    assert hiper("upload", "linked").exit_code == 0
    Path("elsewhere").mkdir()
    Path("target").mkdir()
    Path("target/inside").symlink_to(Path("elsewhere").resolve())
    result = hiper("download", "inside/x.txt", "-o", "target")
    assert result.exit_code == 1
    assert "leads out of target" in result.stderr
    assert tree("elsewhere") == {}


def test_labels_are_kept_with_each_file(hiper: Hiper) -> None:
    make("labelled", "l/1.txt", "l/2.txt")
    assert hiper("upload", "labelled", "--label", "drive=0417", "--label", "trip=two words").exit_code == 0
    for name in ("l/1.txt", "l/2.txt"):
        assert json.loads(hiper("status", name, "--json").stdout)["labels"] == {"drive": "0417", "trip": "two words"}


def test_a_bad_label_is_a_usage_error(hiper: Hiper) -> None:
    make("bad", "x")
    for label in ("drive", "Drive=1", "a=b,", "a="):
        assert hiper("upload", "bad/x", "--label", label).exit_code == 2
