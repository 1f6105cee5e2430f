"""`hiper download` and `hiper ls` against a real server: several files, odd places, terminals and pipes."""

import fcntl
import json
import os
import pty
import random
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from libs.client.console import print_json
from tests.e2e.test_cli import ADMIN_SECRET, ROOT, Hiper, anonymous, data, env, hear_signals, hiper, server

__all__ = ["anonymous", "data", "env", "hiper", "server"]  # fixtures
Start = Callable[..., "subprocess.Popen[bytes]"]


@pytest.fixture
def who(server: str, hiper: Hiper) -> dict[str, str]:
    """The environment of a process that is logged in. (It has no HOME.)"""
    login = {"HIPER_SERVER": server, "HIPER_DEVICE_ID": "admin", "HIPER_DEVICE_SECRET": ADMIN_SECRET}
    return {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "TERM": "xterm", **login}


@pytest.fixture
def start(who: dict[str, str]) -> Start:
    """Starts the command in a process of its own."""

    def run(*words: str, env: dict[str, str] | None = None, **options: Any) -> "subprocess.Popen[bytes]":
        command = [sys.executable, "-m", "libs.client.cli", *words]
        return subprocess.Popen(command, env=who | (env or {}), preexec_fn=hear_signals, **options)

    return run


def put(hiper: Hiper, *names: str, size: int = 10) -> dict[str, bytes]:
    """Upload files of these names; none is left here."""
    contents = {name: random.Random(name).randbytes(size) for name in names}
    for name, content in contents.items():
        Path("source").write_bytes(content)
        result = hiper("upload", "source", "--name", name)
        assert result.exit_code == 0, result.stderr
    Path("source").unlink()
    return contents


def read(directory: str) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in Path(directory).iterdir()}


def test_names_and_patterns_are_downloaded_into_a_directory_that_was_missing(hiper: Hiper) -> None:
    files = put(hiper, "glob-1.bin", "glob-2.bin", "glob-other", ".glob-hidden.bin")
    result = hiper("download", "glob-?.bin", "glob-other", "glob-1*", "-o", "new/dir/")
    assert result.exit_code == 0, result.stderr
    assert read("new/dir") == {name: files[name] for name in ("glob-1.bin", "glob-2.bin", "glob-other")}
    assert sorted(result.stdout.splitlines()) == [
        f"new/dir/{name}: downloaded, 10 B (verified)" for name in ("glob-1.bin", "glob-2.bin", "glob-other")
    ]
    assert result.stderr.endswith("3 of 3 files are here\n")


def test_one_that_fails_stops_no_other_and_the_exit_code_tells(hiper: Hiper) -> None:
    files = put(hiper, "some-a", "some-b")
    result = hiper("download", "some-a", "some-missing", "none-*", "some-b", "-o", "here/")
    assert result.exit_code == 1
    assert read("here") == files
    assert "error: some-missing: There is no such file" in result.stderr
    assert "error: no complete file matches 'none-*' (see what is there: hiper ls)" in result.stderr
    assert "2 of 3 files are here, 1 failed" in result.stderr


def test_the_same_command_again_fetches_only_what_is_not_here(hiper: Hiper) -> None:
    put(hiper, "again-a", "again-b")
    assert hiper("download", "again-*", "-o", "again/").exit_code == 0
    Path("again/again-b").unlink()
    result = hiper("download", "again-*", "-o", "again/", "--jobs", "1")
    assert (result.exit_code, result.stdout) == (
        0,
        "again/again-a: there already, 10 B (verified)\nagain/again-b: downloaded, 10 B (verified)\n",
    )


def test_a_name_that_looks_like_a_pattern_is_a_name_first(hiper: Hiper) -> None:
    files = put(hiper, "[ab]*", "a-of-pattern")
    assert hiper("download", "[ab]*", "-o", "odd/").exit_code == 0
    assert read("odd") == {"[ab]*": files["[ab]*"]}


def test_a_hidden_file_is_matched_only_by_a_pattern_with_a_dot(hiper: Hiper) -> None:
    put(hiper, ".hidden-rc")
    assert hiper("download", "*hidden-rc", "-o", "h/").exit_code == 1
    assert hiper("download", ".hidden*", "-o", "h/").exit_code == 0
    assert list(read("h")) == [".hidden-rc"]


