"""From HTTP answers to the client's errors."""

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest

from libs.client.answer_errors import answer_error
from libs.client.answers import parse_retry_after
from libs.client.errors import (
    AnswerError,
    IncompleteError,
    NotFoundError,
    PreconditionError,
    RangeError,
    RejectedError,
    UnauthorizedError,
)
from libs.common.problems import Kind, Problem


@pytest.mark.parametrize("kind", Kind)
def test_every_problem_of_the_server_becomes_one_line_with_its_title_and_detail(kind: Kind) -> None:
    document = Problem(kind, "because of this.").document()
    error = answer_error(kind.status, "reason", document)
    assert str(error) == f"{kind.title}: because of this."
    assert (error.slug, error.status) == (kind.slug, kind.status)


@pytest.mark.parametrize("kind", [kind for kind in Kind if kind.retry_after is not None])
def test_every_problem_that_asks_to_be_retried_is(kind: Kind) -> None:
    assert answer_error(kind.status, "", Problem(kind, "").document()).retry == "yes"


DAMAGED = (Kind.DIGEST_MISMATCH, Kind.CHECKSUM_MISMATCH, Kind.MALFORMED_CHUNK)
FINAL = [kind for kind in Kind if kind.retry_after is None and kind.status < 500 and kind not in DAMAGED]


@pytest.mark.parametrize("kind", DAMAGED)
def test_a_chunk_that_was_damaged_on_its_way_is_sent_a_few_times(kind: Kind) -> None:
    assert answer_error(kind.status, "", Problem(kind, "").document()).retry == "few"


@pytest.mark.parametrize("kind", FINAL)
def test_no_other_problem_is_retried(kind: Kind) -> None:
    assert answer_error(kind.status, "", Problem(kind, "").document()).retry == "no"


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        (Kind.UNAUTHORIZED, UnauthorizedError),
        (Kind.NOT_FOUND, NotFoundError),
        (Kind.PRECONDITION_FAILED, PreconditionError),
        (Kind.RANGE_NOT_SATISFIABLE, RangeError),
        (Kind.REJECTED, RejectedError),
        (Kind.UPLOAD_INCOMPLETE, IncompleteError),
    ],
)
def test_what_callers_act_on_has_a_type_of_its_own(kind: Kind, expected: type[AnswerError]) -> None:
    assert type(answer_error(kind.status, "", Problem(kind, "").document())) is expected


def test_a_missing_route_is_not_taken_for_a_missing_file() -> None:
    assert type(answer_error(404, "", Problem(Kind.NO_ROUTE, "").document())) is AnswerError


def test_a_head_answer_has_no_document_so_its_status_speaks() -> None:
    assert isinstance(answer_error(404, "Not Found", {}), NotFoundError)


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("", 0), ("7", 7), ("-3", 0), ("soon", 0), ("99999999", 3600),
        ("Thu, 01 Jan 2026 00:00:30 GMT", 30), ("Thu, 01 Jan 2026 00:00:30", 30), ("Wed, 31 Dec 2025 00:00:00 GMT", 0),
    ],
)  # fmt: skip
def test_retry_after_is_seconds_or_a_date_by_the_clock_of_the_server(value: str, seconds: float) -> None:
    assert parse_retry_after(value, "Thu, 01 Jan 2026 00:00:00 GMT") == seconds


def test_retry_after_as_a_date_counts_by_our_clock_where_the_answer_has_no_date() -> None:
    soon = format_datetime(datetime.now(UTC) + timedelta(seconds=30), usegmt=True)
    assert 25 < parse_retry_after(soon, "") <= 30
    assert parse_retry_after(soon, "no date") == 0
