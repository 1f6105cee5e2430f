"""Processes that die at every store call in turn."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from itertools import count
from pathlib import Path

from tests.uploads.hooked_store import Crash
from tests.uploads.world import Node, World, open_world


async def after_each_crash(
    root: Path, prepare: Callable[[World], Awaitable[object]], work: Callable[[Node], Awaitable[object]]
) -> AsyncIterator[World]:
    """The world, prepared anew each time, as a process left it that died before its first store call, its second,
    and so on to its last. (What dies after a call leaves what dies before the next one leaves.)"""
    for number in count(1):
        async with open_world(root / str(number)) as world:
            await prepare(world)
            dying = world.node()
            dying.hooks.crash(number)
            with suppress(Crash):
                await work(dying)
            if not dying.hooks.dead:
                return
            yield world


async def crash() -> None:
    raise Crash
