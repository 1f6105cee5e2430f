"""Files that somebody watches: one look serves all watchers of a file in this process."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager, suppress
from typing import Any

from libs.common.bus import EventBus, Listening
from libs.common.bus.events import Event
from libs.common.problems import Kind, Problem
from libs.common.uploads.layout import FileId
from libs.common.uploads.states import FileState

EACH = 1.0  # seconds from one look at a file to the next, at least
FRESH = 10.0  # seconds, at most: events may be lost
NOTHING = ""  # the version of a name without a file or upload
LookAt = Callable[[FileId], Awaitable[FileState]]


class Watched:
    """One file, and what the last look showed. `seen`: a state, or what the look raised; None before the first look."""

    def __init__(self, file: FileId, look: LookAt, listening: Listening) -> None:
        self.seen: FileState | Exception | None = None
        self.watchers = 0
        self._file = file
        self._look = look
        self._listening = listening
        self._begun = 0  # looks
        self._looking = False
        self._news = asyncio.Event()  # set, and another one made, after each look
        self._hint = asyncio.Event()
        self._task = asyncio.create_task(self._follow())

    @property
    def version(self) -> str | None:
        """None where the file is neither there nor absent."""
        if isinstance(self.seen, FileState):
            return self.seen.version
        absent = isinstance(self.seen, Problem) and self.seen.kind is Kind.NOT_FOUND
        return NOTHING if absent else None

    def state(self) -> FileState:
        """What the last look showed. Raises what it raised. There must have been one."""
        if isinstance(self.seen, FileState):
            return self.seen
        raise self.seen or AssertionError("nobody has looked yet")

    def hint(self) -> None:
        """Something may have changed."""
        self._hint.set()

    async def present(self) -> None:
        """Wait for a look that begins after this call: what others in this process saw may be 10 s old, and a client
        may have seen more at another replica."""
        self.hint()
        await self._seen(self._begun + 1)

    async def other_than(self, version: str | None) -> None:
        """Wait until the file has another version."""
        while self.version == version:
            await self._news.wait()

    def differs(self, version: str) -> Coroutine[Any, Any, None]:
        """Wait until the file has another version than the one that a client saw, now or later. The look that counts
        begins after this call, and not after the task that waits for it: that task would wait EACH for another look."""
        self.hint()
        return self._differs(version, self._begun + 1)

    async def _differs(self, version: str, look: int) -> None:
        await self._seen(look)
        await self.other_than(version)

    async def _seen(self, look: int) -> None:
        while self._begun < look or self._looking:
            await self._news.wait()

    async def end(self) -> None:
        self._task.cancel()
        await asyncio.wait([self._task])

    async def _follow(self) -> None:
        await self._listening.settled()
        while True:
            self._hint.clear()
            self._begun += 1
            self._looking = True
            try:
                self._take(await self._look(self._file))
            except Exception as error:  # every watcher raises it
                self.seen = error
            self._looking = False
            self._news.set()
            self._news = asyncio.Event()
            await asyncio.sleep(EACH)
            with suppress(TimeoutError):
                async with asyncio.timeout(FRESH - EACH):
                    await self._hint.wait()

    def _take(self, found: FileState) -> None:
        """Show a state, unless it is older than the one that is shown: of one upload bytes are only added."""
        shown = self.seen
        if isinstance(shown, FileState) and shown.session == found.session and _far(shown) > _far(found):
            return
        self.seen = found


def _far(state: FileState) -> tuple[bool, int]:
    return state.state == "complete", state.offset


class Watching:
    """The files that are watched in this process. Costs nothing while there are none."""

    def __init__(self, look: LookAt, bus: EventBus) -> None:
        self._look = look
        self._files: dict[FileId, Watched] = {}
        self._listening = bus.listen(self._hear)

    @asynccontextmanager
    async def of(self, file: FileId) -> AsyncIterator[Watched]:
        """Watch a file for as long as the block lasts."""
        watched = self._files.get(file)
        if watched is None:
            self._listening.watch(file.owner)
            watched = self._files[file] = Watched(file, self._look, self._listening)
        watched.watchers += 1
        try:
            yield watched
        finally:
            watched.watchers -= 1
            if not watched.watchers:
                del self._files[file]
                self._listening.unwatch(file.owner)
                await watched.end()

    def _hear(self, event: Event) -> None:
        if watched := self._files.get(event.data.file):
            watched.hint()
