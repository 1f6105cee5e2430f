"""The `hiper` command against a real server: what it prints, what it leaves, how it ends."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO
from urllib.request import urlopen

import pytest
from typer.testing import CliRunner, Result

from libs.client.cli import app
from libs.common.feed.positions import Position
from tests.ports import free_port

Hiper = Callable[..., Result]
ADMIN_SECRET = "admin-secret-of-the-tests-" + "a" * 16
ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the server keeps what it has."""
    return tmp_path_factory.mktemp("server")


@pytest.fixture(scope="module")
def auth_dir(data: Path) -> Path:
    return data / "auth"


@pytest.fixture(scope="module")
def server(data: Path) -> Iterator[str]:
    """The address of `hiper serve`: one for all tests, each of which works with files of its own name."""
    port = free_port()
    settings = {
        "PORT": str(port),
        "SECRET_KEY": "k" * 32,
        "ADMIN_SECRET": ADMIN_SECRET,
        "TEMP_UPLOAD_DIR": str(data / "temp"),
        "PERM_UPLOAD_DIR": str(data / "perm"),
        "AUTH_DIR": str(data / "auth"),
        "PYTHONPATH": str(ROOT),
    }
    with (data / "log").open("wb") as log:
        command = [sys.executable, "-m", "libs.client.cli", "serve"]
        with subprocess.Popen(command, cwd=data, env=os.environ | settings, stdout=log, stderr=log) as process:
            url = f"http://127.0.0.1:{port}"
            try:
                wait_until_ready(url, process)
                yield url
            finally:
                process.send_signal(signal.SIGTERM)


def hear_signals() -> None:
    """In a process that a test starts: a job in the background ignores SIGINT, under nohup SIGHUP too."""
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)


@contextmanager
def uploading(path: Path, hiper: Hiper, *more: str) -> Iterator["subprocess.Popen[str]"]:
    """`hiper upload` in a process of its own, slow enough to be watched, from when the server knows of the file."""
    command = [
        sys.executable,
        "-m",
        "libs.client.cli",
        "upload",
        str(path),
        "--chunk-size",
        "64KiB",
        "--jobs",
        "1",
        *more,
    ]
    with subprocess.Popen(
        command,
        cwd=ROOT,
        env=os.environ | {"XDG_CONFIG_HOME": str(path.parent / "config")},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=hear_signals,
    ) as process:
        deadline = time.monotonic() + 30
        while hiper("status", path.name).exit_code and time.monotonic() < deadline:
            time.sleep(0.05)
        yield process


def wait_until_ready(url: str, process: "subprocess.Popen[bytes]") -> None:
    deadline = time.monotonic() + 30
    while True:
        try:
            with urlopen(f"{url}/readyz") as answer:
                assert answer.status == 200
                return
        except OSError:
            assert process.poll() is None, "the server did not start"
            assert time.monotonic() < deadline, "the server does not become ready"
            time.sleep(0.05)


@pytest.fixture
def env(server: str, tmp_path: Path) -> dict[str, str | None]:
    """Nobody is logged in; no variable of the developer's shell leaks in."""
    hiper = dict.fromkeys(("HIPER_SERVER", "HIPER_DEVICE_ID", "HIPER_DEVICE_SECRET"))
    return {**hiper, "XDG_CONFIG_HOME": str(tmp_path / "config"), "TZ": "UTC"}


