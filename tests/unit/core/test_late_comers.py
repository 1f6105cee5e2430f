"""What the simulation found: requests and assemblers that act on a look from before a cancel. Seeds are its own."""

import asyncio

import pytest

from libs.common.layout import assembly_fact, closing_fact, fact_key, file_key
from libs.common.problems import Kind
from libs.common.store import LEASE
from tests.unit.core.uploads import DATA, TOTAL, finish_upload, upload_all, upload_gap
from tests.unit.core.world import FILE, PART, Node, World, content, refused


async def test_a_repeated_chunk_of_a_file_that_was_cancelled_meanwhile_is_not_acknowledged(
    world: World, node: Node
) -> None:
    """Seed 2557."""
    await finish_upload(world)
    gate = node.hooks.hold("stat", "files/")
    repeated = asyncio.create_task(node.send(0, DATA[:4], TOTAL))
    await gate.reached.wait()
    await world.node().cancel()
    world.clock.now += LEASE
    gate.opened.set()
    await refused(Kind.CLOSING, repeated)


async def test_an_upload_opened_at_the_last_moment_ends_with_the_cancel(
    world: World, node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Seed 4625: an empty file came back, whose `open` took effect while its closer waited."""
    late = world.node()
    gate = late.hooks.hold("put", "/open")
    opening = asyncio.create_task(late.send(0, b"", 0))
    await gate.reached.wait()
    await node.send(0, DATA[:4], TOTAL)
    await node.cancel()
    wait = world.clock.sleep

    async def open_then_wait(seconds: float) -> None:
        gate.opened.set()
        await asyncio.wait({opening})
        await wait(seconds)

    monkeypatch.setattr(world.clock, "sleep", open_then_wait)
    await node.work()
    await refused(Kind.CLOSING, opening)
    assert await world.keys() == []


async def test_an_open_that_comes_after_its_lease_opens_nothing(world: World, node: Node) -> None:
    gate = node.hooks.hold("put", "/open")
    opening = asyncio.create_task(node.send(0, DATA[:4], TOTAL))
    await gate.reached.wait()
    await asyncio.sleep(LEASE + 0.1)
    gate.opened.set()
    await refused(Kind.CLOSING, opening)
    assert await world.left() == []


async def test_a_multipart_upload_recorded_while_the_file_is_closed_is_aborted_too(world: World, node: Node) -> None:
    """Seed 1303: its record was deleted, and nobody could abort it any more."""
    await upload_gap(world)
    seen = await world.look()
    await node.cancel()
    gate = node.hooks.hold("list", "partials/")
    closing = asyncio.create_task(node.work())
    await gate.reached.wait()
    upload = await world.perm.create_multipart(file_key(FILE), part_size=PART)
    await world.temp.put(fact_key(FILE, seen.open[0].id, assembly_fact(upload)), b"")
    gate.opened.set()
    await closing
    assert world.open_uploads() == []
    assert await world.left() == []


async def test_a_status_does_not_count_a_chunk_that_came_too_late_for_the_closer(world: World, node: Node) -> None:
    """Seed 291: next_expected_byte went back when the upload was parked."""
    await node.send(0, DATA[:4], TOTAL)
    session = (await world.look()).open[0].id
    await world.temp.put(fact_key(FILE, session, closing_fact("park")), b"")
    assert (await node.reader.state(FILE)).offset == 4
    await asyncio.sleep(LEASE + 0.1)
    await world.store_chunk(session, 4, DATA[4:8])
    assert (await node.reader.state(FILE)).offset == 4
    await node.work()
    assert (await node.reader.state(FILE)).state == "partial"


async def test_a_status_that_took_long_looks_again_whether_a_closing_began(world: World, node: Node) -> None:
    await node.send(0, DATA[:4], TOTAL)
    session = (await world.look()).open[0].id
    gate = node.hooks.hold("list", "chunks/")
    asking = asyncio.create_task(node.reader.state(FILE))
    await gate.reached.wait()
    await world.temp.put(fact_key(FILE, session, closing_fact("park")), b"")
    await asyncio.sleep(LEASE + 0.1)
    world.clock.now += LEASE
    await world.store_chunk(session, 4, DATA[4:8])
    gate.opened.set()
    assert (await asking).offset == 4


async def test_a_chunk_of_a_file_that_is_completed_while_a_replica_joins_is_acknowledged(
    world: World, node: Node
) -> None:
    await upload_all(world)
    gate = node.hooks.hold("put", "/writer/")
    repeated = asyncio.create_task(node.send(0, DATA[:4], TOTAL))
    await gate.reached.wait()
    await world.node().work()
    gate.opened.set()
    assert (await repeated).complete


@pytest.mark.parametrize("told", [False, True])
async def test_a_file_of_one_part_is_not_made_again_from_other_bytes_that_came_after_it(
    world: World, node: Node, told: bool
) -> None:
    """Its clean-up was cut short: the chunk is gone, and `open` is not."""
    session = (await node.send(0, content(PART), PART)).session
    await world.perm.put(file_key(FILE), content(PART), metadata={"session": session})
    chunks = [key for key in await world.left() if key.startswith("chunks/")]
    await world.temp.delete_many(chunks)
    await world.store_chunk(session, 0, content(PART, seed=1))
    await world.node().advancer.advance(FILE, [], session if told else "")
    assert await world.final() == content(PART)
    assert await world.left() == []
