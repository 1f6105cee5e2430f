"""A sweep finds what needs a look, in one pass over two sorted listings."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from libs.common import layout
from libs.common.events import SessionStale, SessionStalled
from libs.common.extents import Extent
from libs.common.layout import FileId, Reason, closed_fact, closing_fact, fact_key
from libs.common.sweep import Ages, Finding, Need, store_time, sweep, swept_files
from tests.unit.core.world import AGES, FILE, STALE, World, content, open_world

TOTAL = 20
SESSION = f"{TOTAL}-aaaaaaaa00"


@pytest.fixture(autouse=True)
def _small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(layout, "MIN_PART_SIZE", 8)


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    async with open_world(tmp_path) as opened:
        yield opened


async def swept(world: World, age: float) -> list[Finding]:
    """What a sweep finds `age` seconds from now."""
    return [found async for found in sweep(world.temp, await store_time(world.temp) + age, AGES)]


async def needs(world: World, age: float) -> list[tuple[Need, str]]:
    return [(found.need, found.session) for found in await swept(world, age)]


async def say(world: World, session: str, *facts: str) -> None:
    for fact in facts:
        await world.temp.put(fact_key(FILE, session, fact), b"{}")


def test_what_was_left_alone_for_ten_seconds_is_stalled_and_after_two_sweeps_quiet() -> None:
    assert Ages.of(3600, 60) == Ages(stale=3600, grace=10, quiet=160)
    assert Ages.of(3600, 4) == Ages(stale=3600, grace=2, quiet=12)


async def test_nothing_is_found_where_nothing_is(world: World) -> None:
    assert await needs(world, STALE * 9) == []


@pytest.mark.parametrize("key", ["sessions/README", "chunks/README", "sessions/00/car/x", "chunks/00/car/x/y/z"])
async def test_what_others_put_into_the_bucket_is_passed_over(world: World, key: str) -> None:
    await world.temp.put(key, b"")
    await say(world, SESSION, "open")
    assert await needs(world, STALE + 1) == [(Need.STALE, SESSION)]


async def test_an_upload_that_is_sending_is_left_alone_then_looked_at_then_stale(world: World) -> None:
    await say(world, SESSION, "open")
    await world.store_chunk(SESSION, 0, content(4))
    for age, expected in (
        (AGES.grace - 1, []),
        (AGES.grace + 1, [Need.STALLED]),
        (AGES.quiet - 1, [Need.STALLED]),
        (AGES.quiet + 1, []),
        (STALE - 1, []),
        (STALE + 1, [Need.STALE]),
    ):
        assert await needs(world, age) == [(need, SESSION) for need in expected]


async def test_an_upload_of_which_no_chunk_came_is_stale_too(world: World) -> None:
    await say(world, SESSION, "open")
    assert await needs(world, STALE + 1) == [(Need.STALE, SESSION)]


async def test_bytes_that_are_all_there_are_looked_at_until_they_are_stale(world: World) -> None:
    await say(world, SESSION, "open")
    await say(world, f"{TOTAL}-bbbbbbbb00", "open")
    await world.store_chunk(SESSION, 0, content(12))
    await world.store_chunk(f"{TOTAL}-bbbbbbbb00", 12, content(8))
    assert await needs(world, AGES.quiet + 1) == [(Need.STALLED, SESSION)]
    assert await needs(world, STALE + 1) == [(Need.STALE, SESSION)]


@pytest.mark.parametrize("reason", ["cancel", "park", "reject"])
async def test_a_closing_is_looked_at_whatever_its_age_and_nothing_else_of_the_file(
    world: World, reason: Reason
) -> None:
    for fact in (closing_fact(reason), closed_fact(reason)):
        await say(world, SESSION, fact)
        await say(world, f"{TOTAL}-bbbbbbbb00", "open")
        await world.store_chunk(f"{TOTAL}-gone", 0, content(4))
        for age in (0, STALE + 1):
            assert await needs(world, age) == [(Need.CLOSING, SESSION)]
        await world.temp.delete_many(await world.left())


async def test_facts_and_chunks_of_sessions_that_are_gone_are_garbage_once_they_are_old(world: World) -> None:
    await say(world, SESSION, "open")
    await say(world, "20-dead", "writer/a", "assembly/u")
    for session in ("20-dead", "20-gone"):
        await world.store_chunk(session, 0, content(4))
    assert await needs(world, STALE - 1) == []
    assert await needs(world, STALE + 1) == [
        (Need.STALE, SESSION),
        (Need.DEAD_FACTS, "20-dead"),
        (Need.ORPHANS, "20-dead"),
        (Need.ORPHANS, "20-gone"),
    ]


async def test_a_finding_says_why_and_tells_the_assembler(world: World) -> None:
    await say(world, SESSION, "open")
    await world.store_chunk(SESSION, 0, content(4))
    (stale,) = await swept(world, STALE + 5)
    assert (stale.file, stale.why) == (FILE, f"no chunk for {stale.age:.0f} s, 4 of 20 bytes in chunks")
    assert stale.age == pytest.approx(STALE + 5, abs=5)
    event = stale.event("/test")
    assert isinstance(event, SessionStale)
    assert (event.source, event.subject, event.data.file, event.data.session) == (
        "/test",
        "device-1/log.bin",
        FILE,
        SESSION,
    )
    (stalled,) = await swept(world, AGES.grace + 5)
    assert isinstance(stalled.event("/test"), SessionStalled)


NAMES = ["a", "a-b", "a b", "a0", "a.b", "A", "é", "a\U0001f697", "ÿ", "￿", "a!"]
OWNERS = ["a-b", "a0", "a.b", "A", "a_b"]
PLACES = [("a", name) for name in NAMES] + [(name, "a") for name in OWNERS]
some_places = st.sets(st.sampled_from(PLACES), max_size=8)


@settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(with_facts=some_places, with_chunks=some_places)
@example(with_facts={("a", "a-b"), ("a", "a")}, with_chunks={("a", "a")})
@example(with_facts={("a-b", "a")}, with_chunks={("a", "a"), ("a-b", "a")})
async def test_the_two_listings_meet_whatever_the_names(
    tmp_path_factory: pytest.TempPathFactory, with_facts: set[tuple[str, str]], with_chunks: set[tuple[str, str]]
) -> None:
    async with open_world(tmp_path_factory.mktemp("world")) as world:
        for names in with_facts:
            await world.temp.put(fact_key(FileId(*names), SESSION, "open"), b"{}")
        for names in with_chunks:
            await world.store_chunk(SESSION, 0, b"abcd", FileId(*names))
        found = [each async for each in swept_files(world.temp)]
        assert len(found) == len(with_facts | with_chunks)
        assert {tuple(each.file) for each in found if each.sessions} == with_facts
        assert {tuple(each.file) for each in found if each.chunks} == with_chunks
        assert all(chunks.count == 1 for each in found for chunks in each.chunks.values())


async def test_a_thousand_uploads_cost_one_list_call_per_thousand_objects(world: World) -> None:
    """And none per upload."""
    for number in range(1000):
        file = FILE._replace(filename=f"{number:04}.bin")
        touch(world, fact_key(file, SESSION, "open"))
        touch(world, layout.chunk_key(file, SESSION, Extent(0, 4), "0" * 64))
        touch(world, layout.chunk_key(file, SESSION, Extent(8, 12), "0" * 64))
    node = world.node()
    now = await store_time(world.temp) + STALE + 10
    found = [each async for each in sweep(node.buckets.temp, now, AGES)]
    assert len(found) == 1000
    assert all(each.why.endswith(", 8 of 20 bytes in chunks") for each in found)
    assert len(node.hooks.calls) <= 3 + 1


def touch(world: World, key: str) -> None:
    """Write an object past the store, which syncs each."""
    path = world.root / "temp" / key
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
