"""Bounds on what comes before the application hears of a request.

uvicorn waits for headers for as long as they take, and takes as many as come: a few thousand silent connections, or
one that never stops sending headers, would end the process.
"""

import json
from asyncio import TimerHandle, Transport
from http import HTTPStatus
from typing import Any

from libs.common.problems import Kind, Problem
from libs.common.web.answers import AnswerWatch, Pace
from libs.common.web.errors import count
from libs.common.web.http1.lingering import LingeringProtocol
from libs.common.web.http1.messages import BadHead, Phase

MAX_FIELDS = 100  # header fields of one request, trailers included


class BoundedProtocol(LingeringProtocol):
    """A protocol whose connections end when a head is too slow (seconds), or with 431 when it is too large (bytes). An
    answer must be read at `pace`."""

    max_header_bytes = 32 * 1024
    pace = Pace(1024, 60)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._fields = 0
        self._head_bytes = 0  # of the fields that are complete
        self._swallowed = 0  # bytes in a row that the parser made nothing of yet
        self._timer: TimerHandle | None = None

    def connection_made(self, transport: Transport) -> None:  # type: ignore[override]  # as in uvicorn
        super().connection_made(transport)
        self._watch = AnswerWatch(self.loop, transport, self.pace)
        self._arm()

    def connection_lost(self, exc: Exception | None) -> None:
        self._disarm()
        self._watch.stop()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self._phase is Phase.IDLE:
            self._phase = Phase.HEAD  # even by a blank line
        self._swallowed += len(data)
        super().data_received(data)
        if self.transport.is_closing():
            self._disarm()
        elif self._swallowed > self.max_header_bytes:
            self._refuse(Kind.HEADERS_TOO_LARGE)
        elif self._phase is Phase.HEAD:
            self._arm()

    # -- what the parser tells

    def on_message_begin(self) -> None:
        self._fields = self._head_bytes = 0
        super().on_message_begin()

    def on_url(self, url: bytes) -> None:
        self._count(len(url))
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        self._fields += 1
        self._count(len(name) + len(value))
        super().on_header(name, value)

    def on_body(self, body: bytes) -> None:
        self._swallowed = 0
        super().on_body(body)

    def _enter(self, phase: Phase) -> None:
        if phase is not Phase.HEAD:
            self._swallowed = 0
            self._disarm()
        super()._enter(phase)

    def _count(self, size: int) -> None:
        self._head_bytes += size
        if self._head_bytes > self.max_header_bytes or self._fields > MAX_FIELDS:
            raise BadHead

    # -- the two ends

    def send_400_response(self, msg: str) -> None:
        """What is called for any error of the parser, ours among them."""
        too_large = self._head_bytes > self.max_header_bytes or self._fields > MAX_FIELDS
        self._refuse(Kind.HEADERS_TOO_LARGE if too_large else Kind.BAD_REQUEST, msg)

    def _refuse(self, kind: Kind, detail: str = "") -> None:
        if self._phase is not Phase.BODY and self.cycle and not self.cycle.response_complete:
            self._stays = self.cycle.keep_alive = False  # the requests before this one are answered first, none after
            self.flow.pause_reading()
            return
        if self._phase is not Phase.BODY or not self.cycle.response_started:
            limits = f"Send at most {MAX_FIELDS} header fields and {self.max_header_bytes} bytes of them"
            problem = Problem(kind, limits if kind is Kind.HEADERS_TOO_LARGE else detail)
            count(problem)
            self.transport.write(_answer(problem))
        self._phase = Phase.HEAD  # nothing of what follows is the rest of a body
        self.transport.close()

    def _arm(self) -> None:
        if self._timer is None:
            self._timer = self.loop.call_later(self.header_timeout, self._expire)

    def _disarm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _expire(self) -> None:
        self._timer = None
        if self.cycle is None or self.cycle.response_complete:
            self.close_now()
        else:
            self._arm()  # the answer to the request before goes out first


def _answer(problem: Problem) -> bytes:
    body = json.dumps(problem.document()).encode()
    status = HTTPStatus(problem.kind.status)
    head = (
        f"HTTP/1.1 {status.value} {status.phrase}\r\nContent-Type: application/problem+json\r\n"
        f"Cache-Control: no-store\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    )
    return head.encode() + body
