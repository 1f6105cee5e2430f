"""Many streams that are open at once, and read by one thread."""

import selectors
import socket
import threading
from collections.abc import Iterable
from typing import Self

from benchmarks.servers import HOST
from benchmarks.wire import RECEIVE, TIMEOUT

OPENING = 64  # streams that wait for their first bytes at once


class Crowd:
    """Reads whatever comes and throws it away. `items`: how often `mark` came, for a rough count of what was shown.
    `with Crowd(...)` ends with every stream closed."""

    def __init__(self, mark: bytes) -> None:
        self.items = 0
        self._mark = mark
        self._selector = selectors.DefaultSelector()
        self._sockets: list[socket.socket] = []
        self._opening = threading.Semaphore(OPENING)
        self._failed = ""
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._read, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()
        for peer in self._sockets:
            peer.close()
        self._selector.close()

    def open(self, port: int, requests: Iterable[tuple[str, str]]) -> None:
        """One stream for each target and token; returns when all were answered with 200. Raises RuntimeError."""
        for target, token in requests:
            self._opening.acquire(timeout=TIMEOUT)
            peer = socket.create_connection((HOST, port), TIMEOUT)
            head = f"GET {target} HTTP/1.1\r\nHost: {HOST}\r\nAuthorization: Bearer {token}\r\n"
            peer.sendall(f"{head}Accept: application/jsonl\r\n\r\n".encode())
            self._sockets.append(peer)
            self._selector.register(peer, selectors.EVENT_READ, "opening")
            self.check()
        for _ in range(OPENING):
            if not self._opening.acquire(timeout=TIMEOUT):
                raise RuntimeError("a stream does not begin")
        self._opening.release(OPENING)
        self.check()

    @property
    def size(self) -> int:
        """Streams."""
        return len(self._sockets)

    def check(self) -> None:
        """Raises RuntimeError when a stream was refused or has ended."""
        if self._failed:
            raise RuntimeError(self._failed)

    def _read(self) -> None:
        while not self._over.is_set():
            for key, _ in self._selector.select(0.2):
                peer = key.fileobj
                assert isinstance(peer, socket.socket)  # noqa: S101  # no other is registered
                block = peer.recv(RECEIVE)
                if key.data == "opening":
                    self._selector.modify(peer, selectors.EVENT_READ, "open")
                    self._opening.release()
                    if not block.startswith(b"HTTP/1.1 200"):
                        self._failed = f"a stream was refused: {block[:500]!r}"
                if not block:
                    self._selector.unregister(peer)
                    self._failed = self._failed or "a stream ended"
                self.items += block.count(self._mark)
