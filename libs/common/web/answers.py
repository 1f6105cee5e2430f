"""Answers that a client reads too slowly come to an end: each of them holds memory, a descriptor and a request's place.

A client that reads steadily gets every byte, however long it takes; one that was cut asks for the rest by Range.
"""

import asyncio
import contextlib
import socket
import struct
from dataclasses import dataclass

import structlog
from prometheus_client import Counter

UNSENT = 128 * 1024  # bytes of a connection that the kernel holds and has not sent; else they are up to 4 MiB
LOOKS = 6  # in one `Pace.seconds`
CUT = Counter("hiper_http_answers_cut", "Connections that were ended because the client read an answer too slowly.")
_BYTES_ACKED = struct.Struct("=120xQ")  # tcpi_bytes_acked in struct tcp_info of linux/tcp.h
log: structlog.stdlib.BoundLogger = structlog.stdlib.get_logger(__name__)


@dataclass(frozen=True)
class Pace:
    """How fast a client must read: `rate` bytes per second, on average over `seconds`; and something at least."""

    rate: float
    seconds: float


class AnswerWatch:
    """Looks at one connection from time to time, and ends it when bytes wait for a client that does not keep pace.

    Counted is what the client's machine acknowledged. Only Linux tells that: elsewhere nothing is ended."""

    def __init__(self, loop: asyncio.AbstractEventLoop, transport: asyncio.Transport, pace: Pace) -> None:
        self._loop = loop
        self._transport = transport
        self._pace = pace
        self._since: tuple[float, int] | None = None  # from when on bytes wait, and how many were acknowledged then
        sock = transport.get_extra_info("socket")
        with contextlib.suppress(AttributeError, OSError):  # not on every system, nor on every kind of socket
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, UNSENT)
        self._timer = loop.call_later(pace.seconds / LOOKS, self._look)

    def stop(self) -> None:
        self._timer.cancel()

    def _look(self) -> None:
        now, acknowledged = self._loop.time(), self._acknowledged()
        if acknowledged is None:
            return
        if not self._transport.get_write_buffer_size():
            self._since = None
        elif self._since is None:
            self._since = now, acknowledged
        elif now - self._since[0] >= self._pace.seconds:
            if self._too_slow(now - self._since[0], acknowledged - self._since[1]):
                CUT.inc()
                log.info("answer_cut", client=self._transport.get_extra_info("peername"), reason="read too slowly")
                self._transport.abort()  # closing would first send what waits
                return
            self._since = now, acknowledged
        self._timer = self._loop.call_later(self._pace.seconds / LOOKS, self._look)

    def _too_slow(self, seconds: float, read: int) -> bool:
        return not read or read < self._pace.rate * seconds

    def _acknowledged(self) -> int | None:
        """Bytes of this connection that arrived at the client; None where the system does not tell."""
        with contextlib.suppress(AttributeError, OSError, struct.error):
            told = self._transport.get_extra_info("socket").getsockopt(
                socket.IPPROTO_TCP, socket.TCP_INFO, _BYTES_ACKED.size
            )
            return int(_BYTES_ACKED.unpack(told)[0])
        return None
