"""How large chunks are, and that every byte is taken once."""

from hypothesis import given
from hypothesis import strategies as st

from libs.client.pacing import FAST, FIRST, LEAST, SLOW, Ceiling, Pacing, Remaining
from libs.common.files.extents import Extent, Extents


def test_the_first_chunk_is_small() -> None:
    assert Pacing(8 * 2**20).size == FIRST
    assert Pacing(FIRST // 2).size == FIRST // 2


def test_fast_chunks_double_it_up_to_the_largest() -> None:
    pacing = Pacing(8 * 2**20)
    pacing.succeeded(FAST / 2)
    assert pacing.size == 2 * FIRST
    for _ in range(20):
        pacing.succeeded(FAST / 2)
    assert pacing.size == 8 * 2**20


def test_failures_halve_it_down_to_the_least() -> None:
    pacing = Pacing(8 * 2**20)
    pacing.failed()
    assert pacing.size == FIRST // 2
    for _ in range(20):
        pacing.failed()
    assert pacing.size == LEAST


def test_slow_chunks_halve_it_and_others_leave_it_as_it_is() -> None:
    pacing = Pacing(2**20)
    pacing.succeeded(SLOW + 1)
    assert pacing.size == 2**19
    pacing.succeeded((FAST + SLOW) / 2)
    assert pacing.size == 2**19


def test_a_chunk_size_below_the_least_is_kept() -> None:
    pacing = Pacing(100)
    pacing.failed()
    assert pacing.size == 100


def test_413_halves_what_was_refused_and_no_fast_chunk_undoes_that() -> None:
    pacing = Pacing(8 * 2**20)
    assert pacing.too_large(FIRST)
    assert pacing.too_large(FIRST)  # of another chunk that was on its way then
    pacing.succeeded(FAST / 2)
    assert pacing.size == FIRST // 2


def test_nothing_below_the_least_is_tried_after_413() -> None:
    pacing = Pacing(8 * 2**20)
    assert pacing.too_large(LEAST + 1)
    assert pacing.size == LEAST
    assert not pacing.too_large(LEAST)


def test_the_next_file_of_a_client_begins_below_what_was_refused() -> None:
    ceiling = Ceiling()
    Pacing(8 * 2**20, ceiling).too_large(FIRST)
    assert Pacing(8 * 2**20, ceiling).size == FIRST // 2


def test_chunks_are_cut_at_multiples_of_their_size() -> None:
    remaining = Remaining([Extent(5, 25)])
    assert [remaining.take(10) for _ in range(4)] == [Extent(5, 10), Extent(10, 20), Extent(20, 25), None]


def test_what_is_put_back_comes_first() -> None:
    remaining = Remaining([Extent(0, 30)])
    first = remaining.take(10)
    assert first == Extent(0, 10)
    remaining.put_back(first)
    assert remaining.take(5) == Extent(0, 5)


def test_an_empty_file_is_one_empty_chunk() -> None:
    remaining = Remaining([Extent(0, 0)])
    assert remaining
    assert remaining.take(10) == Extent(0, 0)
    assert not remaining


@given(
    st.lists(st.integers(0, 500), min_size=2, max_size=10, unique=True),
    st.lists(st.integers(1, 100), min_size=1),
)
def test_every_missing_byte_is_taken_exactly_once_whatever_the_sizes(bounds: list[int], sizes: list[int]) -> None:
    ordered = sorted(bounds)
    missing = [Extent(a, b) for a, b in zip(ordered[::2], ordered[1::2], strict=False)]
    remaining, taken, turn = Remaining(missing), Extents(), 0
    total = 0
    while (extent := remaining.take(sizes[turn % len(sizes)])) is not None:
        taken.add(extent)
        total += extent.length
        turn += 1
    assert taken == Extents(missing)
    assert total == taken.total()
