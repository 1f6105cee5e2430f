"""Meetings of closers with others, found by reading: each broke a promise once."""

import asyncio
from contextlib import suppress
from hashlib import sha256

import pytest

from libs.common.extents import Extent
from libs.common.layout import chunks_prefix, closing_fact, fact_key, rejected_prefix, run_key
from libs.common.store import list_all, read
from services.assembler.assembly import Superseded
from tests.unit.core.crashes import crash
from tests.unit.core.hooked_store import Crash
from tests.unit.core.uploads import DATA, OTHER, TOTAL, WRONG
from tests.unit.core.world import FILE, PART, Node, World


@pytest.mark.parametrize("declared", ["", sha256(DATA).hexdigest()])
async def test_no_part_of_chunks_that_came_late_gets_into_the_file(world: World, node: Node, declared: str) -> None:
    """An assembler slept since before the upload was parked; the closer died; late chunks fill the gap."""
    session = (await node.send(0, DATA[:PART], TOTAL, declared=declared)).session
    slow = world.node()
    listing = slow.hooks.hold("list", f"{session}/00000")
    assembling = asyncio.create_task(slow.advancer.advance(FILE, [0]))
    await listing.reached.wait()
    node.hooks.on("put", "closed/park", crash)
    with pytest.raises(Crash):
        await node.park()
    for start in range(0, TOTAL, PART):
        await world.store_chunk(session, start, (DATA if start else OTHER)[start : start + PART])
    listing.opened.set()
    with pytest.raises(Superseded):
        await assembling
    await world.node().work()
    assert await world.final() == DATA


@pytest.mark.parametrize("late", [4, TOTAL])
async def test_what_another_closer_kept_of_a_rejected_file_is_not_replaced(world: World, node: Node, late: int) -> None:
    """It died when it had deleted as many bytes, for which others came late."""
    session = (await node.send_all(DATA, 4, declared=WRONG)).session
    await world.temp.put(fact_key(FILE, session, closing_fact("reject")), b"")
    slow = world.node()
    listing = slow.hooks.hold("list", "rejected/", when="after")
    closing = asyncio.create_task(slow.closer.close(FILE))
    await listing.reached.wait()

    async def delete_some() -> None:
        keys = [info.key for info in await list_all(world.temp, chunks_prefix(FILE, session))]
        await world.temp.delete_many(keys[: late // 4])
        raise Crash

    node.hooks.on("delete_many", "chunks/", delete_some)
    with pytest.raises(Crash):
        await node.closer.close(FILE)
    for start in range(0, late, 4):
        await world.store_chunk(session, start, OTHER[start : start + 4])
    listing.opened.set()
    await closing
    assert await read(world.perm, run_key(rejected_prefix(FILE, session), Extent(0, TOTAL))) == DATA


async def test_an_upload_is_not_both_parked_and_rejected(world: World, node: Node) -> None:
    """The marker that rejects comes between the last look of the closer that parks and its `closed`."""
    session = (await node.send(4, DATA[4:], TOTAL, declared=WRONG)).session
    closed = node.hooks.hold("put", "closed/park")
    facts = node.hooks.hold("delete_many", "/open")
    parking = asyncio.create_task(node.park())
    await closed.reached.wait()
    await world.store_chunk(session, 0, DATA[:4])
    other = world.node()
    marked = other.hooks.hold("put", "closing/reject", when="after")
    kept = other.hooks.hold("complete_multipart", "rejected/", when="after")
    rejecting = asyncio.create_task(other.closer.close(FILE))
    await marked.reached.wait()
    closed.opened.set()
    await _for_a_moment(facts.reached)
    marked.opened.set()
    await _for_a_moment(kept.reached)
    facts.opened.set()
    await asyncio.sleep(0.05)
    kept.opened.set()
    await asyncio.gather(parking, rejecting)
    await world.node().work()
    assert len({key.partition("/")[0] for key in await world.keys()}) == 1


async def _for_a_moment(event: asyncio.Event) -> None:
    """Wait for what may never happen, now that it is mended."""
    with suppress(TimeoutError):
        await asyncio.wait_for(event.wait(), 0.5)
