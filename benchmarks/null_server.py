"""Reads requests and answers 200 to each: how fast the load generator is by itself."""

import asyncio
import re
import sys
from typing import cast

_LENGTH = re.compile(rb"content-length: *([0-9]+)", re.IGNORECASE)
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"


class Peer(asyncio.Protocol):
    """One connection."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._head = b""
        self._left = 0  # bytes of the body still to come

    def data_received(self, data: bytes) -> None:
        if not self._left:
            self._head += data
            end = self._head.find(b"\r\n\r\n")
            if end < 0:
                return
            length = _LENGTH.search(self._head, 0, end)
            self._left = int(length[1]) if length else 0
            data, self._head = self._head[end + 4 :], b""
        self._left -= len(data)
        if self._left <= 0:
            self._left = 0
            self._transport.write(ANSWER)


async def serve(port: int) -> None:
    server = await asyncio.get_running_loop().create_server(Peer, "127.0.0.1", port)
    async with server:
        await server.serve_forever()


if __name__ == "__main__":
    import uvloop

    uvloop.run(serve(int(sys.argv[1])))
