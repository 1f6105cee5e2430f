"""The leanest HTTP/1.1 client: a blocking socket, requests of bytes, no parsing beyond what is needed."""

import socket
from typing import NamedTuple

RECEIVE = 1 << 20  # bytes asked of the socket at a time
TIMEOUT = 120.0  # seconds


class Answer(NamedTuple):
    """`head` is the status line and the header fields, as they came."""

    status: int
    head: bytes
    body: bytes

    def field(self, name: str) -> str:
        """The value of a header field; empty where it is missing."""
        for line in self.head.split(b"\r\n")[1:]:
            key, _, value = line.partition(b":")
            if key.lower() == name.lower().encode():
                return value.strip().decode()
        return ""


class Connection:
    """One kept connection. Every system is measured with it."""

    def __init__(self, host: str, port: int) -> None:
        self._host = f"{host}:{port}".encode()
        self._socket = socket.create_connection((host, port), TIMEOUT)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._buffer = bytearray(RECEIVE)

    def close(self) -> None:
        self._socket.close()

    def ask(
        self, method: str, target: str, fields: bytes = b"", body: bytes | memoryview = b"", *, keep: bool = True
    ) -> Answer:
        """`fields`: complete header lines. Without `keep` the answer's body is read and thrown away."""
        head = b"%s %s HTTP/1.1\r\nHost: %s\r\nContent-Length: %d\r\n%s\r\n" % (
            method.encode(),
            target.encode(),
            self._host,
            len(body),
            fields,
        )
        sent = self._socket.sendmsg([head, body]) - len(head)
        if sent < len(body):
            self._socket.sendall(memoryview(body)[max(sent, 0) :])
        return self._read(method, keep)

    def _read(self, method: str, keep: bool) -> Answer:
        got = b""
        while (end := got.find(b"\r\n\r\n")) < 0:
            block = self._socket.recv(RECEIVE)
            if not block:
                raise ConnectionError("the server closed the connection")
            got += block
        answer = Answer(int(got[9:12]), got[:end], b"")
        if method == "HEAD" or answer.status in (204, 304):
            return answer
        rest = got[end + 4 :]
        left = int(answer.field("Content-Length") or 0) - len(rest)
        if answer.field("Transfer-Encoding"):
            raise ValueError("chunked answers are not for this client")
        blocks = [rest]
        while left > 0:
            count = self._socket.recv_into(self._buffer, min(left, RECEIVE))
            if not count:
                raise ConnectionError("the server closed the connection")
            left -= count
            if keep:
                blocks.append(bytes(self._buffer[:count]))
        return answer._replace(body=b"".join(blocks) if keep else b"")


def expect(answer: Answer, *statuses: int) -> Answer:
    """The answer, if its status is one of these."""
    if answer.status not in statuses:
        raise RuntimeError(f"{answer.head.decode(errors='replace')}\n{answer.body[:500]!r}")
    return answer
