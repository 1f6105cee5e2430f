"""When two answers are about the same bytes."""

import pytest

from libs.client.versions import Version

ETAG, DIGEST, OTHER = '"3-a"', b"d" * 32, b"o" * 32


@pytest.mark.parametrize(
    ("other", "same"),
    [
        (Version(ETAG, 3, DIGEST), True),
        (Version(ETAG), True),
        (Version("", 3, DIGEST), True),  # a proxy took the ETag away
        (Version('"3-b"', 3, DIGEST), False),
        (Version(ETAG, 4), False),
        (Version(ETAG, 3, OTHER), False),
        (Version("", 3), False),
        (Version(), False),
    ],
)
def test_a_version_is_known_by_its_etag_or_else_by_its_digest(other: Version, same: bool) -> None:
    known = Version(ETAG, 3, DIGEST)
    assert known.is_same(other) is same
    assert other.is_same(known) is same


def test_one_etag_with_two_sizes_or_digests_is_a_contradiction() -> None:
    known = Version(ETAG, 3, DIGEST)
    assert known.contradicts(Version(ETAG, 4))
    assert known.contradicts(Version(ETAG, 3, OTHER))
    assert not known.contradicts(Version(ETAG, None, DIGEST))
    assert not known.contradicts(Version('"3-b"', 4, OTHER))
    assert not Version("", 3).contradicts(Version("", 4))


def test_a_weakened_etag_is_the_one_that_it_was() -> None:
    assert Version.of({"ETag": f"W/{ETAG}"}, 3).is_same(Version(ETAG, 3))


@pytest.mark.parametrize("version", [Version(), Version(ETAG, 3, DIGEST), Version("", 0)])
def test_a_note_brings_back_what_was_known(version: Version) -> None:
    assert Version.from_note(version.to_note()) == version


def test_what_is_known_comes_together() -> None:
    assert Version(ETAG).merged(Version("", 3, DIGEST)) == Version(ETAG, 3, DIGEST)
