"""Ports for servers that the tests start."""

import contextlib
import random
import socket

_handed_out: set[int] = set()


def free_port() -> int:
    """A port that nobody listens on, and that is handed out once.

    From below the range of outgoing connections, so that none of them takes it before the server binds it, or while
    the server is dead. Two processes of one test must not get the same: the first of them would answer for both."""
    while True:
        port = random.randrange(20_000, 32_000)
        if port in _handed_out:
            continue
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("", port))
            _handed_out.add(port)
            return port
