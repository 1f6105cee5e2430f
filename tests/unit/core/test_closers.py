"""Closers die, work at the same time, and sleep: the upload ends as it does with one that does none of these."""

import asyncio
import random
from contextlib import suppress
from hashlib import sha256
from pathlib import Path

import pytest

from libs.common.events import FileCompleted, FileRejected, PartialFileMoved
from libs.common.extents import Extent
from libs.common.gather import checked_digest, complete_file
from libs.common.layout import digest_fact, fact_key, partials_prefix, rejected_prefix, run_key
from libs.common.store import LEASE, list_all, read
from tests.unit.core.crashes import after_each_crash, crash
from tests.unit.core.hooked_store import Crash, Gate
from tests.unit.core.uploads import (
    DATA,
    TOTAL,
    WRONG,
    Upload,
    finish_upload,
    park_first,
    upload_all,
    upload_gap,
    upload_wrong,
)
from tests.unit.core.world import FILE, PART, Node, World, content, open_world

CLOSINGS = {
    "cancel": (upload_gap, "cancel"),
    "cancel a complete file": (finish_upload, "cancel"),
    "park": (upload_gap, "park"),
    "park again": (park_first, "park"),
    "park a full upload": (upload_all, "park"),
    "reject": (upload_wrong, "reject"),
}
TOLD = {
    "park": PartialFileMoved,
    "park again": PartialFileMoved,
    "park a full upload": FileCompleted,
    "reject": FileRejected,
}


async def mark(world: World, reason: str) -> None:
    if reason == "cancel":
        await world.node().cancel()


async def close(node: Node, reason: str) -> None:
    await (node.park() if reason == "park" else node.closer.close(FILE))


@pytest.mark.parametrize("kind", CLOSINGS)
async def test_whoever_dies_at_any_step_another_closes_the_upload_the_same_way(tmp_path: Path, kind: str) -> None:
    upload, reason = CLOSINGS[kind]

    async def prepare(world: World) -> None:
        await upload(world)
        await mark(world, reason)

    crashes, ends = 0, set()
    async for world in after_each_crash(tmp_path, prepare, lambda dying: close(dying, reason)):
        crashes += 1
        await close(world.node(), reason)
        assert await world.left() == []
        assert kind not in TOLD or world.told(TOLD[kind])
        ends.add(await end_state(world))
    assert crashes > 15
    assert len(ends) == 1


@pytest.mark.parametrize("kind", CLOSINGS)
@pytest.mark.parametrize("seed", range(3))
async def test_two_closers_at_once_do_what_one_does(tmp_path: Path, kind: str, seed: int) -> None:
    upload, reason = CLOSINGS[kind]
    ends = set()
    for closers in (1, 2):
        async with open_world(tmp_path / str(closers)) as world:
            await upload(world)
            await mark(world, reason)
            nodes = [world.node() for _ in range(closers)]
            for each in nodes:
                each.hooks.jitter(random.Random(seed), 0.003)
            await asyncio.gather(*(close(each, reason) for each in nodes))
            assert await world.left() == []
            assert world.open_uploads() == []
            ends.add(await end_state(world))
    assert len(ends) == 1


