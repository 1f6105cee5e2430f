"""The end of a connection (RFC 9112, section 9.6).

A connection that is closed with bytes of a request unread is reset, and the reset takes with it the answer that the
client has not read yet. So the server ends its own direction first. It goes on reading, and throws away what it reads,
until the client has closed its end too or the bounds are reached.
"""

from asyncio import TimerHandle, Transport
from collections.abc import Callable
from typing import Any, cast

from libs.common.web.http1.messages import MessageProtocol, Phase

SILENCE = 2.0  # seconds for a client that owes nothing to close its end


class HalfClosing:
    """A transport that leaves its end to another: `close` sends nothing more, and closes nothing yet."""

    def __init__(self, transport: Transport, closed: Callable[[], None]) -> None:
        self._transport = transport
        self._closed = closed
        self._is_closing = False

    def close(self) -> None:
        if not self._is_closing:
            self._is_closing = True
            self._closed()

    def is_closing(self) -> bool:
        return self._is_closing or self._transport.is_closing()

    def write(self, data: bytes) -> None:
        if not self._is_closing:
            self._transport.write(data)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)


class LingeringProtocol(MessageProtocol):
    """Throws away what comes after an answer: the rest of its request's body, and all that follows the end of the
    connection. Seconds and bytes."""

    header_timeout = 10.0
    body_timeout = 300.0
    body_idle_timeout = 15.0
    most_discarded = 256 * 2**20

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._wire: Transport | None = None
        self._discarded = 0  # bytes since the answer
        self._began = self._heard = 0.0  # seconds of the loop's clock
        self._lingering: TimerHandle | None = None

    def connection_made(self, transport: Transport) -> None:  # type: ignore[override]  # as in uvicorn
        self._wire = transport
        super().connection_made(cast("Transport", HalfClosing(transport, self._half_close)))

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_lingering()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if not self.transport.is_closing():
            super().data_received(data)
        if self.transport.is_closing() or self._owes_body_after_answer():
            self._discard(len(data))

    def close_now(self) -> None:
        """End the connection without a look at what the client still sends: it is owed no answer."""
        if self._wire is not None:
            self._wire.close()

    def shutdown(self) -> None:
        super().shutdown()
        if self._phase is not Phase.BODY and self.transport.is_closing():
            self.close_now()

    def _enter(self, phase: Phase) -> None:
        if not self.transport.is_closing():
            self._stop_lingering()
        super()._enter(phase)

    def _owes_body_after_answer(self) -> bool:
        return self._phase is Phase.BODY and self.cycle.response_complete

    def _half_close(self) -> None:
        if self._wire is None or self._wire.is_closing():
            return
        if self.cycle and not self.cycle.response_complete:  # whoever waits for the rest of the body hears of the end
            self.cycle.disconnected = True
            self.cycle.message_event.set()
        self._wire.write_eof()
        self.flow.resume_reading()
        self._discard(0)

    def _discard(self, size: int) -> None:
        self._heard = self.loop.time()
        if self._lingering is None:
            self._began, self._discarded = self._heard, 0
            self._look_again()
        self._discarded += size
        if self._discarded > self.most_discarded:
            self.close_now()

    def _look_again(self) -> None:
        if self._wire is not None and self._wire.get_write_buffer_size():  # until the answer is sent, time stands still
            self._began = self._heard = self.loop.time()
        whole, silence = self.header_timeout, min(SILENCE, self.header_timeout)
        if self._phase is Phase.BODY:
            whole, silence = self.body_timeout, self.body_idle_timeout
        left = min(self._began + whole, self._heard + silence) - self.loop.time()
        if left > 0:
            self._lingering = self.loop.call_later(left, self._look_again)
        else:
            self.close_now()

    def _stop_lingering(self) -> None:
        if self._lingering is not None:
            self._lingering.cancel()
            self._lingering = None
