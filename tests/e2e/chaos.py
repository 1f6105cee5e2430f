"""Killing processes at random while work goes on."""

import asyncio
import random
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from tests.e2e.processes import Process


@asynccontextmanager
async def killing(processes: Sequence[Process], seed: int, pause: tuple[float, float]) -> AsyncIterator[list[str]]:
    """SIGKILL one of the processes now and then, and start it again; yields the growing list of who was killed."""
    killed: list[str] = []
    task = asyncio.create_task(_kill(processes, random.Random(seed), pause, killed))
    try:
        yield killed
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        for process in processes:
            if process.popen is None or process.popen.poll() is not None:
                process.start(wait=False)
        for process in processes:
            await asyncio.to_thread(process.wait_until_ready)


async def _kill(
    processes: Sequence[Process], chance: random.Random, pause: tuple[float, float], killed: list[str]
) -> None:
    order: list[Process] = []
    while True:
        await asyncio.sleep(chance.uniform(*pause))
        order = order or chance.sample(processes, len(processes))  # each once, before any is killed again
        process = order.pop()
        process.kill()
        killed.append(process.module)
        await asyncio.sleep(chance.uniform(0, 0.5))
        process.start(wait=False)
        await asyncio.to_thread(process.wait_until_ready)
