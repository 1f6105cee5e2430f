"""Whoever reads a client's bytes sees the same messages: the server, a proxy in front of it, and RFC 9112.

Else one of them takes a part of one client's request for a request of its own, and behind a proxy that is the next
client's (CWE-444). Each row of the corpus is sent straight, and through nginx on a connection that clients share."""

import asyncio
import random
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from itertools import product
from pathlib import Path

import pytest

from tests.hostile.messages import CORPUS, Message, Odd, get, head
from tests.hostile.nginx import nginx_before
from tests.hostile.raw import LONGEST, Wire, wired
from tests.hostile.recording import Record, recording

NEXT, LAST = get("/read/next"), get("/read/last")
AT_ONCE = 40  # connections
FINAL = re.compile(rb"HTTP/1\.1 [2-5][0-9]{2} ")
PIECES = 3  # that the bytes of a row come in


@pytest.fixture
def record() -> Iterator[Record]:
    with recording() as made:
        yield made


async def test_sent_straight_every_byte_belongs_to_the_message_it_was_sent_in(record: Record) -> None:
    limit = asyncio.Semaphore(AT_ONCE)

    async def tried(number: int, row: tuple[Odd, int]) -> str:
        own = f"127.1.{number // 250}.{number % 250 + 1}"  # ports are soon used again
        async with limit:
            return await straight(record, *row, own)

    found = await asyncio.gather(*(tried(*row) for row in enumerate(product(CORPUS, (1, PIECES)), 1)))
    assert "\n".join(filter(None, found)) == ""
    assert record.forged == []


async def straight(record: Record, odd: Odd, pieces: int, own: str) -> str:
    """Send a row and two requests behind it, the last of a connection; what is wrong with what came of it, or ""."""
    sent = odd.sent + head("GET", NEXT.target) + head("GET", LAST.target, "Connection: close")
    cuts = sorted(random.Random(sent).sample(range(1, len(sent)), pieces - 1))
    async with wired(record.port, own) as wire:
        for begin, end in zip([0, *cuts], [*cuts, len(sent)], strict=True):
            wire.writer.write(sent[begin:end])
            await asyncio.sleep(0.001 if cuts else 0)
        try:
            statuses = await answers(wire, odd)
        except (AssertionError, TimeoutError) as error:
            return f"{odd.name}: {type(error).__name__} {error}"
        got = record.by_client.pop(wire.writer.get_extra_info("sockname"), [])
    return wrong(odd, got, [*odd.messages, NEXT, LAST]) or miscounted(odd, got, statuses)


async def answers(wire: Wire, odd: Odd) -> list[int]:
    """The statuses of all final answers until the connection ends."""
    statuses = list[int]()
    async with asyncio.timeout(LONGEST):
        while not wire.reader.at_eof():
            method = odd.messages[len(statuses)].method if len(statuses) < len(odd.messages) else "GET"
            try:
                answer = await wire.answer(to_head=method == "HEAD")
            except (asyncio.IncompleteReadError, ConnectionError):
                break
            except AssertionError:
                if wire.reader.at_eof():
                    break  # the end, and not a line that is no answer
                raise
            if answer.status != 100:
                statuses.append(answer.status)
    return statuses


def wrong(odd: Odd, got: list[Message], expected: list[Message]) -> str:
    if got != expected[: len(got)] or (odd.good and odd.messages and not got):
        return f"{odd.name}: the application got {got}"
    return ""


def miscounted(odd: Odd, got: list[Message], statuses: list[int]) -> str:
    """Each message is answered once; of what is none, the first is."""
    most = max(1, len(got))
    fits = len(statuses) == len(got) if odd.good and odd.messages else len(statuses) <= most
    return "" if fits else f"{odd.name}: {len(got)} messages were answered with {statuses}"


@pytest.mark.parametrize("buffering", [False, True], ids=["as it comes", "whole bodies"])
async def test_behind_nginx_nobody_writes_into_the_request_of_the_next_client(
    record: Record, tmp_path: Path, buffering: bool
) -> None:
    with nginx_before(record.port, tmp_path, buffering=buffering) as port:
        found = [await behind(port, record, odd) for odd in CORPUS]
    assert "\n".join(filter(None, found)) == ""
    assert record.forged == []
    assert len(record.by_client) < len(CORPUS), "nginx kept no connection: nothing was tried"
    passed_on = (line.split() for line in (tmp_path / "access.log").read_text().splitlines())
    heads = Counter((method, target) for method, target, status in passed_on if status in ("200", "401"))
    assert heads == Counter((message.method, message.target) for message in record.messages)


async def answered(wire: Wire, times: int) -> None:
    """Wait until so many final answers have begun, or the connection has ended."""
    got = b""
    async with asyncio.timeout(LONGEST):
        while len(FINAL.findall(got)) < times and (block := await wire.reader.read(65536)):
            got += block


async def behind(port: int, record: Record, odd: Odd) -> str:
    """Send a row, then a request of another client; what is wrong with what the application got, or ""."""
    before = len(record.messages)
    async with wired(port) as attacker:
        attacker.writer.write(odd.sent)
        await answered(attacker, max(1, len(odd.messages)))
        async with wired(port) as client:
            client.writer.write(head("GET", NEXT.target))
            answer = await client.answer()
    got = record.messages[before:]
    mine = [number for number, message in enumerate(got) if message == NEXT]
    if answer.status != 200 or len(mine) != 1:
        return f"{odd.name}: the next client got {answer.status}, the application {got}"
    return wrong(replace(odd, good=False), got[: mine[0]] + got[mine[0] + 1 :], list(odd.messages))
