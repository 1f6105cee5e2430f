"""What watchers of a file are promised, and how many looks that costs."""

import asyncio
import random
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack

import pytest

from libs.common.bus.events import Event, SessionData, SessionStalled
from libs.common.bus.memory import MemoryBus
from libs.common.files.extents import Extent, Extents
from libs.common.problems import Kind, Problem
from libs.common.storage import StoreUnavailable
from libs.common.uploads.layout import FileId
from libs.common.uploads.states import FileState
from services.ingest.watching import NOTHING, Watched, Watching
from tests.unit.virtual_time import run_in_virtual_time

FILE = FileId("car-7", "log.bin")
SIZE = 10_000


def state(offset: int, session: str = "s") -> FileState:
    durable = Extents([Extent(0, offset)] if offset else [])
    return FileState(FILE, "pending", SIZE, durable, 0, session, f"{session}-{offset}")


class World:
    """The file as it is, and how often somebody looked."""

    def __init__(self) -> None:
        self.now: FileState | Exception = state(0)
        self.looks = 0
        self.bus = MemoryBus()
        self.watching = Watching(self.look, self.bus)

    async def look(self, file: FileId) -> FileState:
        self.looks += 1
        assert file == FILE
        now = self.now
        await asyncio.sleep(0.01)
        if isinstance(now, Exception):
            raise now
        return now

    def change(self, offset: int, *, heard: bool) -> None:
        self.now = state(offset)
        if heard:
            self.tell()

    def tell(self) -> None:
        data = SessionData(owner=FILE.owner, filename=FILE.filename, session="s")
        self.bus.publish(SessionStalled(source="/hiper/test", subject="car-7/log.bin", data=data))


def seconds() -> float:
    return asyncio.get_running_loop().time()


def virtual(test: Callable[[World], Awaitable[None]]) -> Callable[[], None]:
    async def main() -> None:
        await test(World())

    def run() -> None:
        run_in_virtual_time(main())

    run.__name__, run.__doc__ = test.__name__, test.__doc__
    return run


@virtual
async def test_a_thousand_watchers_without_a_change_cost_one_look_in_ten_seconds(world: World) -> None:
    async with AsyncExitStack() as stack:
        watched = [await stack.enter_async_context(world.watching.of(FILE)) for _ in range(1000)]
        await asyncio.gather(*(one.present() for one in watched))
        await asyncio.sleep(100)
    assert world.looks <= 2 + 100 / 10


@virtual
async def test_events_cause_one_look_a_second_however_many_come(world: World) -> None:
    async with world.watching.of(FILE) as watched:
        await watched.present()
        world.looks = 0
        for _ in range(1000):
            world.tell()
            await asyncio.sleep(0.01)
    assert 8 <= world.looks <= 11


@virtual
async def test_a_change_that_is_heard_is_seen_within_about_a_second(world: World) -> None:
    async with world.watching.of(FILE) as watched:
        await watched.present()
        await asyncio.sleep(5)
        began = seconds()
        world.change(7, heard=True)
        await watched.other_than("s-0")
        assert seconds() - began < 0.1, "at once, after a quiet second"
        world.change(8, heard=True)
        await watched.other_than("s-7")
        assert seconds() - began < 1.2


@virtual
async def test_a_change_that_nobody_heard_of_is_seen_within_ten_seconds(world: World) -> None:
    async with world.watching.of(FILE) as watched:
        await watched.present()
        for offset in range(1, 20):
            began = seconds()
            world.change(offset, heard=False)
            await watched.other_than(f"s-{offset - 1}")
            assert seconds() - began < 10.1


@virtual
async def test_nothing_runs_and_nobody_is_listened_to_without_a_watcher(world: World) -> None:
    tasks = asyncio.all_tasks()
    world.tell()
    async with world.watching.of(FILE) as one, world.watching.of(FILE) as other:
        assert one is other
        assert len(asyncio.all_tasks() - tasks) == 1
        await one.present()
    assert asyncio.all_tasks() == tasks
    looks = world.looks
    world.tell()
    await asyncio.sleep(60)
    assert world.looks == looks


@virtual
async def test_who_joins_sees_no_state_from_before(world: World) -> None:
    async with world.watching.of(FILE) as first:
        await first.present()
        await asyncio.sleep(5)
        world.change(9, heard=False)
        async with world.watching.of(FILE) as joined:
            await joined.present()
            assert joined.state().offset == 9


@virtual
async def test_an_offset_of_one_session_never_goes_back(world: World) -> None:
    async with world.watching.of(FILE) as watched:
        world.now = state(500)
        await watched.present()
        world.change(400, heard=True)
        await asyncio.sleep(20)
        assert watched.state().offset == 500
        world.now = state(3, "another")
        await asyncio.sleep(11)
        assert watched.state().offset == 3, "another upload begins anew"


@virtual
async def test_what_a_look_raises_is_shown_and_looked_at_again(world: World) -> None:
    async with world.watching.of(FILE) as watched:
        for error, version in [
            (Problem(Kind.NOT_FOUND, "gone"), NOTHING),
            (Problem(Kind.REJECTED, "wrong"), None),
            (StoreUnavailable("away"), None),
            (RuntimeError("a bug"), None),
        ]:
            world.now = error
            await watched.present()
            assert watched.version == version
            with pytest.raises(type(error)):
                watched.state()
        world.now = state(5)
        await watched.differs(NOTHING)
        assert watched.state().offset == 5


@pytest.mark.parametrize("seed", range(20))
def test_whatever_events_are_lost_a_watcher_sees_a_state_at_most_ten_seconds_old(seed: int) -> None:
    chance = random.Random(seed)

    async def main() -> None:
        world = World()
        history: list[tuple[float, int]] = [(seconds(), 0)]

        async def device() -> None:
            for offset in range(1, 200):
                await asyncio.sleep(chance.choice([0.001, 0.3, 2, 15]) * chance.random())
                if chance.random() < 0.1:
                    world.now = StoreUnavailable("away")
                    await asyncio.sleep(chance.random() * 3)
                world.change(offset, heard=chance.random() < 0.3)
                history.append((seconds(), offset))

        async def watcher() -> None:
            await asyncio.sleep(chance.random() * 50)
            async with world.watching.of(FILE) as watched:
                await watched.present()
                before = 0
                for _ in range(chance.randrange(50)):
                    check(watched, before)
                    before = watched.seen.offset if isinstance(watched.seen, FileState) else before
                    await asyncio.sleep(chance.random() * 5)

        def check(watched: Watched, before: int) -> None:
            if isinstance(watched.seen, FileState):
                old = max(offset for at, offset in history if at <= max(0.0, seconds() - 10.1))
                assert watched.seen.offset >= old, "it is older than ten seconds"
                assert watched.seen.offset >= before, "it went back"

        await asyncio.gather(device(), *(watcher() for _ in range(10)))

    run_in_virtual_time(main())


def test_the_event_of_another_file_causes_no_look() -> None:
    async def main() -> None:
        world = World()
        async with world.watching.of(FILE) as watched:
            await watched.present()
            await asyncio.sleep(2)
            looks = world.looks
            other: Event = SessionStalled(
                source="/hiper/test",
                subject="car-7/x",
                data=SessionData(owner=FILE.owner, filename="x", session="s"),
            )
            world.bus.publish(other)
            await asyncio.sleep(2)
            assert world.looks == looks

    run_in_virtual_time(main())
