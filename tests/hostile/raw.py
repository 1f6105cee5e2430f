"""Bytes to a server, and what it makes of them: answers in the form of HTTP/1.1, and whether it ends the connection."""

import asyncio
import json
import re
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

LONGEST = 20  # seconds that an answer, or the end of a connection, may take on a busy machine
_STATUS_LINE = re.compile(rb"HTTP/1\.1 ([1-5][0-9]{2}) [ -~]*\r\n")
_FIELD = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+): ([ -~]*)\r\n")


@dataclass(frozen=True)
class Answer:
    status: int
    fields: dict[str, str]
    body: bytes


@dataclass(frozen=True)
class Wire:
    """One connection."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def answer(self, *, to_head: bool = False) -> Answer:
        """The next answer. Raises AssertionError for what is no HTTP, and for an error that is no problem document."""
        async with asyncio.timeout(LONGEST):
            line = _STATUS_LINE.fullmatch(await self.reader.readline())
            assert line, "no status line"
            fields = dict[str, str]()
            while (raw := await self.reader.readline()) != b"\r\n":
                field = _FIELD.fullmatch(raw)
                assert field, raw
                fields[field[1].decode().lower()] = field[2].decode()
            status = int(line[1])
            bodyless = to_head or status in {100, 204, 304}
            body = b"" if bodyless else await self.reader.readexactly(int(fields["content-length"]))
        if status >= 400 and not to_head:
            assert fields["content-type"] == "application/problem+json"
            assert json.loads(body)["status"] == status
        return Answer(status, fields, body)

    async def ended(self) -> bool:
        """Wait until the server has ended the connection; whether it said nothing more."""
        async with asyncio.timeout(LONGEST):
            try:
                return await self.reader.read() == b""
            except ConnectionError:
                return True


@asynccontextmanager
async def wired(port: int, own: str = "127.0.0.1") -> AsyncIterator[Wire]:
    """A connection from an address of one's own."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port, local_addr=(own, 0))
    try:
        yield Wire(reader, writer)
    finally:
        writer.close()


async def exchange(port: int, sent: bytes, statuses: Sequence[int], *, stays: bool, hangs_up: bool = False) -> str:
    """Send bytes and expect answers of these statuses, then the end of the connection unless it `stays`; "" if so, else
    what came instead. `hangs_up`: the client sends an end behind the bytes and still listens."""
    got = list[int | str]()
    async with wired(port) as wire:
        try:
            wire.writer.write(sent)
            if hangs_up:
                wire.writer.write_eof()
            for _ in statuses:
                got.append((await wire.answer()).status)
            if not stays and not await wire.ended():
                got.append("more than that")
        except (AssertionError, TimeoutError, ConnectionError, asyncio.IncompleteReadError) as error:
            got.append(f"{type(error).__name__} {error}")
    return "" if got == list(statuses) else f"wanted {list(statuses)}, got {got}"