@pytest.fixture
def anonymous(env: dict[str, str | None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Hiper:
    """Runs the command, in a directory of its own."""
    work = tmp_path / "work"
    work.mkdir()
    monkeypatch.chdir(work)
    return lambda *args, stdin=None: CliRunner().invoke(app, list(args), input=stdin, env=env)


@pytest.fixture
def hiper(anonymous: Hiper, server: str) -> Hiper:
    """Runs the command, logged in as the admin."""
    result = anonymous("login", "--server", server, "--id", "admin", "--secret-stdin", stdin=f"{ADMIN_SECRET}\n")
    assert result.exit_code == 0, result.stderr
    return anonymous


def test_login_verifies_and_saves_for_the_owner_only(anonymous: Hiper, server: str, tmp_path: Path) -> None:
    result = anonymous("login", stdin=f"{server}\nadmin\n{ADMIN_SECRET}\n")
    assert result.exit_code == 0
    assert f"logged in to {server} as admin" in result.stdout
    assert ADMIN_SECRET not in result.output
    profile = tmp_path / "config" / "hiper" / "profile.json"
    assert profile.stat().st_mode & 0o777 == 0o600
    assert json.loads(profile.read_text())["client_secret"] == ADMIN_SECRET


def test_login_with_a_wrong_secret_saves_nothing(anonymous: Hiper, server: str, tmp_path: Path) -> None:
    result = anonymous("login", "--server", server, "--id", "car-7", "--secret-stdin", stdin="wrong\n")
    assert result.exit_code == 1
    assert result.stderr.startswith("error: ")
    assert "does not accept the id or the secret of 'car-7'" in result.stderr
    assert result.stderr.count("\n") == 1
    assert not (tmp_path / "config").exists()


def test_login_without_an_id_cannot_read_a_secret_from_stdin(anonymous: Hiper) -> None:
    assert anonymous("login", "--secret-stdin", stdin="x\n").exit_code == 2


def test_login_refuses_what_is_no_address(anonymous: Hiper) -> None:
    result = anonymous("login", "--server", "files.example", "--id", "a", "--secret-stdin", stdin="x\n")
    assert result.exit_code == 1
    assert "'files.example' is not the address of a server" in result.stderr


def test_without_a_login_the_error_says_what_to_do(anonymous: Hiper) -> None:
    result = anonymous("ls")
    assert result.exit_code == 1
    assert "not logged in (run: hiper login" in result.stderr


def test_a_server_that_is_away_is_named(anonymous: Hiper, env: dict[str, str | None]) -> None:
    url = f"http://127.0.0.1:{free_port()}"
    env |= {"HIPER_SERVER": url, "HIPER_DEVICE_ID": "a", "HIPER_DEVICE_SECRET": "b"}
    Path("f").write_bytes(b"x")
    result = anonymous("upload", "--retry-for", "0.2", "f")
    assert result.exit_code == 1
    assert f"error: cannot reach {url}: Connection refused" in result.stderr


def test_a_file_goes_up_and_down_again(hiper: Hiper) -> None:
    data = os.urandom(3 * 2**20)
    Path("drive 1 [Größe].bin").write_bytes(data)
    result = hiper("upload", "drive 1 [Größe].bin", "--chunk-size", "512KiB", "--jobs", "2")
    assert (result.exit_code, result.stdout) == (0, "drive 1 [Größe].bin: uploaded, 3.0 MiB\n")
    assert hiper("upload", "drive 1 [Größe].bin").stdout == "drive 1 [Größe].bin: there already, 3.0 MiB\n"
    result = hiper("download", "drive 1 [Größe].bin", "-o", "copy")
    assert (result.exit_code, result.stdout) == (0, "copy: downloaded, 3.0 MiB (verified)\n")
    assert Path("copy").read_bytes() == data


def test_a_download_can_go_to_standard_output(hiper: Hiper) -> None:
    data = bytes(range(256)) * 100
    Path("stdout.bin").write_bytes(data)
    hiper("upload", "stdout.bin")
    result = hiper("download", "stdout.bin", "-o", "-")
    assert (result.exit_code, result.stdout_bytes) == (0, data)


def test_a_download_goes_into_a_directory_and_replaces_nothing_unasked(hiper: Hiper) -> None:
    Path("dir.bin").write_bytes(b"new")
    hiper("upload", "dir.bin")
    Path("there").mkdir()
    Path("there/dir.bin").write_bytes(b"old")
    result = hiper("download", "dir.bin", "-o", "there")
    assert result.exit_code == 1
    assert "there/dir.bin exists (replace it with --force" in result.stderr
    assert hiper("download", "dir.bin", "-o", "there", "--force").exit_code == 0
    assert Path("there/dir.bin").read_bytes() == b"new"


def test_several_files_are_uploaded_and_one_that_fails_does_not_stop_the_others(hiper: Hiper) -> None:
    for name in ("several-a", "several-c"):
        Path(name).write_bytes(b"x")
    result = hiper("upload", "several-a", "several-b", "several-c")
    assert result.exit_code == 1
    assert sorted(result.stdout.splitlines()) == ["several-a: uploaded, 1 B", "several-c: uploaded, 1 B"]
    assert result.stderr == "error: several-b: No such file or directory\n"


def test_a_name_is_for_one_file_only(hiper: Hiper) -> None:
    Path("local").write_bytes(b"x")
    assert hiper("upload", "local", "local", "--name", "n").exit_code == 2
    assert hiper("upload", "local", "--name", "remote name?").stdout == "remote name?: uploaded, 1 B\n"


def test_a_size_that_is_none_is_a_usage_error(hiper: Hiper) -> None:
    result = hiper("upload", "f", "--chunk-size", "huge")
    assert result.exit_code == 2
    assert "is not a size" in result.stderr


def test_another_file_of_that_name_is_an_error_that_says_what_to_do(hiper: Hiper) -> None:
    Path("taken").write_bytes(b"one")
    hiper("upload", "taken")
    Path("taken").write_bytes(b"two")
    result = hiper("upload", "taken")
    assert result.exit_code == 1
    hint = "to throw that away and send this file: hiper upload --replace taken"
    assert result.stderr == f"error: a file 'taken' is there already, with other content ({hint})\n"
    assert hiper("upload", "--replace", "taken").exit_code == 0
    assert hiper("download", "taken", "-o", "-").stdout_bytes == b"two"


def test_status_is_a_line_or_json(hiper: Hiper) -> None:
    Path("status.bin").write_bytes(b"12345")
    hiper("upload", "status.bin")
    assert hiper("status", "status.bin").stdout.startswith("status.bin: complete, 5 B, 20")
    document = json.loads(hiper("status", "status.bin", "--json", "--watch").stdout)
    assert (document["status"], document["total_size"], document["owner"]) == ("complete", 5, "admin")


def test_the_status_of_a_missing_file_is_an_error(hiper: Hiper) -> None:
    result = hiper("status", "never-was")
    assert result.exit_code == 1
    assert "never-was" in result.stderr
    assert "hiper ls" in result.stderr


def test_ls_is_made_for_programs_where_no_terminal_is(hiper: Hiper) -> None:
    Path("for ls").write_bytes(b"12345")
    hiper("upload", "for ls", "--owner", "fleet")
    name, status, size, modified = hiper("ls", "--owner", "fleet").stdout.rstrip("\n").split("\t")
    assert (name, status, size) == ("for ls", "complete", "5")
    (entry,) = [json.loads(line) for line in hiper("ls", "--owner", "fleet", "--json").stdout.splitlines()]
    assert (entry["filename"], entry["size"]) == ("for ls", 5)
    assert modified.startswith("20")


def test_ls_is_a_table_on_a_terminal(hiper: Hiper, env: dict[str, str | None]) -> None:
    Path("[table]").write_bytes(b"12345")
    hiper("upload", "[table]")
    env |= {"FORCE_COLOR": "1"}  # makes rich believe that there is a terminal
    lines = hiper("ls").stdout.splitlines()
    assert re.sub(r"\x1b\[[0-9;]*m", "", lines[0]).split() == ["NAME", "STATUS", "SIZE", "CHANGED"]
    assert any(line.startswith("[table]") and "5 B" in line for line in lines)


def test_watching_an_upload_ends_when_it_is_complete(hiper: Hiper, tmp_path: Path) -> None:
    path = tmp_path / "watched.bin"
    path.write_bytes(os.urandom(24 * 2**20))
    with uploading(path, hiper):
        lines = hiper("status", "watched.bin", "--watch").stdout.splitlines()
    assert re.match(r"watched.bin: pending, .* of 24.0 MiB \(\d+ %\), last change 20", lines[0])
    assert lines[-1].startswith("watched.bin: complete, 24.0 MiB")


def test_rm_asks_first_unless_told(hiper: Hiper) -> None:
    for name in ("rm-1", "rm-2"):
        Path(name).write_bytes(b"x")
    hiper("upload", "rm-1", "rm-2")
    assert hiper("rm", "rm-1", stdin="n\n").exit_code == 1
    assert hiper("status", "rm-1").exit_code == 0
    assert "rm-1: deleted" in hiper("rm", "rm-1", stdin="y\n").stdout
    assert hiper("rm", "rm-2", "--yes").stdout == "rm-2: deleted\n"
    assert hiper("status", "rm-2").exit_code == 1


def test_several_files_are_removed_and_one_that_is_not_there_does_not_save_the_others(hiper: Hiper) -> None:
    for name in ("rms-1", "rms-2"):
        Path(name).write_bytes(b"x")
    hiper("upload", "rms-1", "rms-2")
    result = hiper("rm", "rms-1", "rms-none", "rms-2", stdin="y\n")
    assert result.exit_code == 1
    assert "Delete 3 files (rms-1, rms-none, rms-2)?" in result.output
    assert "rms-1: deleted" in result.stdout
    assert "rms-2: deleted" in result.stdout
    assert "error: rms-none: There is no such file" in result.stderr


def run_hiper(tmp_path: Path, *words: str, stdin: IO[bytes]) -> tuple[int, str, str]:
    """The command in a process of its own, with a standard input of its own: its exit code and what it said."""
    command = [sys.executable, "-m", "libs.client.cli", *words]
    env = os.environ | {"XDG_CONFIG_HOME": str(tmp_path / "config")}
    done = subprocess.run(command, cwd=ROOT, env=env, stdin=stdin, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout, done.stderr


def pipe_of(data: bytes) -> IO[bytes]:
    reading, writing = os.pipe()
    os.write(writing, data)
    os.close(writing)
    return os.fdopen(reading, "rb")


def test_standard_input_is_uploaded_whatever_it_is(tmp_path: Path, hiper: Hiper) -> None:
    with pipe_of(b"12345") as pipe:
        done = run_hiper(tmp_path, "upload", "-", "--name", "stdin-1", "--size", "5", stdin=pipe)
    assert done == (0, "stdin-1: uploaded, 5 B\n", "")
    with pipe_of(b"12345") as pipe:
        done = run_hiper(tmp_path, "upload", "-", "--name", "stdin-2", "--size", "6", stdin=pipe)
    said = "error: standard input has only 5 bytes, not 6 bytes as announced (nothing was uploaded)\n"
    assert done == (1, "", said)
    (tmp_path / "f").write_bytes(b"from a file")
    with (tmp_path / "f").open("rb") as file:
        assert run_hiper(tmp_path, "upload", "-", "--name", "stdin-3", stdin=file)[0] == 0
    assert hiper("download", "stdin-3", "-o", "-").stdout_bytes == b"from a file"
    assert hiper("upload", "-").exit_code == 2


def test_ctrl_c_ends_the_wait_for_a_pipe(tmp_path: Path, hiper: Hiper) -> None:
    os.mkfifo(tmp_path / "pipe")
    command = [sys.executable, "-m", "libs.client.cli", "upload", str(tmp_path / "pipe")]
    with subprocess.Popen(
        command,
        cwd=ROOT,
        env=os.environ | {"XDG_CONFIG_HOME": str(tmp_path / "config")},
        stderr=subprocess.PIPE,
        preexec_fn=hear_signals,
    ) as process:
        writing = os.open(tmp_path / "pipe", os.O_WRONLY)  # returns when the command has opened it
        time.sleep(0.5)
        process.send_signal(signal.SIGINT)
        _, stderr = process.communicate(timeout=10)
        os.close(writing)
    assert process.returncode == 130
    assert stderr.startswith(b"interrupted")


def test_many_files_are_in_hand_at_once_and_share_the_rate(hiper: Hiper) -> None:
    names = [f"many-{i}" for i in range(30)]
    for name in names:
        Path(name).write_bytes(os.urandom(1024))
    result = hiper("upload", *names)
    assert sorted(result.stdout.splitlines()) == sorted(f"{name}: uploaded, 1.0 KiB" for name in names)
    for name in names[:2]:
        Path(f"new-{name}").write_bytes(os.urandom(100_000))
    began = time.monotonic()
    result = hiper("upload", *(f"new-{name}" for name in names[:2]), "--limit-rate", "50kB")
    assert result.exit_code == 0
    assert time.monotonic() - began > 3.5  # 200 kB at 50 kB/s, but for the first block


def test_serve_takes_its_port_host_and_directory_as_options(tmp_path: Path) -> None:
    port, data = free_port(), tmp_path / "data"
    command = [sys.executable, "-m", "libs.client.cli", "serve", "--port", str(port), "--host", "127.0.0.1"]
    env = {k: v for k, v in os.environ.items() if k not in {"SECRET_KEY", "ADMIN_SECRET"}}
    env |= {"PYTHONPATH": str(ROOT), "PORT": "1", "PERM_UPLOAD_DIR": str(tmp_path / "not-here")}
    with (
        (tmp_path / "log").open("wb") as log,
        subprocess.Popen([*command, "--data-dir", str(data)], cwd=tmp_path, env=env, stdout=log, stderr=log) as process,
    ):
        try:
            wait_until_ready(f"http://127.0.0.1:{port}", process)
        finally:
            process.send_signal(signal.SIGTERM)
    assert (data / "secrets" / "admin_secret").exists()
    assert sorted(path.name for path in data.iterdir()) == ["auth", "perm", "secrets", "temp"]
    assert not (tmp_path / "not-here").exists()


def test_what_became_of_files_is_told_once_and_goes_on_from_a_cursor(hiper: Hiper, tmp_path: Path) -> None:
    kept = str(tmp_path / "cursor")
    assert hiper("events", "--after", "now", "--cursor-file", kept).exit_code == 0
    Path("told.bin").write_bytes(b"told")
    assert hiper("upload", "told.bin").exit_code == 0
    assert hiper("rm", "told.bin", "-y").exit_code == 0
    told, deadline = list[list[str]](), time.monotonic() + 30
    while len(told) < 2 and time.monotonic() < deadline:  # outcomes are shown some seconds later
        result = hiper("events", "--cursor-file", kept)
        assert (result.exit_code, result.stderr) == (0, "")
        told += [line.split("\t")[1:] for line in result.stdout.splitlines()]
        time.sleep(0.5)
    assert told == [["complete", "4", "admin/told.bin", ""], ["deleted", "", "admin/told.bin", ""]]
    document = json.loads(hiper("events", "--json", "--outcome", "deleted").stdout.splitlines()[-1])
    assert (document["type"], document["data"]["filename"]) == ("hiper.FileDeleted.v1", "told.bin")
    again = hiper("events", "--after", document["cursor"])
    assert (again.exit_code, again.stdout) == (0, "")
    assert again.stderr.startswith("go on with: --after ")


def test_a_foreign_cursor_and_one_that_is_too_old_end_with_codes_of_their_own(hiper: Hiper) -> None:
    assert hiper("events", "--after", "foreign").exit_code == 1
    old = hiper("events", "--after", Position.at(1).cursor)
    assert old.exit_code == 3
    assert "begin with what is kept: hiper events" in old.stderr


def test_top_without_a_terminal_is_one_table(hiper: Hiper, tmp_path: Path) -> None:
    path = tmp_path / "top.bin"
    path.write_bytes(os.urandom(3 * 2**20))
    with uploading(path, hiper, "--limit-rate", "100KiB") as process:
        deadline = time.monotonic() + 30
        while "top.bin" not in (result := hiper("top", "--prefix", "top")).stdout and time.monotonic() < deadline:
            time.sleep(0.2)
        assert re.search(r"admin +top.bin +.* of 3.0 MiB +\d+ % .*receiving", result.stdout), result.output
        assert json.loads(hiper("top", "--json", "--prefix", "top").stdout)["filename"] == "top.bin"
        assert hiper("top", "--stuck", "--prefix", "top").stdout == ""
        assert hiper("top", "--label", "no label").exit_code == 2
        process.terminate()


def test_a_device_is_added_used_listed_and_revoked(hiper: Hiper, env: dict[str, str | None]) -> None:
    document = json.loads(hiper("device", "add", "car-7", "--scope", "files:write", "--json").stdout)
    assert (document["device_id"], document["scopes"]) == ("car-7", ["files:write"])
    secret = hiper("device", "add", "car-8").stdout.splitlines()[-1]
    lines = [line.split("\t") for line in hiper("device", "ls").stdout.splitlines()]
    assert [(line[0], line[2]) for line in lines] == [
        ("car-7", "files:write"),
        ("car-8", "files:read files:write"),
    ]
    assert [json.loads(line)["device_id"] for line in hiper("device", "ls", "--json").stdout.splitlines()] == [
        "car-7",
        "car-8",
    ]
    env |= {"HIPER_DEVICE_ID": "car-8", "HIPER_DEVICE_SECRET": secret}
    assert (hiper("ls").exit_code, hiper("device", "ls").exit_code) == (0, 1)
    env |= {"HIPER_DEVICE_ID": None, "HIPER_DEVICE_SECRET": None}
    assert hiper("device", "revoke", "car-7").stdout == "device car-7 revoked\n"
    assert hiper("device", "revoke", "car-8").exit_code == 0
    assert hiper("device", "ls").stdout == ""


def test_a_device_whose_record_is_damaged_is_listed_as_such(hiper: Hiper, auth_dir: Path) -> None:
    for name in ("car-10", "car-11"):
        assert hiper("device", "add", name).exit_code == 0
    (auth_dir / "devices" / "car-10.json").write_text("{}")
    listed = hiper("device", "ls")
    assert listed.exit_code == 0
    assert [line.split("\t")[:3:2] for line in listed.stdout.splitlines()] == [
        ["car-11", "files:read files:write"],
        ["car-10", "damaged"],
    ]
    assert "devices/car-10.json" in listed.stderr
    documents = [json.loads(line) for line in hiper("device", "ls", "--json").stdout.splitlines()]
    assert {each["device_id"]: each["damaged"] for each in documents} == {"car-11": False, "car-10": True}
    for name in ("car-10", "car-11"):
        assert hiper("device", "revoke", name).exit_code == 0
    assert hiper("device", "ls").stdout == ""


def test_a_device_is_purged_before_its_id_is_registered_again(
    hiper: Hiper, env: dict[str, str | None], tmp_path: Path
) -> None:
    for name in ("trip-1", "trip-2"):
        (tmp_path / name).write_bytes(b"where I was")
    admin = env.copy()
    env |= {"HIPER_DEVICE_ID": "car-9", "HIPER_DEVICE_SECRET": hiper("device", "add", "car-9").stdout.splitlines()[-1]}
    hiper("upload", str(tmp_path / "trip-1"), str(tmp_path / "trip-2"))
    env |= {"HIPER_DEVICE_ID": None, "HIPER_DEVICE_SECRET": None, **admin}
    hiper("device", "revoke", "car-9")
    refusal = hiper("device", "add", "car-9")
    assert refusal.exit_code == 1
    assert "hiper device purge car-9" in " ".join(refusal.stderr.split())
    assert hiper("rm", "trip-1", "--owner", "car-9", "--yes").exit_code == 0
    assert hiper("device", "purge", "car-9", stdin="n\n").exit_code == 1
    shown = hiper("device", "purge", "car-9", "--dry-run").stdout.splitlines()
    assert "trip-2\tcomplete\t11" in shown
    done = hiper("device", "purge", "car-9", "--yes")
    assert re.search(r"^device car-9: \d deleted$", done.stdout, re.MULTILINE), done.stderr
    deadline = time.monotonic() + 60
    while (again := hiper("device", "add", "car-9")).exit_code and time.monotonic() < deadline:
        time.sleep(0.5)
    assert again.exit_code == 0, again.stderr
    env |= {"HIPER_DEVICE_ID": "car-9", "HIPER_DEVICE_SECRET": again.stdout.splitlines()[-1]}
    assert hiper("ls").stdout == ""
    env |= {"HIPER_DEVICE_ID": None, "HIPER_DEVICE_SECRET": None, **admin}
    assert hiper("device", "purge", "car-9").stdout == "device car-9 has 0 files and uploads, 0 B\n"
    hiper("device", "revoke", "car-9")


def test_ctrl_c_says_that_the_upload_can_be_resumed(server: str, tmp_path: Path, hiper: Hiper) -> None:
    path = tmp_path / "interrupted.bin"
    path.write_bytes(os.urandom(64 * 2**20))
    with uploading(path, hiper) as process:
        process.send_signal(signal.SIGINT)
        _, stderr = process.communicate(timeout=30)
    assert process.returncode == 130
    assert stderr == "interrupted; run the same command again to go on from here\n"
    result = hiper("upload", str(path))
    assert result.exit_code == 0
    assert "of it now)" in result.stdout


@pytest.mark.parametrize("command", [[], ["upload"], ["device"], ["device", "add"], ["serve"], ["login"]])
def test_every_command_explains_itself(anonymous: Hiper, command: list[str]) -> None:
    result = anonymous(*command, "--help")
    assert result.exit_code == 0
    assert "Usage:" in result.stdout


def test_the_version_is_told(anonymous: Hiper) -> None:
    assert anonymous("--version").stdout.startswith("hiper ")


def test_many_devices_are_revoked_by_one_command(hiper: Hiper, tmp_path: Path) -> None:
    names = [f"stolen-{n}" for n in range(5)]
    for name in names:
        assert hiper("device", "add", name).exit_code == 0
    Path("stolen.txt").write_text("stolen-2\n\n stolen-3 \nnever-was\n")
    result = hiper("device", "revoke", "stolen-0", "stolen-1", "--from", "stolen.txt")
    assert result.exit_code == 1
    assert result.stdout.splitlines() == [f"device stolen-{n} revoked" for n in range(4)]
    assert result.stderr == "error: no device has the id never-was\n"
    assert hiper("device", "revoke", "--from", "-", stdin="stolen-4\n").stdout == "device stolen-4 revoked\n"
    left = hiper("device", "ls").stdout
    assert not any(name in left for name in names)
    assert hiper("device", "revoke").exit_code == 2
    assert hiper("device", "revoke", "admin").exit_code == 0
    assert hiper("device", "ls").exit_code == 0
