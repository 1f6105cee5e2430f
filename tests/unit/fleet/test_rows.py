"""What a row of an upload says of it."""

from tests.unit.fleet.rows import NOW, upload

STALE, LONG = 3600.0, 300.0  # seconds


def test_an_upload_waits_for_the_device_until_every_byte_is_there() -> None:
    assert upload(next_expected_byte=999).waiting_for == "device"
    assert upload(next_expected_byte=1000).waiting_for == "assembler"
    assert upload(total_size=None, next_expected_byte=1000).waiting_for == "device"


def test_only_what_waits_for_the_device_and_is_not_parked_will_be_parked() -> None:
    assert upload().parks_at(STALE) == NOW - 1 + STALE
    assert upload(parked=True).parks_at(STALE) is None
    assert upload(next_expected_byte=1000).parks_at(STALE) is None


def test_an_upload_without_a_byte_for_long_is_stuck_unless_it_is_parked() -> None:
    quiet = upload(last_updated=NOW - LONG)
    assert quiet.is_stuck(NOW, LONG)
    assert not quiet.is_stuck(NOW - 0.1, LONG)
    assert not quiet._replace(parked=True).is_stuck(NOW, LONG)


def test_whole_bytes_without_a_file_for_long_are_stuck_parked_or_not() -> None:
    whole = upload(next_expected_byte=1000, last_updated=NOW - LONG)
    assert whole.is_stuck(NOW, LONG)
    assert whole._replace(parked=True).is_stuck(NOW, LONG)


def test_a_rate_alone_is_no_news() -> None:
    assert upload(rate=5.0).same_but_rate(upload())
    assert not upload(received_bytes=101).same_but_rate(upload())
    assert not upload().same_but_rate(None)
