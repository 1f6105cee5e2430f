"""Sizes and names as people write and read them."""

import pytest

from libs.client.sizes import format_size, parse_size, printable


@pytest.mark.parametrize(
    ("text", "size"),
    [("4096", 4096), ("8MiB", 8 * 2**20), ("64k", 64_000), ("64 KiB", 65536), ("1.5GB", 1_500_000_000),
     ("500kb", 500_000), (" 2gi ", 2**31), ("10B", 10)],
)  # fmt: skip
def test_a_size_has_a_decimal_or_a_binary_unit(text: str, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "MiB", "-1", "0", "8 parsecs", "1e6", "0.5"])
def test_what_is_no_size_says_how_to_write_one(text: str) -> None:
    with pytest.raises(ValueError, match="write 8MiB"):
        parse_size(text)


@pytest.mark.parametrize(
    ("size", "text"),
    [(0, "0 B"), (1023, "1023 B"), (1024, "1.0 KiB"), (20 * 2**20, "20.0 MiB"), (3 * 2**30, "3.0 GiB"),
     (2**40, "1.0 TiB"), (5 * 2**50, "5120.0 TiB")],
)  # fmt: skip
def test_a_size_is_shown_in_the_unit_that_suits_it(size: int, text: str) -> None:
    assert format_size(size) == text


def test_a_name_cannot_colour_the_terminal() -> None:
    assert printable("\x1b[31mred\n") == r"\x1b[31mred\n"


def test_a_name_in_any_script_is_shown_as_it_is() -> None:
    assert printable("Größe 📦 データ") == "Größe 📦 データ"
