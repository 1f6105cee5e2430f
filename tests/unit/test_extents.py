"""Extents are sets of bytes, whatever order they are added in: compared with sets of integers."""

import random
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from libs.common.files.extents import Extent, Extents, split

extents = st.tuples(st.integers(0, 40), st.integers(0, 12)).map(lambda pair: Extent(pair[0], sum(pair)))
lists = st.lists(extents, max_size=12)


def numbers(*some: Extent) -> set[int]:
    return {at for extent in some for at in range(extent.start, extent.end)}


@given(added=lists)
def test_a_set_holds_the_bytes_that_were_added_as_runs_that_do_not_touch(added: list[Extent]) -> None:
    kept = Extents(added)
    runs = list(kept)
    assert numbers(*runs) == numbers(*added)
    assert len(kept) == len(runs)
    assert all(run.length > 0 for run in runs)
    assert all(before.end < after.start for before, after in pairwise(runs))


@given(added=lists, asked=extents)
def test_missing_bytes_come_in_order_as_runs(added: list[Extent], asked: Extent) -> None:
    gaps = Extents(added).missing(asked)
    assert numbers(*gaps) == numbers(asked) - numbers(*added)
    assert gaps == sorted(gaps)
    assert all(gap.length for gap in gaps)
    assert len(Extents(gaps)) == len(gaps)


@given(added=lists, asked=extents)
def test_an_extent_is_covered_if_each_of_its_bytes_is_there(added: list[Extent], asked: Extent) -> None:
    assert Extents(added).covers(asked) == (numbers(asked) <= numbers(*added))


@given(added=lists)
def test_the_prefix_ends_at_the_first_byte_that_is_not_there(added: list[Extent]) -> None:
    there = numbers(*added)
    assert Extents(added).prefix_end() == min(set(range(100)) - there)
    assert Extents(added).total() == len(there)


@given(added=lists, shuffled=st.randoms())
def test_order_makes_no_difference(added: list[Extent], shuffled: random.Random) -> None:
    again = added.copy()
    shuffled.shuffle(again)
    assert Extents(added) == Extents(again)
    assert repr(Extents(added)) == repr(Extents(again))


@given(one=extents, other=extents)
def test_two_extents_overlap_in_the_bytes_that_both_hold(one: Extent, other: Extent) -> None:
    assert numbers(one.intersection(other)) == numbers(one) & numbers(other)
    if one.length and other.length:
        assert one.overlaps(other) == bool(numbers(one) & numbers(other))


@given(extent=extents, size=st.integers(1, 9))
def test_splitting_cuts_at_every_multiple_and_nowhere_else(extent: Extent, size: int) -> None:
    pieces = split(extent, size)
    assert [at for piece in pieces for at in range(piece.start, piece.end)] == list(range(*extent))
    assert all(piece.start // size == (piece.end - 1) // size for piece in pieces)
    assert all(piece.start % size == 0 for piece in pieces[1:])


def test_a_set_of_bytes_is_equal_to_no_list_and_cannot_be_hashed() -> None:
    assert Extents([Extent(0, 1)]) != [Extent(0, 1)]
    with pytest.raises(TypeError):
        hash(Extents())
