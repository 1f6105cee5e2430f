"""Whoever dies, comes second or slept: the file is the same, and an old one never comes back."""

import asyncio
import hashlib
import random
from pathlib import Path

import pytest

from libs.common.events import FileCompleted
from libs.common.layout import fact_key, file_key
from libs.common.store import LEASE, FenceExpired, ObjectNotFound, StoreUnavailable
from services.assembler.assembly import Superseded
from tests.unit.core.crashes import after_each_crash
from tests.unit.core.world import FILE, Node, World, content

TOTAL = 20
DATA = content(TOTAL)
DIGEST = hashlib.sha256(DATA).hexdigest()


class TestDying:
    @pytest.mark.parametrize("data", [DATA, DATA[:8], DATA[:5], b""], ids=["parts", "one part", "one chunk", "empty"])
    @pytest.mark.parametrize("declared", [False, True])
    async def test_whoever_dies_at_any_step_another_ends_with_the_same_file(
        self, tmp_path: Path, data: bytes, declared: bool
    ) -> None:
        digest = hashlib.sha256(data).hexdigest() if declared else ""

        async def upload(world: World) -> None:
            await world.node().send_all(data, 7, declared=digest)

        crashes = 0
        async for world in after_each_crash(tmp_path, upload, lambda dying: dying.advancer.advance(FILE)):
            crashes += 1
            await world.node().work()
            assert await world.final() == data
            assert await world.left() == []
            assert (await world.node().reader.state(FILE)).sha256 == digest
            assert {told.id for told in world.told(FileCompleted)} <= {(await world.node().reader.state(FILE)).tag}
        assert crashes >= 5

    @pytest.mark.parametrize("declared", [False, True])
    async def test_whoever_dies_after_an_event_told_of_a_small_file_another_ends_with_it(
        self, tmp_path: Path, declared: bool
    ) -> None:
        data, session = DATA[:5], ""

        async def upload(world: World) -> None:
            nonlocal session
            digest = hashlib.sha256(data).hexdigest() if declared else ""
            session = (await world.node().send(0, data, len(data), declared=digest)).session

        async for world in after_each_crash(
            tmp_path, upload, lambda dying: dying.advancer.advance(FILE, None, session)
        ):
            await world.node().work()
            assert (await world.final(), await world.left()) == (data, [])

    async def test_completion_is_told_by_whoever_cleans_up(self, tmp_path: Path) -> None:
        async def upload(world: World) -> None:
            await world.node().send_all(DATA)

        async for world in after_each_crash(tmp_path, upload, lambda dying: dying.advancer.advance(FILE)):
            await world.node().work()
            assert world.told(FileCompleted)


class TestTwoAtOnce:
    @pytest.mark.parametrize("data", [DATA, DATA[:5]], ids=["parts", "one part"])
    @pytest.mark.parametrize("seed", range(4))
    async def test_two_assemblers_end_with_the_same_file(
        self, world: World, node: Node, data: bytes, seed: int
    ) -> None:
        await node.send_all(data)
        both = [world.node(), world.node()]
        for each in both:
            each.hooks.jitter(random.Random(seed), 0.004)
        await asyncio.gather(*(each.work() for each in both))
        assert await world.final() == data
        assert await world.left() == []
        assert world.open_uploads() == []

    @pytest.mark.parametrize("method", ["list", "list_parts", "get", "put_part", "complete_multipart", "delete_many"])
    async def test_an_assembler_that_is_overtaken_gives_up_or_changes_nothing(
        self, world: World, node: Node, method: str
    ) -> None:
        await node.send(0, DATA[:8], TOTAL)
        await node.advancer.advance(FILE)
        await node.send_all(DATA)
        slow = world.node()
        gate = slow.hooks.hold(method)
        working = asyncio.create_task(slow.work())
        await gate.reached.wait()
        await node.work()
        gate.opened.set()
        await working
        assert await world.final() == DATA
        assert await world.left() == []


class TestFences:
    """What a name is used for again is only changed within a lease after a look that showed the right to it."""

    @pytest.mark.parametrize(
        ("data", "method"),
        [(DATA, "complete_multipart"), (DATA[:7], "complete_multipart"), (DATA[:4], "put"), (b"", "put")],
        ids=["parts", "one part", "one chunk", "empty"],
    )
    async def test_an_assembler_that_slept_brings_no_old_file_back(
        self, world: World, node: Node, data: bytes, method: str
    ) -> None:
        await node.send_all(data)
        slow = world.node()
        gate = slow.hooks.hold(method, file_key(FILE))
        working = asyncio.create_task(slow.advancer.advance(FILE))
        await gate.reached.wait()
        await self.forget_recorded_uploads(world)
        await node.cancel()
        await node.work()
        new = content(TOTAL, seed=1)
        await node.send_all(new)
        await node.work()
        await asyncio.sleep(LEASE + 0.1)
        gate.opened.set()
        with pytest.raises((FenceExpired, ObjectNotFound)):  # or the chunk that was to be copied is gone
            await working
        assert await world.final() == new

    async def forget_recorded_uploads(self, world: World) -> None:
        """As if the record of the upload were not durable yet when the session was closed."""
        for key in await world.left():
            if "/assembly/" in key:
                await world.temp.delete_many([key])

    async def test_an_assembler_that_slept_deletes_no_partial_file_of_a_later_upload(
        self, world: World, node: Node
    ) -> None:
        await node.send(0, DATA[:9], TOTAL)
        await node.park()
        await node.send(9, DATA[9:], TOTAL)
        slow = world.node()
        gate = slow.hooks.hold("delete_many", "partials/")
        working = asyncio.create_task(slow.advancer.advance(FILE))
        await gate.reached.wait()
        await asyncio.sleep(LEASE + 0.1)
        gate.opened.set()
        with pytest.raises(FenceExpired):
            await working
        assert any(key.startswith("partials/") for key in await world.keys())
        await node.work()
        assert not any(key.startswith("partials/") for key in await world.keys())

    async def test_a_cancel_that_comes_before_the_object_is_made_prevents_it(self, world: World, node: Node) -> None:
        await node.send_all(DATA)
        gate = node.hooks.hold("put_part")
        working = asyncio.create_task(node.advancer.advance(FILE))
        await gate.reached.wait()
        await world.node().cancel()
        gate.opened.set()
        with pytest.raises(Superseded):
            await working
        with pytest.raises(ObjectNotFound):
            await world.final()

    async def test_facts_of_a_dead_session_may_vanish_meanwhile(self, world: World, node: Node) -> None:
        await world.temp.put(fact_key(FILE, f"{TOTAL}-dead", "writer/x"), b"")
        await node.send_all(DATA)

        async def vanish() -> None:
            await world.temp.delete_many([fact_key(FILE, f"{TOTAL}-dead", "writer/x")])

        node.hooks.on("complete_multipart", "", vanish)
        await node.advancer.advance(FILE)
        assert await world.left() == []


async def test_a_store_that_is_away_is_told_so(node: Node) -> None:
    await node.send_all(DATA)
    node.hooks.fail("put_part")
    with pytest.raises(StoreUnavailable):
        await node.advancer.advance(FILE)
