"""Where bytes are read from, and that a change of them is seen."""

import hashlib
import os
from pathlib import Path

import pytest

from libs.client.errors import HiperError, SourceChangedError
from libs.client.sources import FileSource, open_source, read_chunk, sha256_of
from libs.common.extents import Extent


async def test_any_range_of_a_file_is_read_with_its_digest(tmp_path: Path) -> None:
    path = tmp_path / "f"
    path.write_bytes(b"0123456789")
    source = await open_source(path)
    assert await read_chunk(source, Extent(3, 6)) == (b"345", hashlib.sha256(b"345").digest())
    assert await sha256_of(source) == hashlib.sha256(b"0123456789").digest()
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
    assert await sha256_of(source) == hashlib.sha256().digest()
    source.close()


async def test_a_file_that_grew_is_not_read_further(tmp_path: Path) -> None:
    path = tmp_path / "f"
    path.write_bytes(b"0123456789")
    source = FileSource(path)
    with path.open("ab") as file:
        file.write(b"more")
    with pytest.raises(SourceChangedError, match="changed during its upload"):
        source.read(Extent(0, 4))
    source.close()


async def test_a_file_that_shrank_is_not_read_further(tmp_path: Path) -> None:
    path = tmp_path / "f"
    path.write_bytes(b"0123456789")
    source = FileSource(path)
    os.truncate(path, 2)
    with pytest.raises(SourceChangedError):
        source.read(Extent(0, 4))
    source.close()


async def test_a_file_rewritten_at_the_same_size_is_seen_by_its_time(tmp_path: Path) -> None:
    path = tmp_path / "f"
    path.write_bytes(b"0123456789")
    source = FileSource(path)
    os.utime(path, ns=(1, 1))
    with pytest.raises(SourceChangedError):
        source.read(Extent(0, 4))
    source.close()


async def test_a_directory_or_a_pipe_is_no_source(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path, tmp_path / "pipe"):
        with pytest.raises(HiperError, match="not a regular file"):
            await open_source(path)


async def test_a_missing_file_is_the_system_s_own_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        await open_source(tmp_path / "none")
