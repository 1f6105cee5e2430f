"""What an event says of an upload in progress."""

import math
from collections.abc import Container

from libs.common.bus.events import (
    ChunkReceived,
    ChunkReceivedData,
    Event,
    FileCompleted,
    FileDeleted,
    FileRejected,
    PartialFileMoved,
    SessionCancelled,
)
from libs.common.fleet.rows import UploadRow

WINDOW = 30.0  # seconds over which a rate is averaged
_OVER = (FileCompleted, FileDeleted, FileRejected, SessionCancelled)


def ended_by(event: Event) -> str:
    """The session that is over; empty where none is."""
    return event.data.session if isinstance(event, _OVER) else ""


def heard(event: Event, known: UploadRow | None, now: float, ended: Container[str]) -> UploadRow | None:
    """The row after an event that came at `now` (seconds since the epoch by the store's clock): `known` itself where it
    says nothing new, None where no upload is in progress. An offset of one session never goes back. `ended`: sessions
    that are over, which a late event does not begin again."""
    data = event.data
    if isinstance(event, _OVER):
        return None if known and data.session in ("", known.session) else known
    if data.session in ended:
        return known
    if isinstance(event, ChunkReceived):
        return _with_chunk(event.data, known, now)
    if isinstance(event, PartialFileMoved) and known and known.session == data.session:
        return known._replace(parked=True, received_bytes=event.data.received_bytes)
    return known


def rate_now(row: UploadRow, now: float) -> float:
    """Bytes per second: the average so far, which fades while no chunk comes."""
    return round(row.rate * math.exp(-max(0.0, now - row.last_updated) / WINDOW), 1) if row.rate else 0.0


def _with_chunk(data: ChunkReceivedData, known: UploadRow | None, now: float) -> UploadRow:
    if known is None or known.session != data.session:
        known = UploadRow(data.owner, data.filename, data.session, data.total_size, 0, 0, now, False)
    offset = max(known.next_expected_byte, data.offset)
    return known._replace(
        total_size=known.total_size if data.total_size is None else data.total_size,
        received_bytes=max(known.received_bytes, offset),
        next_expected_byte=offset,
        last_updated=max(known.last_updated, now),
        parked=False,
        rate=rate_now(known, now) + data.length / WINDOW,
    )
