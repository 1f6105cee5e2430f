"""Where a message begins and ends, and which fields are its own (RFC 9112, sections 6 and 7).

A proxy in front reads each message too, and sends the next client's request behind it on the same connection. Whoever
finds a border that the proxy and the server see in two places writes into that request. So what can be read in two ways
is refused, and its connection ends.
"""

from enum import Enum
from typing import Any

import httptools
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol


class Phase(Enum):
    IDLE = "between two requests"
    HEAD = "within the request line and header fields"
    BODY = "after the header fields"


class BadHead(Exception):
    """Ends the parsing of a request."""


class MessageProtocol(HttpToolsProtocol):
    """uvicorn's protocol, less what makes it see another message than the one that was sent.

    `Upgrade` is ignored, as RFC 9110, section 7.8, allows: no other protocol is spoken here. Trailer fields are
    dropped: uvicorn takes them for header fields, which a proxy would have checked.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._phase = Phase.HEAD  # a new connection owes a request
        self._stays = False  # whether the connection is kept after this message, if its body comes

    def data_received(self, data: bytes) -> None:
        self._unset_keepalive_if_required()
        rest = memoryview(data)
        try:
            while True:
                try:
                    self.parser.feed_data(rest)
                    return
                except httptools.HttpParserUpgrade as stop:  # the parser has left out the body
                    rest = rest[stop.args[0] :]
                    self._read_again_without_upgrade()
        except httptools.HttpParserError as error:
            self.logger.debug("No request: %s", error)
            self.send_400_response("Send requests in HTTP/1.1 (RFC 9112)")

    def _read_again_without_upgrade(self) -> None:
        """Have the parser read the last head once more, so that it takes what follows for the body."""
        lines = [b"%b %b HTTP/%b" % (self.parser.get_method(), self.url, self.parser.get_http_version().encode())]
        lines += [name + b": " + value for name, value in self.headers if name != b"upgrade"]
        self.parser = httptools.HttpRequestParser(self)
        self.parser.set_dangerous_leniencies(lenient_data_after_close=True)  # as uvicorn does; such data is discarded
        self.parser.feed_data(b"\r\n".join([*lines, b"", b""]))

    def _should_upgrade(self) -> bool:
        return False

    def _enter(self, phase: Phase) -> None:
        self._phase = phase

    # -- what the parser tells

    def on_message_begin(self) -> None:
        self._enter(Phase.HEAD)
        super().on_message_begin()

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._phase is Phase.HEAD:
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        version, method = self.parser.get_http_version(), self.parser.get_method()
        if not _is_plain(version, method, self.headers):
            raise BadHead
        if self.parser.should_upgrade():
            return  # HttpParserUpgrade comes next
        if version == "1.0":
            self.expect_100_continue = False  # RFC 9110, section 10.1.1
        self._enter(Phase.BODY)
        super().on_headers_complete()
        self._stays = self.cycle.keep_alive
        if self.expect_100_continue:  # a client that is refused now may send the body, or may never send it
            self.cycle.keep_alive = False

    def on_body(self, body: bytes) -> None:
        """uvicorn copies each block into a bytearray and out of it again. A block that comes alone, as large ones do,
        is handed on as it is."""
        self._body_comes()
        waiting = self.cycle.body
        if not waiting and not self.cycle.response_complete:
            self.cycle.body, body = body, b""  # type: ignore[assignment]
        elif isinstance(waiting, bytes):
            self.cycle.body = bytearray(waiting)
        super().on_body(body)

    def on_message_complete(self) -> None:
        if self._phase is Phase.BODY:  # not so for a head that is read again
            self._body_comes()
            self._enter(Phase.IDLE)
            super().on_message_complete()
            if not self.parser.should_keep_alive():  # said in a trailer field: the parser reads no further request
                self._leave()

    def _leave(self) -> None:
        """End the connection behind the answer to this message."""
        if self.cycle.response_complete:
            self.transport.close()
        else:
            self.cycle.keep_alive = False

    def _body_comes(self) -> None:
        if self.expect_100_continue and not self.cycle.response_started:
            self.cycle.keep_alive = self._stays

    def shutdown(self) -> None:
        self._stays = False
        super().shutdown()


def _is_plain(version: str, method: bytes, fields: list[tuple[bytes, bytes]]) -> bool:
    """Whether everybody reads the message in one way: HTTP/1.0 or 1.1, with one host (RFC 9112, section 3.2), and with
    no coding but `chunked` once."""
    hosts = sum(name == b"host" for name, _ in fields)
    codings = [value.lower() for name, value in fields if name == b"transfer-encoding"]
    named = hosts == 1 or (version == "1.0" and not hosts)
    return version in ("1.0", "1.1") and named and codings in ([], [b"chunked"]) and method != b"CONNECT"
