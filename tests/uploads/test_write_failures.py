"""What fails or comes late is never acknowledged, and never changes what was."""

import asyncio

import pytest

from libs.common.problems import Kind
from libs.common.storage import LEASE, StoreUnavailable
from tests.uploads.hooked_store import When
from tests.uploads.world import Node, World, refused

TOTAL = 20


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
    async def test_an_upload_that_ends_while_a_chunk_is_stored_longer_than_a_lease_takes_nothing(
        self, world: World, node: Node
    ) -> None:
        await node.send(0, b"abcd", TOTAL)
        gate = node.hooks.hold("put", "chunks/")
        sending = asyncio.create_task(node.send(4, b"efgh", TOTAL))
        await gate.reached.wait()
        await world.node().cancel()
        gate.opened.set()
        await refused(Kind.CLOSING, sending)
        assert (await world.record()).state == "closed"

    async def test_a_request_whose_own_upload_ended_does_not_open_another(self, world: World, node: Node) -> None:
        """It may be late: a device that cancelled must not find its upload open again."""
        gate = node.hooks.hold("put", "chunks/")
        sending = asyncio.create_task(node.send(0, b"abcd", TOTAL))
        await gate.reached.wait()
        await world.node().cancel()
        gate.opened.set()
        await refused(Kind.CLOSING, sending)
        assert (await world.record()).state == "closed"

    async def test_a_store_too_slow_to_answer_within_a_lease_gets_nothing_acknowledged(
        self, world: World, node: Node
    ) -> None:
        await node.send(0, b"abcd", TOTAL)
        slow = world.node()

        async def wait() -> None:
            world.clock.now += LEASE + 0.1

        slow.hooks.on("fetch", "=record", wait, when="after", times=99)
        with pytest.raises(StoreUnavailable):
            await slow.send(4, b"efgh", TOTAL)
