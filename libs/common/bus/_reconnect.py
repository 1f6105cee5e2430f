"""Run a session with a broker again and again, with back-off.

aio-pika has `connect_robust`, which restores channels, queues and consumers in place. Here everything that hangs on a
connection is made anew instead: there is one way to come up, taken at the start and after every failure, and it
declares what has been deleted meanwhile.
"""

import asyncio
import random
from collections.abc import Awaitable, Callable, Collection
from contextlib import suppress

SHORTEST_DELAY = 0.2  # seconds; doubles with each failure in a row
LONGEST_DELAY = 5.0  # seconds
CANCEL_AGAIN = 4.0  # seconds; longer than closing a connection takes
STEADY = 10.0  # seconds that a session must last for its end to count as a first failure


class ConnectionLost(Exception):
    """The session's connection, channel or consumer is gone."""


def cancelled() -> bool:
    """Whether the running task was cancelled, rather than a future that it waits for: aiormq ends what waits for
    a lost connection with CancelledError."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


async def keep(
    session: Callable[[], Awaitable[None]],
    stopping: asyncio.Event,
    complain: Callable[[BaseException], None],
) -> None:
    """Run sessions, one after the other, until `stopping`, which a session watches itself. What a session raises
    goes to `complain`."""
    loop = asyncio.get_running_loop()
    failures = 0
    while not stopping.is_set():
        began = loop.time()
        try:
            await session()
        except asyncio.CancelledError as error:
            if cancelled():
                raise
            complain(error)
        except Exception as error:
            complain(error)
        failures = 1 if loop.time() - began > STEADY else failures + 1
        with suppress(TimeoutError):
            async with asyncio.timeout(_delay(failures)):
                await stopping.wait()


async def end(tasks: Collection[asyncio.Task[None]]) -> None:
    """Cancel tasks until all have ended: aiormq 7.2 loses a cancellation that meets an answer of the broker."""
    while tasks:
        for task in tasks:
            task.cancel()
        _, tasks = await asyncio.wait(tasks, timeout=CANCEL_AGAIN)


async def either(first: asyncio.Event, second: asyncio.Event) -> None:
    """Wait until one of two events is set."""
    waits = [asyncio.ensure_future(event.wait()) for event in (first, second)]
    try:
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for wait in waits:
            wait.cancel()


def _delay(failures: int) -> float:
    """Seconds to wait, with jitter: a broker that comes back is not met by every client at once."""
    longest = min(LONGEST_DELAY, SHORTEST_DELAY * 2.0 ** min(failures, 16))
    return longest * random.uniform(0.5, 1)  # noqa: S311  # jitter is no secret
