"""Where a download gathers, and what it may be resumed from."""

import hashlib
from io import BytesIO
from pathlib import Path

import pytest

from libs.client.errors import HiperError, SourceChangedError
from libs.client.sinks import FileSink, StreamSink
from libs.client.versions import Version

A, B = Version('"1-a"', 6), Version('"1-b"', 3, bytes(32))


def names(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir())


async def test_the_name_is_free_until_the_whole_file_is_there(tmp_path: Path) -> None:
    sink = FileSink(tmp_path / "f")
    await sink.resume()
    await sink.begin(A)
    await sink.write(b"abc")
    assert names(tmp_path) == ["f.part", "f.part.etag"]
    await sink.finish()
    await sink.close()
    assert names(tmp_path) == ["f"]
    assert (tmp_path / "f").read_bytes() == b"abc"


async def test_a_second_sink_goes_on_where_the_first_was_left(tmp_path: Path) -> None:
    first = FileSink(tmp_path / "f")
    await first.begin(A)
    await first.write(b"abc")
    await first.close()
    second = FileSink(tmp_path / "f")
    await second.resume()
    assert (second.offset, second.version) == (3, A)
    await second.write(b"def")
    assert await second.sha256() == hashlib.sha256(b"abcdef").digest()
    await second.finish()
    await second.close()
    assert (tmp_path / "f").read_bytes() == b"abcdef"


async def test_a_download_that_died_before_its_first_byte_begins_anew(tmp_path: Path) -> None:
    (tmp_path / "f.part").touch()
    sink = FileSink(tmp_path / "f")
    await sink.resume()
    assert (sink.offset, sink.version) == (0, Version())
    await sink.begin(A)
    await sink.write(b"x")
    await sink.finish()
    await sink.close()
    assert (tmp_path / "f").read_bytes() == b"x"


async def test_a_file_that_no_download_left_is_not_touched(tmp_path: Path) -> None:
    (tmp_path / "f.part").write_bytes(b"whose?")
    sink = FileSink(tmp_path / "f")
    await sink.resume()
    with pytest.raises(HiperError, match="in the way"):
        await sink.begin(A)
    assert (tmp_path / "f.part").read_bytes() == b"whose?"
    assert names(tmp_path) == ["f.part"]


async def test_another_version_begins_from_nothing(tmp_path: Path) -> None:
    sink = FileSink(tmp_path / "f")
    await sink.begin(A)
    await sink.write(b"old bytes")
    await sink.begin(B)
    await sink.write(b"new")
    assert await sink.sha256() == hashlib.sha256(b"new").digest()
    await sink.close()
    assert (tmp_path / "f.part").read_bytes() == b"new"
    assert (tmp_path / "f.part.etag").read_text() == B.to_note()


async def test_wrong_bytes_are_not_kept(tmp_path: Path) -> None:
    sink = FileSink(tmp_path / "f")
    await sink.begin(A)
    await sink.write(b"wrong")
    await sink.discard()
    await sink.close()
    assert names(tmp_path) == []


async def test_nothing_is_made_before_the_server_answered(tmp_path: Path) -> None:
    sink = FileSink(tmp_path / "f")
    await sink.resume()
    await sink.close()
    assert names(tmp_path) == []


async def test_a_stream_gets_the_bytes_but_cannot_begin_twice() -> None:
    stream = BytesIO()
    sink = StreamSink(stream)
    await sink.begin(A)
    await sink.write(b"abc")
    with pytest.raises(SourceChangedError):
        await sink.begin(B)
    await sink.finish()
    await sink.discard()
    await sink.close()
    assert stream.getvalue() == b"abc"
    assert await sink.sha256() == hashlib.sha256(b"abc").digest()
