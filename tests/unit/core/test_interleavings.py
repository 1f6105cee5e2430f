"""Meetings that random histories do not arrange, found by reading: each broke a promise once."""

import asyncio
from contextlib import suppress

import pytest

from libs.common.allowance import Allowance
from libs.common.events import FileRejected
from libs.common.extents import Extent
from libs.common.layout import (
    assembly_fact,
    chunks_prefix,
    closed_fact,
    closing_fact,
    fact_key,
    new_session,
    part_prefix,
    rejected_prefix,
    run_key,
)
from libs.common.look import look
from libs.common.problems import Kind
from libs.common.store import list_all, read
from libs.common.uploads.payload import Payload
from libs.common.uploads.pins import Pin
from services.ingest.listing import FileLister
from services.ingest.quota import Quotas
from services.ingest.writing import Chunk
from tests.unit.core.crashes import crash
from tests.unit.core.hooked_store import Crash
from tests.unit.core.uploads import DATA, OTHER, TOTAL, WRONG, upload_gap
from tests.unit.core.world import FILE, PART, Node, World, refused


async def permanent(world: World) -> list[str]:
    """Where in the permanent bucket something is: `files`, `partials`, ..."""
    return [info.key.partition("/")[0] for info in await list_all(world.perm, "")]


class TestClosers:
    async def test_a_rejection_that_comes_when_the_bytes_were_parked_deletes_nothing(
        self, world: World, node: Node
    ) -> None:
        """One closer saw the late chunk and a wrong digest, the other one merged without it and died."""
        session = (await node.send(4, DATA[4:], TOTAL, declared=WRONG)).session
        chunks = node.hooks.hold("delete_many", "chunks/")
        parking = asyncio.create_task(node.park())
        await chunks.reached.wait()
        await world.store_chunk(session, 0, DATA[:4])
        other = world.node()
        marker = other.hooks.hold("put", "closing/reject")
        rejecting = asyncio.create_task(other.closer.close(FILE))
        await marker.reached.wait()
        node.hooks.on("delete_many", "closing/park", crash)
        chunks.opened.set()
        with suppress(Crash):
            await parking
        marker.opened.set()
        await rejecting
        await world.node().work()
        assert await permanent(world) == ["partials"]

    async def test_a_late_fact_of_a_session_that_ended_does_not_cancel_the_next_upload(
        self, world: World, node: Node
    ) -> None:
        """A closer that saw it, and the markers, must not mark what is no upload any more."""
        await upload_gap(world)
        await node.cancel()
        removal = node.hooks.hold("delete_many", "closing/cancel")
        closing = asyncio.create_task(node.closer.close(FILE))
        await removal.reached.wait()
        await world.temp.put(fact_key(FILE, new_session(TOTAL), assembly_fact("u")), b"")
        other = world.node()
        other.hooks.on("put", "closing/cancel", crash)
        await asyncio.gather(other.closer.close(FILE), _open(removal.opened), closing)
        assert (await world.node().send(0, DATA[:4], TOTAL)).offset == 4

    async def test_a_delete_is_not_forgotten_with_a_session_that_ended(self, world: World, node: Node) -> None:
        """A closer of the cancelled upload before sleeps before it removes its markers; a fact came late."""
        session = (await node.send(0, DATA[:4], TOTAL)).session
        await node.cancel()
        removal = node.hooks.hold("delete_many", "closing/cancel")
        closing = asyncio.create_task(node.closer.close(FILE))
        await removal.reached.wait()
        other = world.node()
        await other.closer.close(FILE)
        await other.send_all(DATA)
        await other.work()
        await world.temp.put(fact_key(FILE, session, assembly_fact("u")), b"")
        await other.cancel()
        removal.opened.set()
        await closing
        await other.work()
        assert await permanent(world) == []

    async def test_only_what_is_open_is_parked(self, world: World, node: Node) -> None:
        """The session that ended, of which a fact came late, has nothing to keep."""
        await node.send(0, DATA[:4], TOTAL)
        ended = new_session(TOTAL)
        await world.temp.put(fact_key(FILE, ended, assembly_fact("u")), b"")
        node.hooks.on("put", "closed/", crash)
        with pytest.raises(Crash):
            await node.park()
        facts = (await look(world.temp, FILE, world.clock)).sessions[ended].facts
        assert list(facts) == [assembly_fact("u")]

    @pytest.mark.parametrize("total", [0, TOTAL])
    async def test_of_twins_of_which_one_is_forgotten_first_nothing_is_made(
        self, world: World, node: Node, total: int
    ) -> None:
        """No empty file, and none with a digest that only the other one declared."""
        session = (await node.send(4, DATA[4:], TOTAL, declared=WRONG)).session
        await asyncio.sleep(0.01)
        twin = new_session(total)
        await world.temp.put(fact_key(FILE, twin, "open"), b"")

        async def delete_one() -> None:
            await world.temp.delete_many([fact_key(FILE, session, "open")])
            await world.store_chunk(twin, 0, DATA[:4])
            raise Crash

        node.hooks.on("delete_many", "/open", delete_one)
        with pytest.raises(Crash):
            await node.park()
        await world.node().work()
        assert await permanent(world) == ["partials"]

    async def test_bytes_that_come_when_the_file_is_there_do_not_replace_it(self, world: World, node: Node) -> None:
        session = (await node.send(0, DATA[:PART], PART)).session
        listings: list[int] = []

        async def complete_before_the_last() -> None:
            listings.append(len(listings))
            if len(listings) == 3:  # whether it is stale, what to delete, what to keep
                await _complete(world, session)

        node.hooks.on("list", "chunks/", complete_before_the_last, times=3)
        await node.park()
        await world.node().work()
        assert await world.final() == DATA[:PART]

    async def test_an_empty_file_with_a_wrong_digest_is_rejected(self, world: World, node: Node) -> None:
        await node.send(0, b"", 0, declared=WRONG)
        await node.work()
        assert await world.left() == []
        assert await permanent(world) == ["rejected"]
        await refused(Kind.REJECTED, node.reader.state(FILE))

    async def test_what_is_kept_of_a_rejected_file_is_not_replaced_by_bytes_that_come_late(
        self, world: World, node: Node
    ) -> None:
        session = (await node.send_all(DATA, 4, declared=WRONG)).session

        async def delete_one() -> None:
            infos = await list_all(world.temp, chunks_prefix(FILE, session))
            await world.temp.delete_many([infos[0].key])
            raise Crash

        node.hooks.on("delete_many", "chunks/", delete_one)
        with pytest.raises(Crash):
            await node.work()
        await world.store_chunk(session, 0, OTHER[:4])
        await world.node().work()
        key = run_key(rejected_prefix(FILE, session), Extent(0, TOTAL))
        assert await read(world.perm, key) == DATA
        assert await permanent(world) == ["rejected"]
        assert len(world.told(FileRejected)) == 2

    @pytest.mark.parametrize("fact", ["writer/12345678", "closing/reject"])
    async def test_what_was_kept_of_another_rejected_upload_is_not_taken_for_this_one(
        self, world: World, node: Node, fact: str
    ) -> None:
        """Seed 129177: a fact of the first one came late, so that it was marked together with the second."""
        first = (await node.send_all(OTHER[:PART], declared=WRONG)).session
        await node.work()
        await node.send_all(DATA, declared=WRONG)
        await world.temp.put(fact_key(FILE, first, fact), b"")
        if fact == "closing/reject":
            for session in (await world.look()).open:
                await world.temp.put(fact_key(FILE, session.id, fact), b"")
        await node.work()
        kept = {await read(world.perm, info.key) for info in await list_all(world.perm, "")}
        assert kept == {OTHER[:PART], DATA}
        assert await permanent(world) == ["rejected", "rejected"]

    async def test_what_a_slower_closer_parks_of_a_rejected_file_goes(self, world: World, node: Node) -> None:
        session = (await node.send(4, DATA[4:], TOTAL, declared=WRONG)).session
        await world.temp.put(fact_key(FILE, session, closing_fact("reject")), b"")
        chunks = node.hooks.hold("list", "chunks/")
        closed = node.hooks.hold("put", "closed/reject", when="after")
        rejecting = asyncio.create_task(node.closer.close(FILE))
        await chunks.reached.wait()
        slow = world.node()
        partial = slow.hooks.hold("complete_multipart", "partials/")
        parking = asyncio.create_task(slow.closer.close(FILE))
        await partial.reached.wait()
        await world.store_chunk(session, 0, DATA[:4])
        chunks.opened.set()
        await closed.reached.wait()
        partial.opened.set()
        await asyncio.sleep(0.05)
        closed.opened.set()
        await asyncio.gather(rejecting, parking)
        assert await permanent(world) == ["rejected"]

    async def test_no_marker_comes_back_while_markers_are_removed(self, world: World, node: Node) -> None:
        """A closer died between the `closed` of two twins; another is removing; a third must not mark again."""
        one, two = new_session(TOTAL), new_session(TOTAL)
        for session in (one, two):
            for reason in ("park", "cancel"):
                await world.temp.put(fact_key(FILE, session, closing_fact(reason)), b"")
        await world.temp.put(fact_key(FILE, one, closed_fact("cancel")), b"")
        await world.temp.delete_many([fact_key(FILE, two, closing_fact("cancel"))])
        node.hooks.on("put", "closing/", crash)
        await node.closer.close(FILE)
        assert await world.keys() == []