def test_several_files_need_a_directory(hiper: Hiper) -> None:
    put(hiper, "two-a", "two-b")
    assert hiper("download", "two-a", "two-b", "-o", "file").exit_code == 2
    assert hiper("download", "two-a", "two-b", "-o", "-").exit_code == 2
    result = hiper("download", "two-*", "-o", "file")
    assert (result.exit_code, result.stderr) == (
        1,
        "error: 2 files match, and -o is no directory (name one, such as -o out/)\n",
    )
    assert hiper("download", "two-a*", "-o", "file").exit_code == 0
    assert Path("file").is_file()


def test_a_file_where_a_directory_should_be_is_kept(hiper: Hiper) -> None:
    put(hiper, "into-file")
    Path("out").write_bytes(b"precious")
    result = hiper("download", "into-file", "-o", "out/", "--force")
    assert (result.exit_code, result.stderr) == (1, "error: out: File exists\n")
    assert Path("out").read_bytes() == b"precious"


def test_two_names_that_are_one_file_here_do_not_replace_each_other(hiper: Hiper) -> None:
    """As `A` and `a` are on many file systems."""
    files = put(hiper, "one-a", "one-b")
    Path("one").mkdir()
    Path("one/one-b").symlink_to("one-a")
    Path("one/one-a").write_bytes(b"old")
    result = hiper("download", "one-a", "one-b", "-o", "one", "--force", "--jobs", "1")
    assert result.exit_code == 1
    assert "one-b: one/one-b is 'one-a' already (download 'one-b' to another directory)" in result.stderr
    assert Path("one/one-a").read_bytes() == files["one-a"]


def test_a_name_of_255_bytes_is_downloaded(hiper: Hiper) -> None:
    for name in ("n" * 251 + ".log", "ß" * 127):
        files = put(hiper, name)
        assert hiper("download", name, "-o", "long/").exit_code == 0
        assert read("long")[name] == files[name]


def test_a_file_without_a_digest_is_taken_only_as_far_as_was_asked_for(hiper: Hiper, server: str) -> None:
    form = "grant_type=client_credentials&scope=files:write"
    token = subprocess.check_output(["curl", "-s", "-u", f"admin:{ADMIN_SECRET}", "-d", form, f"{server}/token"])
    url = f"{server}/upload?filename=undeclared&total_size=3"
    bearer = f"Authorization: Bearer {json.loads(token)['access_token']}"
    for part, payload in (("0-1", "ab"), ("2-2", "c")):
        place = f"Content-Range: bytes {part}/3"
        subprocess.check_call(["curl", "-s", "-o", "answer", "-H", bearer, "-H", place, "--data-binary", payload, url])
    assert hiper("status", "undeclared", "--watch").exit_code == 0
    result = hiper("download", "undeclared", "--require-digest")
    assert (result.exit_code, "knows no digest" in result.stderr) == (1, True)
    assert hiper("download", "undeclared").stdout.endswith("(the server knows no digest to verify it by)\n")
    Path("undeclared").write_bytes(b"old")
    result = hiper("download", "undeclared", "--force")
    assert (result.exit_code, "allow that with --unverified" in result.stderr) == (1, True)
    assert Path("undeclared").read_bytes() == b"old"
    assert hiper("download", "undeclared", "--force", "--unverified").exit_code == 0
    assert Path("undeclared").read_bytes() == b"abc"


def test_a_rate_is_kept_by_all_files_together(hiper: Hiper) -> None:
    files = put(hiper, "slow-a", "slow-b", size=100_000)
    began = time.monotonic()
    result = hiper("download", "slow-*", "-o", "slow/", "--limit-rate", "100kB")
    assert (result.exit_code, read("slow")) == (0, files)
    assert 1.5 < time.monotonic() - began < 10
    assert hiper("download", "slow-a", "--limit-rate", "fast").exit_code == 2


def test_a_reader_that_goes_away_ends_the_command_without_a_word(hiper: Hiper, start: Start) -> None:
    put(hiper, "to-head", size=3_000_000)
    for words in (["download", "to-head", "-o", "-"], ["download", "to-head", "-o", "/dev/stdout"], ["ls"]):
        reader, writer = os.pipe()
        os.close(reader)
        with start(*words, stdout=writer, stderr=subprocess.PIPE) as process:
            os.close(writer)
            _, said = process.communicate(timeout=60)
        assert (process.returncode, said.decode()) == (141, ""), words


