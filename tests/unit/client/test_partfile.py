"""The file in which a download gathers belongs to one process, and is never what it does not say it is."""

import errno
import hashlib
import os
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from libs.client.errors import HiperError, TargetExistsError
from libs.client.partfile import PartFile
from libs.client.versions import Version

A, B = Version('"1-a"', 6), Version('"1-b"', 6)
HOLD = """
import sys
from pathlib import Path
from libs.client.partfile import PartFile
from libs.client.versions import Version
part = PartFile(Path(sys.argv[1]))
part.begin(Version('"1-a"', 6))
part.write(b"abc", 0)
print("held", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "f"


def begun(path: Path, content: bytes = b"abcdef") -> PartFile:
    part = PartFile(path)
    part.begin(A)
    part.write(content, 0)
    return part


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_a_second_process_is_refused_and_a_crash_of_the_first_leaves_its_bytes(path: Path) -> None:
    command = [sys.executable, "-c", HOLD, str(path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout
        assert other.stdout.readline() == "held\n"
        for attempt in (lambda: PartFile(path).begin(B), PartFile(path).take_up):
            with pytest.raises(HiperError, match="another process downloads to"):
                attempt()
        other.kill()
        other.wait()
    part = PartFile(path)
    assert part.take_up() == (3, A)
    part.close()


def test_the_digest_is_of_what_is_on_the_disk(path: Path) -> None:
    part = begun(path)
    with part.part.open("r+b") as stranger:
        stranger.seek(2)
        stranger.write(b"\0\0")
    assert part.sha256() == hashlib.sha256(b"ab\0\0ef").digest()
    part.close()


def test_a_part_that_was_moved_away_is_not_published(path: Path) -> None:
    part = begun(path)
    part.part.rename(path.with_name("moved"))
    part.part.write_bytes(b"of somebody else")
    with pytest.raises(HiperError, match="moved"):
        part.publish(replace=True)
    part.close()
    assert not path.exists()


def test_a_part_that_was_published_meanwhile_is_not_taken_for_a_new_one(path: Path) -> None:
    """The other process published the inode that this one has just opened."""
    first = begun(path)
    second = PartFile(path)
    opened = os.open(first.part, os.O_RDWR)
    first.publish(replace=False)
    first.close()
    assert not second._owns(opened)
    os.close(opened)
    assert path.read_bytes() == b"abcdef"


def test_a_crash_in_the_middle_of_publishing_never_costs_the_published_file(path: Path) -> None:
    part = begun(path)
    os.link(part.part, path)  # what publish does first
    part.close()
    again = PartFile(path)
    assert again.take_up() == (0, Version())
    again.begin(B)
    again.close()
    assert path.read_bytes() == b"abcdef"


def test_what_came_to_the_name_meanwhile_is_not_replaced(path: Path) -> None:
    part = begun(path)
    path.write_bytes(b"mine")
    with pytest.raises(TargetExistsError, match="exists"):
        part.publish(replace=False)
    part.close()
    assert path.read_bytes() == b"mine"
    assert PartFile(path).take_up() == (6, A)  # nothing is fetched again with --force


def test_on_a_file_system_without_links_nothing_is_replaced_either(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_links(*_args: object, **_options: object) -> None:
        raise OSError(errno.EPERM, "no links here")

    monkeypatch.setattr(os, "link", no_links)
    part = begun(path)
    path.write_bytes(b"mine")
    with pytest.raises(TargetExistsError):
        part.publish(replace=False)
    path.unlink()
    part.publish(replace=False)
    part.close()
    assert path.read_bytes() == b"abcdef"


def test_a_replaced_file_keeps_its_rights_from_the_first_byte_on(path: Path) -> None:
    path.write_bytes(b"secret")
    path.chmod(0o600)
    part = begun(path)
    assert mode(part.part) == 0o600
    path.chmod(0o640)
    part.publish(replace=True)
    part.close()
    assert mode(path) == 0o640


def test_a_new_file_gets_the_rights_of_the_umask(path: Path) -> None:
    before = os.umask(0o027)
    try:
        part = begun(path)
        part.publish(replace=False)
        part.close()
    finally:
        os.umask(before)
    assert mode(path) == 0o640


@pytest.mark.parametrize("make", [Path.mkdir, os.mkfifo, lambda path: path.symlink_to("elsewhere")])
def test_only_a_regular_file_is_replaced(path: Path, make: object) -> None:
    part = begun(path)
    make(path)  # type: ignore[operator]  # any of the three
    with pytest.raises(TargetExistsError, match="not a file"):
        part.publish(replace=True)
    part.close()


def test_a_link_in_the_place_of_the_part_is_not_followed(path: Path) -> None:
    victim = path.with_name("victim")
    victim.write_bytes(b"precious")
    path.with_name("f.part").symlink_to(victim)
    path.with_name("f.part.etag").write_text(A.to_note())
    with pytest.raises(HiperError, match="in the way"):
        PartFile(path).take_up()
    assert victim.read_bytes() == b"precious"


def test_a_link_in_the_place_of_the_note_is_not_followed(path: Path) -> None:
    victim = path.with_name("victim")
    victim.write_bytes(b"precious")
    path.with_name("f.part.etag").symlink_to(victim)
    part = PartFile(path)
    with pytest.raises(OSError, match=r"f\.part\.etag"):
        part.begin(A)
    part.close()
    assert victim.read_bytes() == b"precious"


@pytest.mark.parametrize("make", [Path.mkdir, os.mkfifo])
def test_what_is_no_file_in_the_place_of_the_part_is_not_written_into(path: Path, make: Callable[[Path], None]) -> None:
    make(path.with_name("f.part"))
    path.with_name("f.part.etag").write_text(A.to_note())
    with pytest.raises((HiperError, IsADirectoryError)):
        PartFile(path).take_up()


@pytest.mark.parametrize("name", ["n" * 246, "n" * 255, "ß" * 127, "データ" * 28])
def test_a_name_of_any_length_has_room_for_its_helpers(tmp_path: Path, name: str) -> None:
    part = begun(tmp_path / name)
    part.close()
    again = PartFile(tmp_path / name)
    assert again.take_up() == (6, A)
    again.publish(replace=False)
    again.close()
    assert [each.name for each in tmp_path.iterdir()] == [name]


def test_long_names_that_begin_alike_have_helpers_of_their_own(tmp_path: Path) -> None:
    first, second = (PartFile(tmp_path / ("n" * 250 + end)) for end in "ab")
    assert first.part != second.part


@pytest.mark.parametrize("note", ["", "{", "[1]", '{"etag": 1, "size": "x", "sha256": 2}', "\x00"])
def test_a_broken_note_tells_nothing_that_a_download_would_go_on_with(path: Path, note: str) -> None:
    begun(path).close()
    path.with_name("f.part.etag").write_text(note)
    part = PartFile(path)
    _, version = part.take_up()
    part.close()
    assert (version.size, version.sha256) == (None, None)


def test_what_hiper_0_1_left_is_taken_up(path: Path) -> None:
    path.with_name("f.part").write_bytes(b"abc")
    path.with_name("f.part.etag").write_text('"1-a"')
    part = PartFile(path)
    assert part.take_up() == (3, Version('"1-a"'))
    part.close()


def test_a_disk_that_takes_less_than_it_is_given_gets_the_rest_too(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As disks do that are nearly full, and file systems of a network."""
    pwrite = os.pwrite
    monkeypatch.setattr(os, "pwrite", lambda fd, block, offset: pwrite(fd, block[:2], offset))
    part = begun(path)
    assert part.sha256() == hashlib.sha256(b"abcdef").digest()
    part.close()


def test_a_full_disk_names_the_file() -> None:
    part = PartFile(Path("/dev/full"))
    part._fd = os.open("/dev/full", os.O_WRONLY)
    with pytest.raises(OSError, match=r"No space left on device: '/dev/full\.part'"):
        part.write(b"x", 0)
    part.close()
