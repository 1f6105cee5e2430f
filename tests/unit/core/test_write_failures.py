"""What fails or comes late is never acknowledged, and never changes what was."""

import asyncio
import hashlib

import pytest

from libs.common.layout import REASONS, Reason, closing_fact, fact_key, file_key
from libs.common.look import SETTLE
from libs.common.problems import Kind
from libs.common.store import LEASE, StoreUnavailable
from tests.unit.core.crashes import crash
from tests.unit.core.hooked_store import Crash, Gate, When
from tests.unit.core.world import FILE, Node, World, content, refused

TOTAL = 20


async def mark(world: World, reason: Reason) -> None:
    """Write a closing marker into every session."""
    for session in (await world.look()).sessions:
        await world.temp.put(fact_key(FILE, session, closing_fact(reason)), b"")


class TestPutsThatFail:
    @pytest.mark.parametrize("when", ["before", "after"])
    async def test_a_chunk_whose_put_failed_is_not_acknowledged_and_can_be_sent_again(
        self, node: Node, when: When
    ) -> None:
        await node.send(0, b"abcd", TOTAL)
        node.hooks.fail("put", "chunks/", when=when)
        with pytest.raises(StoreUnavailable):
            await node.send(4, b"efgh", TOTAL)
        assert (await node.send(4, b"efgh", TOTAL)).offset == 8

    async def test_other_bytes_after_a_put_that_failed_without_effect_are_taken(self, node: Node) -> None:
        await node.send(0, b"abcd", TOTAL)
        node.hooks.fail("put", "chunks/")
        with pytest.raises(StoreUnavailable):
            await node.send(4, b"efgh", TOTAL)
        assert (await node.send(4, b"EFGH", TOTAL)).offset == 8

    async def test_other_bytes_after_a_put_that_failed_with_effect_are_refused(self, node: Node) -> None:
        await node.send(0, b"abcd", TOTAL)
        node.hooks.fail("put", "chunks/", when="after")
        with pytest.raises(StoreUnavailable):
            await node.send(4, b"efgh", TOTAL)
        await refused(Kind.CONTENT_CONFLICT, node.send(4, b"EFGH", TOTAL))

    @pytest.mark.parametrize("remembered", [True, False])
    async def test_a_put_that_takes_effect_late_does_not_change_what_was_acknowledged(
        self, world: World, remembered: bool
    ) -> None:
        """The replica stores every chunk of the upload itself, and still must list from then on: also when it forgot
        the file since."""
        node = world.node(limit=1 if remembered else 0)
        await node.send(0, b"abcd", TOTAL)
        node.hooks.fail("put", "chunks/")
        with pytest.raises(StoreUnavailable):
            await node.send(4, b"efgh", TOTAL)
        late = (await world.look()).open[0].id

        async def take_effect() -> None:
            await world.store_chunk(late, 4, b"efgh")

        node.hooks.on("put", "chunks/", take_effect)
        await refused(Kind.CONTENT_CONFLICT, node.send(4, b"EFGH", TOTAL))

    async def test_a_digest_whose_declaration_failed_is_declared_by_the_chunk_beside_it(
        self, world: World, node: Node
    ) -> None:
        """Seed 249: the other chunk relied on it, and was acknowledged."""
        await node.send(0, b"abcd", TOTAL)
        digest = hashlib.sha256(b"whatever").hexdigest()
        gate = Gate()

        async def fail_late() -> None:
            await gate.pass_through()
            raise StoreUnavailable

        node.hooks.on("put", "digest/", fail_late)
        failing = asyncio.create_task(node.send(4, b"efgh", TOTAL, declared=digest))
        await gate.reached.wait()
        beside = asyncio.create_task(node.send(8, b"ijkl", TOTAL, declared=digest))
        await asyncio.sleep(0.02)
        gate.opened.set()
        with pytest.raises(StoreUnavailable):
            await failing
        await beside
        assert (await world.look()).digests == {digest}

    async def test_a_chunk_that_fails_in_one_part_is_not_left_on_its_way_in_another(self, node: Node) -> None:
        await node.send(0, b"abcd", TOTAL)
        node.hooks.fail("put", "/00000/")
        gate = node.hooks.hold("put", "/00001/")
        sending = asyncio.create_task(node.send(4, b"efghijkl", TOTAL))
        await gate.reached.wait()
        other = asyncio.create_task(node.send(8, b"IJKL", TOTAL))
        await asyncio.sleep(0.02)
        assert not sending.done()
        assert not other.done()
        gate.opened.set()
        with pytest.raises(StoreUnavailable):
            await sending
        await refused(Kind.CONTENT_CONFLICT, other)

    async def test_a_request_that_is_cancelled_counts_as_one_that_failed(self, node: Node) -> None:
        await node.send(0, b"abcd", TOTAL)
        gate = node.hooks.hold("put", "chunks/", when="after")
        sending = asyncio.create_task(node.send(4, b"efgh", TOTAL))
        await gate.reached.wait()
        sending.cancel()
        with pytest.raises(asyncio.CancelledError):
            await sending
        await refused(Kind.CONTENT_CONFLICT, node.send(4, b"EFGH", TOTAL))