class TestSleepers:
    """A closer that slept longer than its lease changes nothing that others use by then."""

    @pytest.mark.parametrize(
        ("upload", "reason", "method", "part"),
        [
            (finish_upload, "cancel", "delete_many", "files/"),
            (park_first, "cancel", "delete_many", "partials/"),
            (upload_gap, "park", "complete_multipart", "partials/"),
            (park_first, "park", "delete_many", "partials/"),
            (upload_gap, "park", "put", "closed/park"),
        ],
    )
    async def test_its_fenced_write_is_refused(
        self, world: World, node: Node, upload: Upload, reason: str, method: str, part: str
    ) -> None:
        await upload(world)
        await mark(world, reason)
        done: list[float] = []

        async def sleep() -> None:
            await asyncio.sleep(LEASE + 0.1)

        async def note() -> None:
            done.append(world.clock.now)

        node.hooks.on(method, part, sleep)
        node.hooks.on(method, part, note, when="after", times=99)
        await close(node, reason)
        assert node.hooks.count(method, part) > len(done) > 0
        assert await world.left() == []

    async def test_it_deletes_no_file_that_was_uploaded_since(self, world: World, node: Node) -> None:
        await finish_upload(world)
        await node.cancel()
        slow = world.node()
        gate = slow.hooks.hold("delete_many", "files/")
        closing = asyncio.create_task(slow.closer.close(FILE))
        await gate.reached.wait()
        await node.work()
        new = content(TOTAL, seed=1)
        await node.send_all(new)
        await node.work()
        await asyncio.sleep(LEASE + 0.1)
        gate.opened.set()
        await closing
        assert await world.final() == new

    async def test_it_writes_no_partial_file_of_bytes_that_were_cancelled_since(self, world: World, node: Node) -> None:
        await upload_gap(world)
        slow = world.node()
        gate = slow.hooks.hold("complete_multipart", "partials/")
        closing = asyncio.create_task(slow.park())
        await gate.reached.wait()
        await node.cancel()
        await node.work()
        await asyncio.sleep(LEASE + 0.1)
        gate.opened.set()
        await closing
        assert await world.keys() == []