async def _open(event: asyncio.Event) -> None:
    await asyncio.sleep(0.2)
    event.set()


async def _complete(world: World, session: str) -> None:
    """Another closer completes the file, and dies when it deleted the chunk; then other bytes take its place."""
    other = world.node()
    other.hooks.on("delete_many", "chunks/", crash, when="after")
    with suppress(Crash):
        await other.park()
    await world.store_chunk(session, 0, OTHER[:PART])


class TestAssemblers:
    async def test_bytes_that_come_when_the_file_of_many_parts_is_there_do_not_replace_it(
        self, world: World, node: Node
    ) -> None:
        session = (await node.send_all(DATA, PART)).session
        slow = world.node()
        gate = slow.hooks.hold("create_multipart", "files/")
        working = asyncio.create_task(slow.advancer.advance(FILE))
        await gate.reached.wait()
        await _die_in_the_middle_of_the_chunks(world, session, 0)
        await world.store_chunk(session, 0, OTHER[:PART])
        gate.opened.set()
        await working
        assert await world.final() == DATA


async def _die_in_the_middle_of_the_chunks(world: World, session: str, part: int) -> None:
    """Complete the file, and delete only those chunks that lie in a part and are older than all others there."""
    dying = world.node()

    async def delete_some() -> None:
        infos = await list_all(world.temp, part_prefix(FILE, session, part))
        oldest = min(infos, key=lambda info: info.modified)
        await world.temp.delete_many([oldest.key])
        raise Crash

    dying.hooks.on("delete_many", "chunks/", delete_some)
    with pytest.raises(Crash):
        await dying.advancer.advance(FILE)


