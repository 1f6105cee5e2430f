"""Every key says what it is about, and can be read back."""

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from libs.common.files.extents import Extent
from libs.common.files.names import SUBJECT, valid_filename, valid_owner
from libs.common.uploads import layout
from libs.common.uploads.layout import FileId, ForeignKey
from libs.common.uploads.record import Record

MIB = 2**20
SHA = hashlib.sha256(b"payload").hexdigest()
segments = st.text(st.characters(exclude_characters="/", exclude_categories=("Cs", "Cc")), min_size=1, max_size=20)
names = st.lists(segments, min_size=1, max_size=3).map("/".join)
files = st.builds(FileId, st.from_regex(SUBJECT, fullmatch=True).filter(valid_owner), names.filter(valid_filename))
sizes = st.integers(0, 2**40)


def record_of(total: int | None) -> Record:
    return Record(state="open", version="v", total_size=total, part_size=layout.part_size(total))


@pytest.mark.parametrize(
    ("total", "part", "count"),
    [
        (0, 8 * MIB, 0),
        (1, 8 * MIB, 1),
        (8 * MIB, 8 * MIB, 1),
        (8 * MIB + 1, 8 * MIB, 2),
        (80_000 * MIB, 8 * MIB, 10_000),
        (80_000 * MIB + 1, 16 * MIB, 5_001),
        (2**40, 128 * MIB, 8_192),
        (None, 64 * MIB, 0),
    ],
)
def test_parts_are_8_mib_doubled_until_there_are_at_most_10000(total: int | None, part: int, count: int) -> None:
    assert (layout.part_size(total), record_of(total).part_count) == (part, count)


@given(total=sizes)
def test_parts_cover_the_file_without_overlap(total: int) -> None:
    record = record_of(total)
    size, count = record.part_size, record.part_count
    assert count <= 10_000
    assert size == 8 * MIB or total > size // 2 * 10_000
    if count:
        assert record.part_extent(0).start == 0
        assert record.part_extent(count - 1).end == total
        assert 0 < record.part_extent(count - 1).length <= size
        assert record.part_extent(count // 2) == (count // 2 * size, min(total, (count // 2 + 1) * size))


def test_the_longest_name_makes_no_key_that_is_too_long_for_s3() -> None:
    file = FileId("o" * 64, "a/" * 424 + "bb")
    last = Extent(10**16 - 1, 2 * 10**16 - 2)  # lengths of 16 digits
    session = layout.new_session()
    keys = [
        layout.record_key(file),
        layout.chunk_key(file, session, 99_999, last, SHA),
        layout.run_key(file, session, last),
        layout.rejected_key(file, session, last),
        layout.file_key(file),
    ]
    assert valid_filename(file.filename)
    assert max(len(key) - len(file.filename) for key in keys) == 150
    assert max(map(len, keys)) <= 1024


def test_a_session_and_a_version_of_a_record_are_never_used_again() -> None:
    assert layout.new_session() != layout.new_session()
    assert layout.new_version() != layout.new_version()


@given(file=files)
def test_a_record_can_be_read_back(file: FileId) -> None:
    key = layout.record_key(file)
    assert layout.parse_record_key(key) == file
    for prefix in (
        layout.records_root(),
        layout.records_prefix(file.owner),
        layout.records_prefix(file.owner, file.filename),
    ):
        assert key.startswith(prefix)


@given(file=files, total=st.integers(1, 2**40), data=st.data())
def test_a_chunk_can_be_read_back(file: FileId, total: int, data: st.DataObject) -> None:
    record, session = record_of(total), layout.new_session()
    start = data.draw(st.integers(0, total - 1))
    part = start // record.part_size
    end = data.draw(st.integers(start + 1, record.part_extent(part).end))
    key = layout.chunk_key(file, session, part, Extent(start, end), SHA)
    assert layout.parse_chunk_key(key) == (file, session, part, Extent(start, end), SHA[:16])
    for prefix in (
        layout.chunks_root(),
        layout.chunks_root(layout.fanout(file.owner), file.owner),
        layout.chunks_prefix(file, session),
        layout.part_prefix(file, session, part),
    ):
        assert key.startswith(prefix)


@given(starts=st.lists(st.integers(0, 2**40 - 1), min_size=2, max_size=6))
def test_chunks_are_listed_in_the_order_of_the_file(starts: list[int]) -> None:
    file, session, size = FileId("o", "f"), layout.new_session(), layout.part_size(2**40)
    ordered = sorted(starts)
    keys = [layout.chunk_key(file, session, start // size, Extent(start, start + 1), SHA) for start in ordered]
    assert keys == sorted(keys)


@given(file=files, start=sizes, length=sizes)
def test_a_run_and_rejected_bytes_can_be_read_back(file: FileId, start: int, length: int) -> None:
    session, extent = layout.new_session(), Extent(start, start + length)
    run, rejected = layout.run_key(file, session, extent), layout.rejected_key(file, session, extent)
    assert layout.parse_run_key(run) == layout.parse_run_key(rejected) == (file, session, extent)
    assert run.startswith(layout.runs_prefix(file, session))
    assert rejected.startswith(layout.rejected_prefix(file))
    assert run != layout.run_key(file, session, extent), "no run is ever written over another"


@given(file=files)
def test_permanent_keys_lie_below_their_owner(file: FileId) -> None:
    assert layout.file_key(file) == f"files/{file.owner}/{file.filename}"
    assert layout.parse_file_key(layout.file_key(file)) == file
    assert layout.file_key(file).startswith(layout.files_prefix(file.owner))
    assert layout.runs_prefix(file, "").startswith(layout.partials_root(file.owner))
    assert layout.rejected_prefix(file).startswith(layout.rejected_root(file.owner))


@given(file=files)
def test_a_record_and_the_chunks_of_a_name_are_no_name_below_it(file: FileId) -> None:
    """So that a file and a folder of the same name meet in files/ alone, where the store has the last word."""
    for key in (layout.record_key(file), layout.chunk_key(file, layout.new_session(), 0, Extent(0, 1), SHA)):
        with pytest.raises(ForeignKey):
            layout.parse_file_key(f"files/{key.split('/', 2)[2]}")


@given(device=st.from_regex(SUBJECT, fullmatch=True).filter(valid_owner))
def test_a_device_can_be_read_back(device: str) -> None:
    assert layout.parse_device_key(layout.device_key(device)) == device


def test_owners_are_spread_over_256_folders() -> None:
    folders = {layout.fanout(f"device-{n}") for n in range(5000)}
    assert len(folders) == 256
    assert all(len(folder) == 2 for folder in folders)
