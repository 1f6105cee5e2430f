"""Which labels there can be."""

import pytest

from libs.common.files.labels import MAX_LABELS, from_metadata, parse_labels, to_metadata
from libs.common.problems import Kind, Problem

LONGEST = {f"{number}" + "k" * 31: "v" * 128 for number in range(MAX_LABELS)}


@pytest.mark.parametrize(
    ("fields", "labels"),
    [
        ([], {}),
        (["drive=0417"], {"drive": "0417"}),
        (["drive=0417, trip=2", "a.b_c-d=x"], {"drive": "0417", "trip": "2", "a.b_c-d": "x"}),
        (["a=b=c"], {"a": "b=c"}),
        (["a=two words; and (more)"], {"a": "two words; and (more)"}),
        (["a=1", "a=1"], {"a": "1"}),
        ([f"{key}={value}" for key, value in LONGEST.items()], LONGEST),
    ],
)
def test_labels_come_in_one_field_or_in_several(fields: list[str], labels: dict[str, str]) -> None:
    assert parse_labels(fields) == labels


@pytest.mark.parametrize(
    "field",
    [
        *("", ",", "a", "=b", "a=", "A=b", "-a=b", "a b=c", "a=\x01", "a=é", "a=b\n", "a= ", "k" * 33 + "=v"),
        *("a=" + "v" * 129, "a=1,a=2", ",".join(f"k{number}=v" for number in range(11))),
    ],
)
def test_what_is_no_label_is_refused(field: str) -> None:
    with pytest.raises(Problem) as caught:
        parse_labels([field])
    assert caught.value.kind is Kind.BAD_LABEL


def test_labels_survive_as_metadata_that_every_store_keeps() -> None:
    kept = to_metadata(LONGEST)
    assert from_metadata(kept) == LONGEST
    assert sum(len(key) + len(value) for key, value in kept.items()) < 2048 - 200  # beside session and digest
    assert to_metadata({}) == {}


def test_metadata_of_another_program_is_no_label() -> None:
    assert from_metadata({"labels": "nonsense,a=b, c=d"}) == {"a": "b"}