class TestIngest:
    async def test_while_chunks_are_deleted_one_that_does_not_count_is_not_taken_for_what_was_acknowledged(
        self, world: World, node: Node
    ) -> None:
        other = world.node()
        await node.send(0, DATA[:8], TOTAL)
        session = (await other.send(8, DATA[8:12], TOTAL)).session
        await world.store_chunk(session, 0, OTHER[:8])  # put late, never acknowledged
        state = await node.reader.state(FILE)
        await node.send(12, DATA[12:], TOTAL)
        await _die_in_the_middle_of_the_chunks(world, session, 0)
        assert b"".join([block async for block in node.reader.blocks(state, Extent(0, 8))]) == DATA[:8]
        assert (await node.send(0, DATA[:8], TOTAL)).complete

    async def test_a_chunk_that_was_stored_counts_though_its_request_is_given_up_while_another_looks(
        self, world: World, node: Node
    ) -> None:
        await node.send(0, DATA[:4], TOTAL)
        stored = node.hooks.hold("put", "chunks/", when="after")
        given_up = asyncio.create_task(node.send(4, DATA[4:8], TOTAL))
        await stored.reached.wait()
        world.clock.now += 10
        looking = node.hooks.hold("list", "sessions/")
        other = asyncio.create_task(node.send(12, DATA[12:16], TOTAL))
        await looking.reached.wait()
        stored.opened.set()
        await asyncio.sleep(0.05)  # it waits for the look of the other one
        given_up.cancel()
        await asyncio.gather(given_up, return_exceptions=True)
        looking.opened.set()
        await other
        await refused(Kind.CONTENT_CONFLICT, node.send(4, OTHER[4:8], TOTAL))

    async def test_no_upload_begins_below_a_partial_file_of_another_size(self, world: World, node: Node) -> None:
        """It slept before it opened its upload; meanwhile another was begun, and parked."""

        async def sleep() -> None:
            await node.send(0, DATA[:4], TOTAL)
            await node.park()

        late = world.node()
        chunk = Chunk(FILE, 10, Payload(Extent(0, 8), OTHER[:8]), admit=sleep)
        await refused(Kind.TOTAL_SIZE_CONFLICT, late.writer.write(chunk))

    @pytest.mark.parametrize("fact", ["writer/12345678", "closing/park", "closed/park"])
    async def test_a_partial_file_is_listed_whatever_is_left_of_its_upload(
        self, world: World, node: Node, fact: str
    ) -> None:
        session = (await node.send(0, DATA[:4], TOTAL)).session
        await node.park()
        await world.temp.put(fact_key(FILE, session, fact), b"")
        page = await FileLister(world.buckets).page(FILE.owner, 10, None, None)
        assert [(item.filename, item.status) for item in page.items] == [(FILE.filename, "partial")]

    async def test_who_has_no_room_is_told_of_rejected_files_too(self, world: World, node: Node) -> None:
        """They are in no listing, and take room until they are deleted."""
        await node.send_all(DATA, declared=WRONG)
        await node.work()
        quotas, allowance = Quotas(world.buckets, world.clock), Allowance(stored_bytes=TOTAL)
        asking = quotas.admit(FILE._replace(filename="other"), 5, allowance)
        problem = await refused(Kind.QUOTA_EXCEEDED, asking)
        assert problem.members["files"] == [{"filename": FILE.filename, "size": TOTAL}]

    async def test_a_file_that_was_partial_a_moment_ago_is_listed_once(self, world: World, node: Node) -> None:
        await node.send(0, DATA[:9], TOTAL)
        await node.park()
        await node.send(9, DATA[9:], TOTAL)
        dying = world.node()
        dying.hooks.on("delete_many", "chunks/", crash)
        with pytest.raises(Crash):
            await dying.park()
        page = await FileLister(world.buckets).page(FILE.owner, 10, None, None)
        assert [item.status for item in page.items] == ["complete"]

    async def test_a_delete_may_name_the_file_though_an_upload_came_too_late(self, world: World, node: Node) -> None:
        late = world.node()
        gate = late.hooks.hold("put", "/open")
        sending = asyncio.create_task(late.send(0, DATA[:PART], PART))
        await gate.reached.wait()
        session = (await node.send(0, DATA[:PART], PART)).session
        await node.work()
        gate.opened.set()
        await sending
        await node.canceller.cancel(FILE, Pin(match=frozenset({session})))
        await node.work()
        assert await world.keys() == []

    async def test_a_download_goes_on_when_its_upload_is_parked_with_a_twin(self, world: World, node: Node) -> None:
        await node.send(0, DATA[:8], TOTAL)
        state = await node.reader.state(FILE)
        await world.temp.put(fact_key(FILE, f"{TOTAL}-{24 * '0'}", "open"), b"")
        await world.node().park()
        assert b"".join([block async for block in node.reader.blocks(state, Extent(0, 8))]) == DATA[:8]

    async def test_a_pinned_chunk_is_not_compared_with_the_file_that_came_after(self, world: World, node: Node) -> None:
        ack = await node.send_all(DATA)
        await node.work()
        gate = node.hooks.hold("get", "files/")
        repeated = asyncio.create_task(node.send(0, DATA[:4], TOTAL, pin=Pin(match=frozenset({ack.session}))))
        await gate.reached.wait()
        other = world.node()
        await other.cancel()
        await other.work()
        await other.send_all(OTHER)
        await other.work()
        gate.opened.set()
        await refused(Kind.PRECONDITION_FAILED, repeated)