def test_a_closed_or_full_standard_output_is_an_error_and_no_traceback(hiper: Hiper, who: dict[str, str]) -> None:
    put(hiper, "to-nowhere")

    def shell(words: str) -> "subprocess.CompletedProcess[str]":
        command = f"{sys.executable} -m libs.client.cli {words}"
        return subprocess.run(["sh", "-c", command], env=who, capture_output=True, text=True)

    for words in ("download to-nowhere -o - >&-", "ls > /dev/full", "ls --json > /dev/full"):
        done = shell(words)
        assert (done.returncode, done.stderr.count("\n")) == (1, 1), done.stderr
        assert done.stderr.startswith("error: ")
    done = shell("download to-nowhere -o saved >&-")
    assert (done.returncode, done.stderr) == (0, "")
    assert Path("saved").stat().st_size == 10


def test_a_directory_that_cannot_be_written_to_and_a_full_disk_are_named(hiper: Hiper) -> None:
    put(hiper, "no-place")
    result = hiper("download", "no-place", "-o", "/proc/no-place")
    assert (result.exit_code, result.stderr.count("\n")) == (1, 1)
    assert "/proc/no-place.part: " in result.stderr
    result = hiper("download", "no-place", "-o", "/dev/full")
    assert (result.exit_code, "No space left on device" in result.stderr) == (1, True)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_a_download_into_a_full_pipe(hiper: Hiper, start: Start, number: signal.Signals) -> None:
    put(hiper, "to-full-pipe", size=3_000_000)
    reader, writer = os.pipe()
    with start("download", "to-full-pipe", "-o", "-", stdout=writer, stderr=subprocess.PIPE) as process:
        os.close(writer)
        assert select.select([reader], [], [], 60)[0], "it writes"
        time.sleep(0.5)
        process.send_signal(number)
        _, said = process.communicate(timeout=30)
    os.close(reader)
    assert process.returncode == 128 + number
    assert said.decode() == "interrupted; run the same command again to go on from here\n"


def on_terminal(start: Start, *words: str, columns: int = 80, then: signal.Signals | None = None, **env: str) -> str:
    """What the command shows on a terminal; `then`: a signal once it shows something."""
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    with start(*words, env=env, stdin=slave, stdout=slave, stderr=slave) as process:
        os.close(slave)
        shown = b""
        while select.select([master], [], [], 60)[0]:
            try:
                shown += os.read(master, 65536)
            except OSError:
                break
            if then and b"to-terminal" in shown:
                process.send_signal(then)
                then = None
        process.wait(60)
    os.close(master)
    return shown.decode()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_the_cursor_is_shown_again_however_a_download_ends(hiper: Hiper, start: Start, number: signal.Signals) -> None:
    put(hiper, "to-terminal", size=1_000_000)
    words = "download", "to-terminal", "--limit-rate", "100kB"
    shown = on_terminal(start, *words, then=number)
    assert shown.rfind("\x1b[?25l") < shown.rfind("\x1b[?25h")
    assert "interrupted" in shown


def test_ls_cuts_no_name_on_a_narrow_terminal(hiper: Hiper, start: Start) -> None:
    names = [f"drive-2026-11-30T15-52-18Z-lidar-front-left-run-{n}-データ.mcap" for n in (417, 418)]
    put(hiper, *names)
    shown = on_terminal(start, "ls", columns=40).replace("\r\n", "\n")
    assert all(name in shown for name in names)
    assert "\x1b" not in shown.replace("\x1b[1m", "").replace("\x1b[0m", "")


def test_a_name_that_the_terminal_cannot_show_is_no_error(hiper: Hiper, start: Start) -> None:
    put(hiper, "Größe-データ")
    ascii_only = {"PYTHONIOENCODING": "ascii", "PYTHONUTF8": "1"}
    with start("download", "Größe-データ", env=ascii_only, stdout=subprocess.PIPE) as process:
        said, _ = process.communicate(timeout=60)
    assert process.returncode == 0
    assert said.decode("ascii") == r"Gr\xf6\xdfe-\u30c7\u30fc\u30bf: downloaded, 10 B (verified)" + "\n"
    for words in (["ls"], ["ls", "--json"]):
        with start(*words, env=ascii_only, stdout=subprocess.PIPE) as process:
            listed, _ = process.communicate(timeout=60)
        assert process.returncode == 0
    assert "Größe-データ" in [json.loads(line)["filename"] for line in listed.decode("ascii").splitlines()]


def test_nothing_is_printed_that_a_terminal_would_act_on(capsys: pytest.CaptureFixture[str]) -> None:
    record = {"filename": "a\x9b31m\u202eb\x1b[2J\U000e0001"}
    print_json(record)
    shown = capsys.readouterr().out
    assert shown.removesuffix("\n").isprintable()
    assert json.loads(shown) == record
