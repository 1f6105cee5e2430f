"""Which of three manners an Accept and a Prefer header ask for."""

import pytest
from fastapi import Request

from services.ingest.manners import manner_of, wait_of


def asked(name: str, *fields: str) -> Request:
    return Request({"type": "http", "headers": [(name.encode(), field.encode()) for field in fields]})


@pytest.mark.parametrize(
    ("fields", "manner"),
    [
        ((), "once"),
        (("",), "once"),
        (("*/*",), "once"),
        (("text/*",), "once"),  # who takes anything did not ask for a stream
        (("application/json",), "once"),
        (("text/event-stream",), "events"),
        (("Text/Event-Stream; charset=utf-8",), "events"),
        (("application/jsonl",), "jsonl"),
        (("application/json, text/event-stream",), "once"),
        (("application/json;q=0.5, text/event-stream;q=0.9",), "events"),
        (("text/event-stream;q=0",), "once"),
        (("text/html", "application/jsonl;q=1.0"), "once"),
        (("text/html;q=0.1", "application/jsonl"), "jsonl"),
        (("text/event-stream;q=abc",), "events"),
        ((";;,;,=",), "once"),
        ((",".join(["a/b;q=0." + "1" * 400] * 50),), "once"),
    ],
)
def test_a_stream_is_for_those_who_name_it(fields: tuple[str, ...], manner: str) -> None:
    assert manner_of(asked("accept", *fields)) == manner


@pytest.mark.parametrize(
    ("fields", "seconds"),
    [
        ((), None),
        (("wait=30",), 30),
        (("Wait = 30",), 30),
        (('wait="30"',), 30),
        (("wait=30; foo=bar",), 30),
        (("respond-async, wait=10",), 10),
        (("respond-async", "wait=10"), 10),
        (("wait=10, wait=20",), 10),
        (("wait=0",), 0),
        (("wait=61",), 60),
        (("wait=99999999999999999999",), 60),
        (("wait=" + "9" * 5000,), None),
        (("wait=-1",), None),
        (("wait=1.5",), None),
        (("wait=٣",), None),
        (("wait",), None),
        (("wait=",), None),
        (("wait=x, wait=5",), None),
        (("waiting=5",), None),
    ],
)
def test_a_wait_is_cut_and_one_that_cannot_be_understood_is_none(fields: tuple[str, ...], seconds: int | None) -> None:
    request = Request({"type": "http", "headers": [(b"prefer", field.encode("utf-8")) for field in fields]})
    assert wait_of(request) == seconds