class TestLease:
    async def test_a_closing_that_begins_while_a_chunk_is_stored_longer_than_the_lease_prevents_its_acknowledgement(
        self, world: World, node: Node
    ) -> None:
        for reason in REASONS:
            await node.send(0, b"abcd", TOTAL)
            gate = node.hooks.hold("put", "chunks/")
            sending = asyncio.create_task(node.send(4, b"efgh", TOTAL))
            await gate.reached.wait()
            await mark(world, reason)
            world.clock.now += LEASE
            gate.opened.set()
            await refused(Kind.CLOSING, sending)
            await node.cancel()
            await node.work()

    async def test_within_the_lease_it_is_acknowledged_for_a_closer_waits_that_long(
        self, world: World, node: Node
    ) -> None:
        await node.send(0, b"abcd", TOTAL)
        gate = node.hooks.hold("put", "chunks/")
        sending = asyncio.create_task(node.send(4, b"efgh", TOTAL))
        await gate.reached.wait()
        await mark(world, "park")
        world.clock.now += LEASE - 0.01
        gate.opened.set()
        assert (await sending).offset == 8
        assert SETTLE > LEASE
        await node.work()
        assert (await node.reader.state(FILE)).offset == 8

    @pytest.mark.parametrize("reason", REASONS)
    async def test_no_chunk_is_taken_and_no_session_opened_while_one_is_closing(
        self, world: World, node: Node, reason: Reason
    ) -> None:
        await node.send(0, b"abcd", TOTAL)
        await mark(world, reason)
        before = await world.keys()
        for each in (world.node(), node):
            world.clock.now += LEASE
            await refused(Kind.CLOSING, each.send(4, b"efgh", TOTAL))
        assert await world.keys() == before

    async def test_a_session_that_is_opened_too_late_takes_nothing(self, world: World, node: Node) -> None:
        gate = node.hooks.hold("put", "/open")
        sending = asyncio.create_task(node.send(0, b"abcd", TOTAL))
        await gate.reached.wait()
        other = world.node()
        await other.send(0, b"abcd", TOTAL)
        await other.cancel()
        gate.opened.set()
        await refused(Kind.CLOSING, sending)
        await other.work()
        assert [key for key in await world.left() if "/closing/" in key or "/closed/" in key] == []

    async def test_who_joins_an_upload_that_ends_meanwhile_is_told_to_try_again(self, world: World, node: Node) -> None:
        await node.send(0, b"abcd", TOTAL)
        other = world.node()
        gate = other.hooks.hold("put", "/writer/")
        joining = asyncio.create_task(other.send(4, b"efgh", TOTAL))
        await gate.reached.wait()
        await node.cancel()
        await node.work()
        gate.opened.set()
        await refused(Kind.CLOSING, joining)

    async def test_a_request_whose_upload_ended_does_not_open_another(self, world: World, node: Node) -> None:
        """It may be late: a device that cancelled must not find its upload open again."""

        async def vanish() -> None:
            await world.temp.delete_many(await world.left())
            world.clock.now += LEASE

        node.hooks.on("put", "chunks/", vanish, when="after", times=99)
        await refused(Kind.CLOSING, node.send(0, b"abcd", TOTAL))
        assert node.hooks.count("put", "/open") == 1

    async def test_a_store_too_slow_to_list_within_a_lease_gets_nothing_acknowledged(
        self, world: World, node: Node
    ) -> None:
        await node.send(0, b"abcd", TOTAL)
        await world.node().send(4, b"efgh", TOTAL)

        async def dawdle() -> None:
            world.clock.now += LEASE

        node.hooks.on("list", "/00001/", dawdle, times=99)
        with pytest.raises(StoreUnavailable):
            await node.send(8, b"ijkl", TOTAL)


class TestCompletionMeanwhile:
    async def test_after_completion_the_same_bytes_are_fine_and_others_are_not(self, world: World, node: Node) -> None:
        data = content(TOTAL)
        await node.send_all(data)
        await node.work()
        session = (await world.perm.stat(file_key(FILE))).metadata["session"]
        ack = await node.send(4, data[4:12], TOTAL)
        assert (ack.offset, ack.session, ack.complete) == (TOTAL, session, True)
        assert (await world.node().send(16, data[16:], TOTAL)).complete
        await refused(Kind.CONTENT_CONFLICT, node.send(4, b"EFGH", TOTAL))
        await refused(Kind.TOTAL_SIZE_CONFLICT, node.send(4, data[4:8], TOTAL + 1))
        assert await world.left() == []

    @pytest.mark.parametrize("alone", [True, False])
    async def test_a_warm_view_does_not_outlive_the_chunks(self, world: World, node: Node, alone: bool) -> None:
        """The chunks are deleted, the session is still open, and the views are within their lease."""
        data, other = content(TOTAL), world.node()
        await node.send(0, data[:4], TOTAL)
        if not alone:
            await other.send(4, data[4:8], TOTAL)
        await node.send(4, data[4:8], TOTAL)  # the view shows the other, but not what it sends next
        await (node if alone else other).send(8, data[8:], TOTAL)
        assembler = world.node()
        assembler.hooks.on("delete_many", "chunks/", crash, when="after")
        with pytest.raises(Crash):
            await assembler.work()
        assert (await world.look()).open
        assert not [key for key in await world.left() if key.startswith("chunks/")]
        await refused(Kind.CONTENT_CONFLICT, node.send(8, b"\0" * 12, TOTAL))
        assert (await node.send(8, data[8:], TOTAL)).complete

    async def test_a_cold_view_shows_a_file_that_was_completed_while_its_chunks_were_listed(self, world: World) -> None:
        node = world.node(limit=0)
        await node.send_all(content(TOTAL))
        node.hooks.on("list", "chunks/", world.node().work)
        await refused(Kind.CONTENT_CONFLICT, node.send(4, b"EFGH", TOTAL))

    async def test_a_file_deleted_while_a_chunk_is_compared_with_it_makes_room_for_a_new_upload(
        self, world: World, node: Node
    ) -> None:
        await node.send_all(content(TOTAL))
        await node.work()

        async def delete() -> None:
            await world.perm.delete_many([file_key(FILE)])

        node.hooks.on("get", file_key(FILE), delete)
        assert (await node.send(0, b"abcd", TOTAL)).offset == 4
