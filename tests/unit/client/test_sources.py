"""Where bytes are read from, and that a change of them is seen."""

import hashlib
import io
import os
import tempfile
import threading
import time
from pathlib import Path
from typing import BinaryIO

import pytest

from libs.client.errors import HiperError, SourceChangedError
from libs.client.opening import open_source
from libs.client.sources import FileSource, Hashing, Source, read_chunk
from libs.common.files.extents import Extent


def content(source: Source) -> bytes:
    return source.read(Extent(0, source.size))


def facts(path: Path) -> tuple[int, bytes]:
    """The size that the system tells, and the bytes."""
    return path.stat().st_size, path.read_bytes()


def pipe_of(data: bytes) -> BinaryIO:
    """A pipe whose writer has gone."""
    reading, writing = os.pipe()
    os.write(writing, data)
    os.close(writing)
    return os.fdopen(reading, "rb")


async def test_any_range_of_a_file_is_read_with_its_digest(tmp_path: Path) -> None:
    path = tmp_path / "f"
    path.write_bytes(b"0123456789")
    source = await open_source(path)
    assert await read_chunk(source, Extent(3, 6)) == (b"345", hashlib.sha256(b"345").digest())
    assert await Hashing(source.read).up_to(source.size) == hashlib.sha256(b"0123456789").digest()
    source.close()


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
async def test_bytes_are_a_source_too(kind: type[bytes]) -> None:
    source = await open_source(kind(b"0123456789"))
    assert (source.size, source.read(Extent(8, 10))) == (10, b"89")
    source.close()


async def test_an_empty_file_has_the_digest_of_nothing(tmp_path: Path) -> None:
    path = tmp_path / "f"
    path.touch()
    source = await open_source(str(path))
    assert source.size == 0
    assert await Hashing(source.read).up_to(0) == hashlib.sha256().digest()
    source.close()


async def test_a_file_that_grew_is_not_read_further(tmp_path: Path) -> None:
    path = tmp_path / "f"
    path.write_bytes(b"0123456789")
    source = await open_source(path)
    with path.open("ab") as file:
        file.write(b"more")
    with pytest.raises(SourceChangedError, match="changed during its upload"):
        source.read(Extent(0, 4))
    source.close()


async def test_a_file_that_shrank_is_not_read_further(tmp_path: Path) -> None:
    path = tmp_path / "f"
    path.write_bytes(b"0123456789")
    source = await open_source(path)
    os.truncate(path, 2)
    with pytest.raises(SourceChangedError):
        source.read(Extent(0, 4))
    source.close()


async def test_a_file_rewritten_at_the_same_size_is_seen_by_its_time(tmp_path: Path) -> None:
    path = tmp_path / "f"
    path.write_bytes(b"0123456789")
    source = await open_source(path)
    os.utime(path, ns=(1, 1))
    with pytest.raises(SourceChangedError):
        source.read(Extent(0, 4))
    source.close()


async def test_an_empty_file_that_grew_is_seen_too(tmp_path: Path) -> None:
    path = tmp_path / "f"
    path.touch()
    source = await open_source(path)
    path.write_bytes(b"x")
    with pytest.raises(SourceChangedError):
        source.read(Extent(0, 0))
    source.close()


async def test_a_directory_or_a_device_is_no_source(tmp_path: Path) -> None:
    for path, hint in ((tmp_path, f"{tmp_path}/*"), (Path("/dev/zero"), "hiper upload - --name")):
        with pytest.raises(HiperError, match="not a regular file") as caught:
            await open_source(path)
        assert hint in caught.value.hint


@pytest.mark.skipif(not Path("/proc/version").exists(), reason="needs /proc")
async def test_a_file_that_says_it_is_empty_is_read_to_its_end() -> None:
    told, wanted = facts(Path("/proc/version"))
    assert told == 0
    source = await open_source("/proc/version")
    assert content(source) == wanted != b""
    source.close()


@pytest.mark.skipif(not Path("/sys/kernel/mm/transparent_hugepage/enabled").exists(), reason="needs /sys")
async def test_a_file_that_says_it_is_larger_than_it_is_is_read_to_its_end() -> None:
    path = Path("/sys/kernel/mm/transparent_hugepage/enabled")
    told, wanted = facts(path)
    assert told > len(wanted)
    source = await open_source(path)
    assert content(source) == wanted
    source.close()


async def test_a_sparse_file_is_a_file(tmp_path: Path) -> None:
    for size in (4096, 2**40):
        (tmp_path / "f").touch()
        os.truncate(tmp_path / "f", size)
        source = await open_source(tmp_path / "f")
        assert source.size == size
        assert source.read(Extent(size - 3, size)) == b"\0\0\0"
        source.close()


async def test_a_named_pipe_is_waited_for_and_read_to_its_end(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")

    def write() -> None:
        time.sleep(0.3)
        with (tmp_path / "pipe").open("wb") as pipe:
            for _ in range(3):
                pipe.write(b"x" * 100_000)
                pipe.flush()
                time.sleep(0.3)

    writer = threading.Thread(target=write)
    writer.start()
    source = await open_source(tmp_path / "pipe")
    writer.join()
    assert content(source) == b"x" * 300_000
    source.close()


async def test_a_pipe_of_the_shell_is_read_to_its_end() -> None:
    for wanted in (b"abc", b""):
        with pipe_of(wanted) as pipe:
            source = await open_source(f"/dev/fd/{pipe.fileno()}")
            assert content(source) == wanted
            source.close()


async def test_a_stream_is_a_file_from_where_it_stands(tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"0123456789")
    with (tmp_path / "f").open("rb", buffering=0) as stream:
        stream.seek(4)
        source = await open_source(stream)
        assert isinstance(source, FileSource)
        assert content(source) == b"456789"
        assert source.read(Extent(1, 3)) == b"56"
        assert stream.read() == b"456789"  # its position is the caller's
        source.close()


async def test_a_stream_of_another_size_than_announced_is_refused() -> None:
    for size, words in ((4, "has only 3 bytes"), (2, "has more")):
        with pipe_of(b"abc") as pipe, pytest.raises(HiperError, match=words) as caught:
            await open_source(pipe, size)
        assert caught.value.hint == "nothing was uploaded"
    with pipe_of(b"abc") as pipe:
        (await open_source(pipe, 3)).close()


async def test_no_room_for_what_a_pipe_gives_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "TemporaryFile", lambda: io.FileIO("/dev/full", "wb"))
    with pipe_of(b"abc") as pipe, pytest.raises(HiperError, match="no room in") as caught:
        await open_source(pipe)
    assert "No space left on device" in str(caught.value)
    assert "TMPDIR" in caught.value.hint


async def test_a_missing_file_is_the_system_s_own_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        await open_source(tmp_path / "none")
