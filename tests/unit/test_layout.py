"""Every key says what it is about, and can be read back."""

import hashlib
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from libs.common import layout
from libs.common.extents import Extent
from libs.common.layout import FileId
from libs.common.names import SUBJECT, valid_filename, valid_owner

MIB = 2**20
SHA = hashlib.sha256(b"payload").hexdigest()
names = st.text(st.characters(exclude_characters="/", exclude_categories=("Cs", "Cc")), min_size=1, max_size=20)
files = st.builds(FileId, st.from_regex(SUBJECT, fullmatch=True).filter(valid_owner), names.filter(valid_filename))
sizes = st.integers(0, 2**40)


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
    ],
)
def test_parts_are_8_mib_doubled_until_there_are_at_most_10000(total: int, part: int, count: int) -> None:
    assert (layout.part_size(total), layout.part_count(total)) == (part, count)


@given(total=sizes)
def test_parts_cover_the_file_without_overlap(total: int) -> None:
    size, count = layout.part_size(total), layout.part_count(total)
    assert count <= 10_000
    assert size == 8 * MIB or total > size // 2 * 10_000
    if count:
        assert layout.part_extent(total, 0).start == 0
        assert layout.part_extent(total, count - 1).end == total
        assert 0 < layout.part_extent(total, count - 1).length <= size
        assert layout.part_extent(total, count // 2) == (count // 2 * size, min(total, (count // 2 + 1) * size))


@given(total=sizes)
def test_a_session_id_carries_its_total_size_and_who_opened_it_and_is_never_used_again(total: int) -> None:
    replica = layout.new_replica()
    session = layout.new_session(total, replica)
    assert (layout.total_size_of(session), layout.opener_of(session)) == (total, replica)
    assert session != layout.new_session(total, replica)
    assert layout.total_size_of(layout.new_session(total)) == total
    plain = layout.new_session(total, replica, plain=True)
    assert (layout.total_size_of(plain), layout.opener_of(plain)) == (total, replica)
    assert (layout.is_plain(plain), layout.is_plain(session)) == (True, False)


@given(file=files, total=sizes, fact=st.sampled_from(["open", "writer/a", f"digest/sha-256/{SHA}", "closed/park"]))
def test_a_fact_can_be_read_back(file: FileId, total: int, fact: str) -> None:
    session = layout.new_session(total)
    key = layout.fact_key(file, session, fact)
    assert layout.parse_session_key(key) == (file, session, fact)
    for prefix in (
        layout.sessions_root(),
        layout.sessions_root(layout.fanout(file.owner), file.owner),
        layout.sessions_prefix(file),
        layout.session_prefix(file, session),
    ):
        assert key.startswith(prefix)


def test_facts_are_named_by_one_module() -> None:
    assert layout.writer_fact("a") == "writer/a"
    assert layout.digest_fact(SHA) == f"digest/sha-256/{SHA}"
    assert layout.assembly_fact("u") == "assembly/u"
    assert [layout.closing_fact(reason) for reason in layout.REASONS] == [
        "closing/cancel",
        "closing/park",
        "closing/reject",
    ]
    assert layout.closed_fact("park") == "closed/park"


@given(file=files, total=st.integers(1, 2**40), data=st.data())
def test_a_chunk_can_be_read_back(file: FileId, total: int, data: st.DataObject) -> None:
    start = data.draw(st.integers(0, total - 1))
    part = start // layout.part_size(total)
    end = data.draw(st.integers(start + 1, layout.part_extent(total, part).end))
    session = layout.new_session(total)
    key = layout.chunk_key(file, session, Extent(start, end), SHA)
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
    file, session = FileId("o", "f"), layout.new_session(2**40)
    keys = [layout.chunk_key(file, session, Extent(start, start + 1), SHA) for start in sorted(starts)]
    assert keys == sorted(keys)


@given(file=files, start=sizes, length=sizes, kind=st.sampled_from([layout.partials_prefix, layout.rejected_prefix]))
def test_a_run_of_a_partial_or_rejected_file_can_be_read_back(
    file: FileId, start: int, length: int, kind: Callable[..., str]
) -> None:
    session = layout.new_session(start + length)
    key = layout.run_key(kind(file, session), Extent(start, start + length))
    assert key.startswith(kind(file))
    assert layout.parse_run_key(key) == (file, session, Extent(start, start + length))


@given(file=files)
def test_permanent_keys_lie_below_their_owner(file: FileId) -> None:
    assert layout.file_key(file) == f"files/{file.owner}/{file.filename}"
    assert layout.file_key(file).startswith(layout.files_prefix(file.owner))
    assert layout.partials_prefix(file).startswith(layout.partials_root(file.owner))
    assert layout.partials_root(file.owner).startswith(layout.partials_root())
    assert layout.digests_prefix(file, "1-a").startswith(layout.digests_prefix(file))


@given(device=st.from_regex(SUBJECT, fullmatch=True).filter(valid_owner))
def test_a_device_can_be_read_back(device: str) -> None:
    assert layout.parse_device_key(layout.device_key(device)) == device


def test_owners_are_spread_over_256_folders() -> None:
    folders = {layout.fanout(f"device-{n}") for n in range(5000)}
    assert len(folders) == 256
    assert all(len(folder) == 2 for folder in folders)
