"""What the assembler does on each event: look at the name that it tells of."""

import asyncio
import random
from collections.abc import Awaitable, Callable
from weakref import WeakValueDictionary

import structlog

from libs.common.bus import Poison
from libs.common.bus.events import ChunkReceived, Event, SessionCancelled, SessionStale, SessionStalled
from libs.common.files.names import check_filename, valid_owner
from libs.common.problems import Problem
from libs.common.storage import ObjectNotFound, StoreUnavailable, UploadNotFound
from libs.common.uploads.assembling import Assembler as Maker
from libs.common.uploads.layout import FileId
from libs.common.uploads.parking import park
from libs.common.uploads.tidying import tidy
from libs.common.uploads.tools import Tools

log = structlog.get_logger(__name__)

_TRIES = 8  # when another process was faster
_LONGEST_PAUSE = 10.0  # seconds between tries while the store is away
_PATIENCE = 300.0  # seconds; then it may be this name alone that the store refuses, and others wait behind it


class Outpaced(Exception):
    """Other processes stayed faster. The bus delivers the event again."""


class Assembler:
    """Handles events: a function of the event and of what the bucket shows."""

    def __init__(self, tools: Tools, stale_threshold: float) -> None:
        self._tools = tools
        self._maker = Maker(tools)
        self._watch = tools.watch
        self._clock = tools.clock
        self._stale_threshold = stale_threshold
        self._locks: WeakValueDictionary[FileId, asyncio.Lock] = WeakValueDictionary()  # held by who works on the name

    async def handle(self, event: Event) -> None:
        """Do what the event asks to look at. Waits while the store is away, but not for ever: raises StoreUnavailable
        after 5 minutes. Raises Poison for an event that can never succeed, and Outpaced."""
        file = event.data.file
        _refuse_impossible_names(file)
        match event:
            case ChunkReceived(data=data):
                if data.is_last:
                    await self._once("advance", file, lambda: self._maker.finish(file))
                elif event.wakes_assembler:
                    await self._once("advance", file, lambda: self._maker.add(file, data.filled_parts))
            case SessionCancelled():
                await self.tidy(file)
            case SessionStalled():
                await self._once("advance", file, lambda: self._maker.finish(file))
                await self.tidy(file)
            case SessionStale():
                await self._once("park", file, lambda: park(self._tools, file, self._stale_threshold))
            case _:
                raise Poison(f"not for the assembler: {event.type}")

    async def tidy(self, file: FileId) -> None:
        """Delete the garbage of a name, and its closed record."""
        await self._once("tidy", file, lambda: tidy(self._tools, file))

    async def _once(self, step: str, file: FileId, work: Callable[[], Awaitable[bool]]) -> None:
        """Work on a name until it is done, one at a time in this process: two would only do the same."""
        async with self._locks.setdefault(file, asyncio.Lock()):
            pause, tries, until = 0.2, _TRIES, self._clock.monotonic() + _PATIENCE
            while True:
                try:
                    with self._watch.step(step):
                        if await work():
                            return
                except (ObjectNotFound, UploadNotFound):
                    pass  # deleted by another process that was faster
                except StoreUnavailable as error:
                    if self._clock.monotonic() > until:
                        raise
                    log.warning("store unavailable, waiting", error=str(error), pause=pause)
                    await self._clock.sleep(random.uniform(pause / 2, pause))  # noqa: S311  # jitter, not a secret
                    pause = min(pause * 2, _LONGEST_PAUSE)
                    continue
                tries -= 1
                if not tries:
                    raise Outpaced(f"{step} {file}")
                await self._clock.sleep(random.uniform(0, 0.1))  # noqa: S311  # jitter, not a secret


def _refuse_impossible_names(file: FileId) -> None:
    """Raises Poison for names that no store takes as part of a key."""
    if not valid_owner(file.owner):
        raise Poison(f"no owner: {file.owner!r}")
    try:
        check_filename(file.filename)
    except Problem as problem:
        raise Poison(f"not a file: {file!r}: {problem.detail}") from None
