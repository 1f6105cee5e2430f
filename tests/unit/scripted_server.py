"""A server that answers what the test wrote down, to see what a client makes of it."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

HANG_UP = b""  # read a request, and close the connection without an answer
DATE = "Sun, 22 Nov 2026 12:00:00 GMT"


def answer(status: int, body: bytes = b"", *, date: str = DATE, length: int | None = None, **headers: str) -> bytes:
    """An HTTP/1.1 answer that keeps the connection. `length` is what it claims to be long."""
    lines = [f"HTTP/1.1 {status} Whatever", f"Content-Length: {len(body) if length is None else length}"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    lines += [f"Date: {date}"] if date else []
    return "\r\n".join([*lines, "", ""]).encode() + body


def error(status: int, code: str, message: str = "") -> bytes:
    return answer(status, f"<Error><Code>{code}</Code><Message>{message}</Message></Error>".encode())


@dataclass
class Script:
    """What to answer to one request after the other, and the requests that came: the request line, the
    header (names in lower case) and the body."""

    answers: list[bytes]
    endpoint: str = ""
    requests: list[str] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    bodies: list[bytes] = field(default_factory=list)
    pause: float = 0.0  # seconds before each answer
    connections: int = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            while self.answers and (head := await reader.readuntil(b"\r\n\r\n")):
                lines = head.decode().splitlines()
                header = {name.lower(): value.strip() for name, _, value in (x.partition(":") for x in lines[1:] if x)}
                self.bodies.append(await reader.readexactly(int(header.get("content-length", 0))))
                self.headers.append(header)
                self.requests.append(lines[0].removesuffix(" HTTP/1.1"))
                said = self.answers.pop(0)
                await asyncio.sleep(self.pause)
                if not said:
                    break
                writer.write(said)
                await writer.drain()
                if b"Connection: close" in said:
                    await asyncio.sleep(0.2)  # so that what was sent is read before the end
                    break
        except (asyncio.IncompleteReadError, ConnectionError):
            pass  # the client has what it wanted
        finally:
            writer.close()


@asynccontextmanager
async def scripted(answers: Sequence[bytes]) -> AsyncIterator[Script]:
    script = Script(list(answers))
    server = await asyncio.start_server(script.serve, "127.0.0.1", 0)
    host, port = server.sockets[0].getsockname()
    script.endpoint = f"{host}:{port}"
    async with server:
        yield script
