"""Meetings of requests with what goes on meanwhile, found by reading: each broke a promise once."""

import asyncio
import os
import time
from contextlib import suppress
from hashlib import sha256

import pytest

from libs.common.allowance import Allowance
from libs.common.extents import Extent
from libs.common.layout import fact_key, part_prefix
from libs.common.look import SETTLE
from libs.common.problems import Kind
from libs.common.store import LEASE, ObjectNotFound, list_all
from services.ingest.quota import Quotas
from services.ingest.states import FileState
from tests.unit.core.hooked_store import Crash
from tests.unit.core.uploads import DATA, OTHER, TOTAL, WRONG
from tests.unit.core.world import FILE, PART, Node, World, refused


async def test_a_partial_file_that_is_completed_meanwhile_is_deleted(world: World, node: Node) -> None:
    """It was neither open nor complete when the DELETE looked, and not partial any more when it looked for that."""
    await node.send(0, DATA[:9], TOTAL)
    await node.park()
    listing = node.hooks.hold("list", "partials/")
    deleting = asyncio.create_task(node.cancel())
    await listing.reached.wait()
    other = world.node()
    await other.send(9, DATA[9:], TOTAL)
    await other.work()
    listing.opened.set()
    await deleting
    await other.work()
    assert await world.keys() == []


@pytest.mark.parametrize("reason", ["cancel", "reject"])
async def test_a_download_takes_nothing_that_came_late_for_what_is_deleted(
    world: World, node: Node, reason: str
) -> None:
    """A closer died in a batch of deletes: the chunk that counted is gone, the one that came late is not."""
    session = (await node.send(0, DATA[:PART], TOTAL)).session
    await asyncio.sleep(0.01)
    await world.store_chunk(session, 0, OTHER[:PART])
    if reason == "reject":
        await node.send(PART, DATA[PART:], TOTAL, declared=WRONG)
    before = await node.reader.state(FILE)
    marker = fact_key(FILE, session, f"closing/{reason}")
    await world.temp.put(marker, b"")
    dying = world.node()

    async def delete_the_oldest() -> None:
        infos = await list_all(world.temp, part_prefix(FILE, session, 0))
        await world.temp.delete_many([min(infos, key=lambda info: info.modified).key])
        raise Crash

    dying.hooks.on("delete_many", "chunks/", delete_the_oldest)
    with pytest.raises(Crash):
        await dying.closer.close(FILE)
    long_ago = time.time() - SETTLE  # which closers wait by another clock than the store's
    os.utime(world.root / "temp" / marker, (long_ago, long_ago))
    assert await _download(node, before) in (b"", DATA[:PART])
    if reason == "reject":
        assert await _download(node, await node.reader.state(FILE)) in (b"", DATA[:PART])


async def test_a_download_goes_on_while_nothing_is_deleted_yet(world: World, node: Node) -> None:
    await node.send_all(DATA, declared=WRONG)
    assert await node.advancer.advance(FILE)  # it is to be rejected
    assert await _download(node, await node.reader.state(FILE)) == DATA[:PART]


async def _download(node: Node, state: FileState) -> bytes:
    got = b""
    with suppress(ObjectNotFound):
        async for block in node.reader.blocks(state, Extent(0, PART)):
            got += block
    return got


@pytest.mark.parametrize("chunk", [4, PART])
async def test_a_replica_that_saw_a_file_before_it_was_known_to_be_checked_learns_it(
    world: World, node: Node, chunk: int
) -> None:
    """The last byte was sent again with the digest, and two assemblers were at it, of which one did not know it. That
    one leaves nothing of the upload, or (of a sole chunk) the fact that came late."""
    digest = sha256(DATA[:PART]).hexdigest()
    session = (await node.send_all(DATA[:PART], chunk)).session
    unknowing, checking, reader = world.node(), world.node(), world.node()
    making = unknowing.hooks.hold(*(("put", "files/") if chunk == PART else ("complete_multipart", "files/")))
    first = asyncio.create_task(unknowing.advancer.advance(FILE, [0], session))
    await making.reached.wait()
    await node.send(PART - 1, DATA[PART - 1 : PART], PART, declared=digest)
    keeping = checking.hooks.hold("put", "digests/")
    second = asyncio.create_task(checking.advancer.advance(FILE, [0], session))
    await keeping.reached.wait()
    making.opened.set()
    await first
    assert (await reader.reader.state(FILE)).sha256 == ""
    keeping.opened.set()
    await asyncio.gather(second, return_exceptions=True)
    await checking.work()
    for _ in range(4):
        world.clock.now += LEASE
        await reader.reader.state(FILE)
    here, there = await reader.reader.state(FILE), await world.node().reader.state(FILE)
    assert here.sha256 == there.sha256


async def test_an_empty_file_has_its_digest_before_it_is_there(world: World, node: Node) -> None:
    """An event of the name comes while its only request is under way."""
    declaring = node.hooks.hold("put", "digest/sha-256", when="after")
    sending = asyncio.create_task(node.send(0, b"", 0, declared=WRONG))
    await declaring.reached.wait()
    await world.node().work()
    declaring.opened.set()
    await sending
    await node.work()
    await refused(Kind.REJECTED, node.reader.state(FILE))


async def test_no_quota_refuses_a_chunk_of_a_complete_file(world: World, node: Node) -> None:
    """It was begun and completed through another replica, after this one listed what its device has."""
    allowance, other = Allowance(open_uploads=1), FILE._replace(filename="other")
    here = Quotas(world.buckets, world.clock)
    await node.send(0, DATA[:4], TOTAL, file=other)
    await here.admit(other, TOTAL, allowance)
    await node.send(4, DATA[4:], TOTAL, file=other)
    await node.work(other)
    await node.send(0, DATA[:PART], PART)
    await node.work()
    await here.admit(FILE, PART, allowance)