class TestOvertaken:
    """A closer looks again before each step: what it was told to do may be done, or not to be done any more."""

    @pytest.mark.parametrize("look", range(1, 8))
    async def test_by_another_that_finished_it_goes_on_with_what_is_closing_now(
        self, world: World, node: Node, look: int
    ) -> None:
        await upload_gap(world)
        await node.cancel()
        slow, looks = world.node(), list[int]()

        async def overtake() -> None:
            looks.append(1)
            if len(looks) == look:
                await node.work()
                await upload_gap(world)
                await node.cancel()

        slow.hooks.on("list", "sessions/", overtake, times=99)
        await slow.closer.close(FILE)
        await world.node().work()
        assert len(looks) >= look
        assert await world.keys() == []

    async def test_by_a_cancel_it_parks_nothing_any_more(self, world: World, node: Node) -> None:
        """Not even if it wakes when the cancelling is all but done, and dies right after its write."""
        await node.send(0, DATA[:11], TOTAL)
        slow, gates = world.node(), list[Gate]()

        async def hold_next_look() -> None:
            gates.append(slow.hooks.hold("list", "sessions/"))

        async def wake() -> None:
            gates[0].opened.set()
            await asyncio.sleep(0.1)

        slow.hooks.on("complete_multipart", "partials/", crash, when="after")
        slow.hooks.on("put_part", " 2", hold_next_look, when="after")
        parking = asyncio.create_task(slow.park())
        while not gates:  # noqa: ASYNC110  # the gate is made on the way
            await asyncio.sleep(0.001)
        await gates[0].reached.wait()
        await node.cancel()
        node.hooks.on("put", "closed/cancel", wake)
        await node.work()
        with suppress(Crash):
            await parking
        assert await world.keys() == []
        assert world.open_uploads() == []

    async def test_by_another_that_died_with_only_the_markers_left(self, world: World, node: Node) -> None:
        """It looks for the last time before it makes the file, and finds no upload any more."""
        await node.send(0, DATA[:PART], PART)
        slow, gates = world.node(), list[Gate]()

        async def hold_next_look() -> None:
            gates.append(slow.hooks.hold("list", "sessions/"))

        slow.hooks.on("list", "partials/", hold_next_look, when="after")
        closing = asyncio.create_task(slow.park())
        while not gates:  # noqa: ASYNC110  # the gate is made on the way
            await asyncio.sleep(0.001)
        await gates[0].reached.wait()
        node.hooks.on("delete_many", "closing/park", crash)
        with suppress(Crash):
            await node.closer.close(FILE)
        assert (await world.look()).open == []
        gates[0].opened.set()
        await closing
        assert await world.left() == []
        assert await world.final() == DATA[:PART]

    async def test_by_another_that_completed_the_file_it_leaves_no_partial_one(self, world: World, node: Node) -> None:
        """A chunk came late, so that the slower closer saw a gap and the other one did not. It dies after its write."""
        await upload_gap(world)
        slow = world.node()
        slow.hooks.on("complete_multipart", "partials/", crash, when="after")
        gate = slow.hooks.hold("complete_multipart", "partials/")

        async def wake() -> None:
            gate.opened.set()
            await asyncio.sleep(0.1)

        closing = asyncio.create_task(slow.park())
        await gate.reached.wait()
        (session,) = (await world.look()).open
        await world.store_chunk(session.id, 0, DATA)
        node.hooks.on("put", "closed/park", wake)
        await node.work()
        with suppress(Crash):
            await closing
        assert await world.final() == DATA
        assert [key for key in await world.keys() if key.startswith("partials/")] == []

    async def test_by_another_that_found_a_gap_it_leaves_no_checked_digest(self, world: World, node: Node) -> None:
        """The missing chunk came late, and who saw it died when it had checked the digest."""
        await node.send(4, DATA[4:], TOTAL, declared=sha256(DATA).hexdigest())
        gate = node.hooks.hold("put", "closed/park")
        closing = asyncio.create_task(node.park())
        await gate.reached.wait()
        (session,) = (await world.look()).open
        await world.store_chunk(session.id, 0, DATA)
        await die_after(world.node(), "put", "digests/")
        gate.opened.set()
        await closing
        assert await permanent(world) == [run_key(partials_prefix(FILE, session.id), Extent(4, TOTAL))]

    async def test_by_another_that_found_a_digest_wrong_it_leaves_no_checked_digest(
        self, world: World, node: Node
    ) -> None:
        """Another digest was declared when the first had been checked, and the file not made yet."""
        session = (await node.send_all(DATA, declared=sha256(DATA).hexdigest())).session
        await die_after(world.node(), "put", "digests/")
        await world.temp.put(fact_key(FILE, session, digest_fact(WRONG)), b"")
        await node.work()
        assert await permanent(world) == [run_key(rejected_prefix(FILE, session), Extent(0, TOTAL))]

    async def test_by_another_it_leaves_the_checked_digest_of_an_upload_that_came_after(
        self, world: World, node: Node
    ) -> None:
        """Both are in their last step. The faster one removes the markers, and the device begins again at once."""
        await node.send(0, DATA[:4], TOTAL)
        gate = node.hooks.hold("put", "closed/park")
        closing = asyncio.create_task(node.park())
        await gate.reached.wait()
        slow = world.node()
        slow_gate = slow.hooks.hold("list", "digests/")
        slow_closing = asyncio.create_task(slow.park())
        await slow_gate.reached.wait()
        gate.opened.set()
        await closing
        session = (await world.node().send_all(DATA, declared=sha256(DATA).hexdigest())).session
        await world.node().work()
        slow_gate.opened.set()
        await slow_closing
        assert await checked_digest(world.perm, FILE, session) == sha256(DATA).hexdigest()

    async def test_that_deleted_half_of_the_facts_it_makes_no_file_of_a_wrong_digest(
        self, world: World, node: Node
    ) -> None:
        """A batch is not atomic. The missing chunk came late, so that the file could be made now."""
        session = (await node.send(4, DATA[4:], TOTAL, declared=WRONG)).session

        async def delete_first() -> None:
            facts = [key for key in await world.left() if key.startswith("sessions/") and "/clos" not in key]
            await world.temp.delete_many(facts[:1])
            await world.store_chunk(session, 0, DATA)
            raise Crash

        node.hooks.on("delete_many", "digest/", delete_first)
        with pytest.raises(Crash):
            await node.park()
        await world.node().work()
        assert await complete_file(world.perm, FILE) is None


async def permanent(world: World) -> list[str]:
    return [info.key for info in await list_all(world.perm, "")]


async def die_after(node: Node, call: str, prefix: str) -> None:
    """Work until a call, and die after it."""
    node.hooks.on(call, prefix, crash, when="after")
    with pytest.raises(Crash):
        await node.work()


async def end_state(world: World) -> tuple[tuple[str, bytes], ...]:
    """What is in permanent storage, but for the random part of session ids."""
    found = [(info.key, await read(world.perm, info.key)) for info in await list_all(world.perm, "")]
    return tuple(("/".join(p for p in key.split("/") if not p.startswith(f"{TOTAL}-")), data) for key, data in found)
