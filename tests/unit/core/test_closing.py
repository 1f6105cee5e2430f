"""Cancelling ends an upload or a file completely; every closing keeps the others out while it works."""

import asyncio

import pytest

from libs.common.layout import FileId, closing_fact, fact_key
from libs.common.look import SETTLE
from libs.common.problems import Kind
from libs.common.store import LEASE
from tests.unit.core.uploads import (
    DATA,
    TOTAL,
    Upload,
    finish_upload,
    runs,
    upload_all,
    upload_gap,
    upload_wrong,
)
from tests.unit.core.world import FILE, Node, World, refused

OTHER = FileId("device-1", "log.bin2")


class TestCancel:
    @pytest.mark.parametrize("upload", [upload_gap, upload_all, upload_wrong, finish_upload])
    async def test_nothing_of_the_file_is_left_and_everything_else_is(
        self, world: World, node: Node, upload: Upload
    ) -> None:
        await node.send(0, b"abcd", 4, file=OTHER)
        await node.work(OTHER)
        before = await world.keys()
        await upload(world)
        await node.cancel()
        await node.work()
        assert await world.keys() == before
        assert world.open_uploads() == []
        await refused(Kind.NOT_FOUND, node.reader.state(FILE))

    async def test_a_partial_file_and_rejected_bytes_go_too(self, world: World, node: Node) -> None:
        await upload_wrong(world)
        await node.work()
        await upload_gap(world)
        await node.park()
        await node.cancel()
        await node.work()
        assert await world.keys() == []

    async def test_until_the_assembler_has_done_it_the_file_is_gone_and_the_name_taken(
        self, world: World, node: Node
    ) -> None:
        await finish_upload(world)
        await node.cancel()
        await refused(Kind.NOT_FOUND, node.reader.state(FILE))
        await refused(Kind.CLOSING, node.send(0, b"abcd", 4))
        await node.work()
        assert (await node.send(0, b"abcd", 4)).offset == 4

    async def test_what_is_not_there_cannot_be_cancelled_and_twice_is_like_once(self, world: World, node: Node) -> None:
        await refused(Kind.NOT_FOUND, node.cancel())
        await upload_gap(world)
        await node.cancel()
        before = await world.keys()
        await node.cancel()
        assert await world.keys() == before
        await node.work()
        await refused(Kind.NOT_FOUND, node.cancel())

    async def test_a_cancel_too_slow_for_its_look_looks_again(self, world: World, node: Node) -> None:
        """Else it could hit the next upload of this name."""
        await upload_gap(world)

        async def dawdle() -> None:
            await asyncio.sleep(LEASE + 0.05)

        node.hooks.on("put", "closing/cancel", dawdle)
        await node.cancel()
        assert node.hooks.count("put", "closing/cancel") == 2
        await node.work()
        assert await world.keys() == []


class TestOrder:
    async def test_a_closer_waits_until_nobody_acts_on_a_look_from_before(self, world: World, node: Node) -> None:
        await upload_gap(world)
        await node.cancel()
        started, before = world.clock.now, len(node.hooks.calls)
        first: list[float] = []

        async def note() -> None:
            first.append(world.clock.now)

        node.hooks.on("delete_many", "chunks/", note)
        await node.closer.close(FILE)
        assert first[0] >= started + SETTLE
        assert len(node.hooks.calls) > before

    async def test_markers_stay_until_no_fenced_write_of_another_closer_takes_effect(
        self, world: World, node: Node
    ) -> None:
        await upload_gap(world)
        await node.cancel()
        times: list[float] = []

        async def note() -> None:
            times.append(world.clock.now)

        node.hooks.on("put", "closed/", note)
        node.hooks.on("delete_many", "closing/", note)
        await node.closer.close(FILE)
        assert times[1] >= times[0] + SETTLE

    async def test_twins_are_closed_together(self, world: World, node: Node) -> None:
        first = (await node.send(0, DATA[:4], TOTAL)).session
        await world.temp.put(fact_key(FILE, f"{TOTAL}-twin", "open"), b"{}")
        await world.store_chunk(f"{TOTAL}-twin", 4, DATA[4:8])
        await world.temp.put(fact_key(FILE, first, closing_fact("park")), b"")
        await node.closer.close(FILE)
        assert await runs(world) == [(0, 8)]
        assert await world.left() == []

    @pytest.mark.parametrize("part", ["partials/", "chunks/", "closed/park", "sessions/"])
    @pytest.mark.parametrize("method", ["put", "list", "delete_many"])
    async def test_a_cancel_that_comes_while_an_upload_is_parked_wins(
        self, world: World, node: Node, method: str, part: str
    ) -> None:
        await upload_gap(world)

        async def cancel() -> None:
            await world.node().cancel()

        node.hooks.on(method, part, cancel)
        await node.closer.park(FILE, -1e9)
        if any("cancel" in key for key in await world.left()):  # it came after the last look of the closer
            await world.node().work()
        await world.node().work()
        if node.hooks.count(method, part):
            assert await world.keys() == []

    async def test_markers_of_a_later_cancel_are_not_removed(self, world: World, node: Node) -> None:
        await upload_gap(world)

        async def cancel() -> None:
            await world.node().cancel()

        node.hooks.on("delete_many", "closing/park", cancel)
        await node.closer.park(FILE, -1e9)
        await refused(Kind.NOT_FOUND, node.reader.state(FILE))
        await node.work()
        assert await world.keys() == []
