"""A look is one listing of everything that is known of a file's uploads."""

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from libs.common.layout import FileId, Reason, closed_fact, closing_fact, fact_key
from libs.common.look import SLOWEST_LOOK, look
from libs.common.store import LEASE, StoreUnavailable
from tests.unit.core.world import FILE, World, open_world

A, B = "10-aaaaaaaa00", "10-bbbbbbbb00"


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    async with open_world(tmp_path) as opened:
        yield opened


async def say(world: World, session: str, *facts: str, file: FileId = FILE) -> None:
    for fact in facts:
        await world.temp.put(fact_key(file, session, fact), b"{}")


async def test_of_a_file_that_nobody_uploads_there_is_nothing(world: World) -> None:
    await say(world, A, "open", file=FILE._replace(filename=FILE.filename + "2"))
    seen = await world.look()
    assert (seen.sessions, seen.open, seen.closing, seen.writers, seen.digests) == ({}, [], set(), set(), set())
    assert seen.shows_open([])


async def test_every_fact_of_a_session_is_in_its_keys(world: World) -> None:
    await say(world, A, "open", "writer/cccccccc", f"digest/sha-256/{'0f' * 32}", "assembly/u-1", "assembly/u-2")
    (session,) = (await world.look()).open
    assert (session.id, session.total_size, session.is_open, session.closing) == (A, 10, True, set())
    assert session.writers == {"aaaaaaaa", "cccccccc"}
    assert session.digests == {"0f" * 32}
    assert session.assemblies == {"u-1", "u-2"}


async def test_twins_count_together_the_first_opened_first(world: World) -> None:
    await say(world, B, "open", f"digest/sha-256/{'0b' * 32}")
    await say(world, A, "open", f"digest/sha-256/{'0a' * 32}")
    seen = await world.look()
    assert [session.id for session in seen.open] == [B, A]
    assert seen.writers == {"aaaaaaaa", "bbbbbbbb"}
    assert seen.digests == {"0a" * 32, "0b" * 32}


async def test_a_session_of_another_size_that_was_opened_later_does_not_count(world: World) -> None:
    await say(world, "11-eeeeeeee00", "open", "writer/ffffffff", f"digest/sha-256/{'0e' * 32}")
    await say(world, A, "open", f"digest/sha-256/{'0a' * 32}")
    seen = await world.look()
    assert [session.id for session in seen.open] == ["11-eeeeeeee00"]
    assert seen.writers == {"eeeeeeee", "ffffffff"}
    assert seen.digests == {"0e" * 32}
    assert set(seen.sessions) == {"11-eeeeeeee00", A}


async def test_a_session_without_open_is_not_open(world: World) -> None:
    await say(world, A, "writer/cccccccc", "assembly/u-1")
    seen = await world.look()
    assert (seen.open, seen.writers) == ([], set())
    assert not seen.shows_open([A])


@pytest.mark.parametrize("reason", ["cancel", "park", "reject"])
@pytest.mark.parametrize("fact", [closing_fact, closed_fact])
async def test_one_marker_closes_every_session_of_the_file(
    world: World, reason: Reason, fact: Callable[[Reason], str]
) -> None:
    await say(world, A, "open")
    assert (await world.look()).shows_open([A])
    await say(world, B, fact(reason))
    seen = await world.look()
    assert seen.closing == {reason}
    assert not seen.shows_open([A])
    assert seen.sessions[B].marked(f"{fact(reason).partition('/')[0]}/") == {reason}


async def test_a_look_may_be_acted_on_for_a_lease_from_before_the_listing(world: World) -> None:
    node = world.node()

    async def dawdle() -> None:
        world.clock.now += 0.5

    node.hooks.on("list", "", dawdle)
    began = world.clock.now
    seen = await look(node.buckets.temp, FILE, world.clock)
    assert seen.seen_at == began
    assert not seen.expired(began + LEASE - 0.001)
    assert seen.expired(began + LEASE)


async def test_a_slow_look_is_taken_again_and_a_store_that_stays_slow_is_away(world: World) -> None:
    node = world.node()

    async def dawdle() -> None:
        world.clock.now += SLOWEST_LOOK + 0.1

    node.hooks.on("list", "", dawdle, times=2)
    seen = await look(node.buckets.temp, FILE, world.clock)
    assert (seen.seen_at, node.hooks.count("list")) == (world.clock.now, 3)
    node.hooks.on("list", "", dawdle, times=3)
    with pytest.raises(StoreUnavailable):
        await look(node.buckets.temp, FILE, world.clock)


def touch_writers(world: World, count: int) -> None:
    """Register so many writers, without waiting for the disk each time."""
    folder = (world.root / "temp" / fact_key(FILE, A, "writer/0000")).parent
    for number in range(1, count):
        (folder / f"{number:04}").touch()


async def test_a_file_may_have_more_facts_than_a_listing_has_room_for(world: World) -> None:
    await say(world, A, "open", "assembly/u", "writer/0000")
    touch_writers(world, 2500)
    await say(world, B, closing_fact("cancel"))
    node = world.node()
    seen = await look(node.buckets.temp, FILE, world.clock)
    assert len(seen.sessions[A].facts) == 2502
    assert seen.closing == {"cancel"}
    assert node.hooks.count("list") == 3


async def test_the_fence_dates_from_the_first_page(world: World) -> None:
    """A marker that was written while later pages were listed may be missing."""
    await say(world, A, "open", "writer/0000")
    touch_writers(world, 1500)
    node = world.node()

    async def pause() -> None:
        await asyncio.sleep(0.05)

    node.hooks.on("list", "", pause, when="after")
    seen = await look(node.buckets.temp, FILE, world.clock)
    now = (await world.look()).fence.issued
    assert now - seen.fence.issued >= 0.05
