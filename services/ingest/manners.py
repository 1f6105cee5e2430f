"""How a client wants to be answered: once, at the first change, or by a stream."""

import re
from typing import Literal

from fastapi import Request

EVENTS, JSONL = "text/event-stream", "application/jsonl"
Manner = Literal["once", "events", "jsonl"]
LONGEST_WAIT = 60  # seconds: proxies give up an answer that begins later
STREAMED = {media_type: {"schema": {"type": "string"}} for media_type in (EVENTS, JSONL)}  # in the API document
_STREAMS: dict[str, Manner] = {EVENTS: "events", JSONL: "jsonl"}
_WAIT = re.compile(r'\s*wait\s*=\s*"?(\d{1,20})"?\s*(;|$)', re.IGNORECASE | re.ASCII)
_PREFERENCE = re.compile(r"\s*wait\s*(=|;|$)", re.IGNORECASE)
_QUALITY = re.compile(r"\s*q\s*=\s*(0(\.\d{0,3})?|1(\.0{0,3})?)\s*", re.IGNORECASE | re.ASCII)


def manner_of(request: Request) -> Manner:
    """What `Accept` asks for (RFC 9110, section 12.5.1). A stream is for those who name its media type; among several
    types the one with the greatest weight counts, and of equal ones the first. Everything else is answered once."""
    best = 0.0
    chosen: Manner = "once"
    for field in request.headers.getlist("accept"):
        for choice in field.split(","):
            media_type, *parameters = choice.split(";")
            quality = next((float(found[1]) for p in parameters if (found := _QUALITY.fullmatch(p))), 1.0)
            if quality > best:
                best, chosen = quality, _STREAMS.get(media_type.strip().lower(), "once")
    return chosen


def wait_of(request: Request) -> int | None:
    """Seconds that `Prefer: wait=N` asks for (RFC 7240, section 4.3), at most LONGEST_WAIT. None where it is absent or
    cannot be understood: a preference is no order. Of several the first counts."""
    for field in request.headers.getlist("prefer"):
        for preference in field.split(","):
            if _PREFERENCE.match(preference):
                found = _WAIT.match(preference)
                return min(int(found[1]), LONGEST_WAIT) if found else None
    return None
