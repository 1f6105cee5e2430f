"""Bodies of any length. A piece is stored while the next one comes. If a body breaks off, its bytes are kept."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack

from libs.common.files.extents import Extent, split
from libs.common.files.pins import Pin
from libs.common.problems import Kind, Problem
from libs.common.uploads.layout import MIN_PART_SIZE
from libs.common.uploads.writing import Ack
from libs.common.web.drain import Drain
from services.ingest.receive import Budget, Deadline, Inflow, Received, receive, timed, wrong_length

PIECE = MIN_PART_SIZE  # bytes: parts are multiples of it, so that no piece crosses a part boundary
Count = Callable[[int], Awaitable[None]]
Store = Callable[[Received, Pin | None], Awaitable[Ack]]


class Streamer:
    """Takes in bodies without a checksum or digest: each byte that arrives counts."""

    def __init__(self, budget: Budget, deadline: Deadline, drain: Drain) -> None:
        self._budget = budget
        self._deadline = deadline
        self._drain = drain

    async def take(self, inflow: Inflow, extent: Extent, admit: Count, wait: Count, store: Store) -> Ack:
        """Store the extent's bytes, a piece at a time; at most two are in memory. `admit` is given the bytes of the
        first piece, before any is read, `wait` those of each other one. `store` makes a piece durable, in the upload
        that the pin names unless it is the first one.

        Raises what `store` raises; what came before is stored. Where the body breaks off, hangs or is too short, raises
        that problem, which says up to where the bytes are stored.
        """
        storing: asyncio.Task[Ack] | None = None
        broken = None
        try:
            for piece in split(extent, PIECE) or [extent]:
                await (wait if storing else admit)(piece.length)
                async with AsyncExitStack() as stack:
                    blocks = timed(inflow.upto(piece.length), self._deadline, self._drain)
                    receiving = receive(blocks, piece, PIECE, (), b"", self._budget, keep=True)
                    received = await stack.enter_async_context(receiving)
                    pin = Pin(match=frozenset({(await storing).session})) if storing else None
                    broken = received.broken
                    if piece.end == extent.end and not broken:
                        await self._refuse_more(inflow, extent)
                    if received.payload.extent.length or not broken:
                        storing = asyncio.create_task(_stored(store, received, pin, stack.pop_all()))
                if broken:
                    break
        finally:
            if storing:
                await asyncio.wait({storing})
        if broken:
            raise _kept(broken, storing.result().offset) if storing else broken
        if storing is None:
            raise AssertionError("a body has at least one piece")
        return storing.result()

    async def _refuse_more(self, inflow: Inflow, extent: Extent) -> None:
        if await anext(timed(inflow.rest(), self._deadline, self._drain), b""):
            raise wrong_length(extent, f"more than {extent.length}")


async def _stored(store: Store, received: Received, pin: Pin | None, stack: AsyncExitStack) -> Ack:
    async with stack:
        try:
            return await store(received, pin)
        except Problem as problem:
            if pin and problem.kind is Kind.PRECONDITION_FAILED:
                raise Problem(Kind.CLOSING, "The upload ended while this body came. Try again shortly.") from None
            raise


def _kept(broken: Problem, offset: int) -> Problem:
    detail = f"{broken.detail} What came of it is stored: go on at byte {offset}."
    return Problem(broken.kind, detail, headers=broken.headers, next_expected_byte=offset)
