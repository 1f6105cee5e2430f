"""A proxy as companies have them: forwards requests of absolute form, and makes tunnels (RFC 9110, section 9.3.6)."""

import asyncio

from tests.unit.client.live import OpenFar, Relay, first_of, pump


class ForwardProxy(Relay):
    """Leads every name to one port of this machine. `login`: the `Proxy-Authorization` that it asks for, if any."""

    def __init__(self, target_port: int, login: str = "") -> None:
        super().__init__(target_port)
        self._login = login
        self.asked: list[str] = []  # request lines

    async def carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, far: OpenFar) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        self.asked.append(head.splitlines()[0])
        if self._login not in head:
            writer.write(
                b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
            )
            await asyncio.sleep(0.1)  # so that the answer is seen before the end
            return
        far_reader, far_writer = await far()
        method, target, _ = head.split(" ", 2)
        if method == "CONNECT":
            writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
        else:
            path = "/" + target.split("/", 3)[3]
            far_writer.write(
                head.replace(target, path, 1).replace("\r\n\r\n", "\r\nConnection: close\r\n\r\n").encode()
            )
        await first_of([pump(reader, far_writer), pump(far_reader, writer)])
