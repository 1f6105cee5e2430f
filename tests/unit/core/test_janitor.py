"""The janitor nudges, and deletes only what no reader could want, after looking again."""

import asyncio
import os
import subprocess
import sys
from pathlib import Path

import pytest

from libs.common.events import SessionStale, SessionStalled
from libs.common.layout import FileId, assembly_fact, chunks_prefix, closing_fact, fact_key, file_key
from libs.common.store import StoreUnavailable
from libs.common.sweep import NUDGES, Need, store_time
from services.janitor.app import sweep_forever
from tests.unit.core.hooked_store import Act
from tests.unit.core.uploads import DATA, TOTAL, upload_gap
from tests.unit.core.world import AGES, FILE, PART, STALE, Node, World

GONE = f"{TOTAL}-gone"
ROOT = Path(__file__).parents[3]


async def clean(world: World, node: Node, *, dry_run: bool = False) -> list[Need]:
    """A sweep when everything that is there now is old."""
    now = await store_time(world.temp) + STALE + 5
    return [found.need for found in await node.janitor.sweep(now, dry_run=dry_run)]


class TestNudges:
    async def test_what_needs_the_assembler_is_told_and_not_touched(self, world: World, node: Node) -> None:
        await upload_gap(world)
        before, now = await world.keys(), await store_time(world.temp)
        world.events.clear()
        await node.janitor.sweep(now + AGES.grace + 1, dry_run=False)
        await node.janitor.sweep(now + STALE + 1, dry_run=False)
        assert [type(event) for event in world.events] == [SessionStalled, SessionStale]
        assert {event.source for event in world.events} == {"/hiper/janitor"}
        assert await world.keys() == before

    async def test_a_sweep_for_stalled_uploads_leaves_the_rest_for_later(self, world: World, node: Node) -> None:
        await upload_gap(world)
        await world.store_chunk(GONE, 0, b"abcd")
        now = await store_time(world.temp)
        assert await node.janitor.sweep(now + STALE + 5, needs=NUDGES, dry_run=False) == []
        assert any(GONE in key for key in await world.left())

    async def test_a_stale_upload_is_parked_by_whoever_hears_of_it(self, world: World, node: Node) -> None:
        await upload_gap(world)
        age(world, STALE + 60)
        now = await store_time(world.temp)
        (found,) = await node.janitor.sweep(now, dry_run=False)
        await node.assembler.handle(found.event("/test"))
        assert (await node.reader.state(FILE)).state == "partial"
        assert await world.left() == []

    async def test_a_stale_upload_that_went_on_meanwhile_is_not_parked(self, world: World, node: Node) -> None:
        await upload_gap(world)
        age(world, STALE + 60)
        (found,) = await node.janitor.sweep(await store_time(world.temp), dry_run=False)
        await node.send(11, DATA[11:12], TOTAL)
        await node.assembler.handle(found.event("/test"))
        assert (await node.reader.state(FILE)).state == "pending"

    async def test_a_closing_whose_closer_died_is_finished(self, world: World, node: Node) -> None:
        await upload_gap(world)
        await node.cancel()
        (found,) = await node.janitor.sweep(await store_time(world.temp), needs=NUDGES, dry_run=False)
        assert found.need is Need.CLOSING
        await node.assembler.handle(found.event("/test"))
        assert await world.keys() == []


class TestGarbage:
    async def test_a_dry_run_finds_the_same_and_changes_nothing(self, world: World, node: Node) -> None:
        await upload_gap(world)
        await world.store_chunk(GONE, 0, b"abcd")
        await world.temp.put(fact_key(FILE, "20-dead", "writer/x"), b"")
        before, told = await world.keys(), len(world.events)
        found = await clean(world, node, dry_run=True)
        assert found == [Need.STALE, Need.DEAD_FACTS, Need.ORPHANS]
        assert (await world.keys(), len(world.events)) == (before, told)
        assert await clean(world, node) == found

    async def test_chunks_without_a_session_are_deleted_once_they_are_old(self, world: World, node: Node) -> None:
        await world.store_chunk(GONE, 0, b"abcd")
        now = await store_time(world.temp)
        await node.janitor.sweep(now + STALE - 5, dry_run=False)
        assert len(await world.left()) == 1
        assert await clean(world, node) == [Need.ORPHANS]
        assert await world.left() == []

    async def test_a_young_chunk_among_old_orphans_stays(self, world: World, node: Node) -> None:
        await world.store_chunk(GONE, 0, b"abcd")
        now = await store_time(world.temp)

        async def arrive() -> None:
            await world.store_chunk(GONE, 4, b"efgh")
            age(world, -100, "0000000000000004")

        node.hooks.on("list", chunks_prefix(FILE, GONE), arrive)
        await node.janitor.sweep(now + STALE + 5, dry_run=False)
        assert [key.rsplit("/")[-1][:16] for key in await world.left()] == ["0000000000000004"]

    async def test_chunks_of_a_session_that_is_open_after_all_stay(self, world: World, node: Node) -> None:
        """The two listings are not of one moment."""
        await world.store_chunk(GONE, 0, b"abcd")

        async def open_it() -> None:
            await world.temp.put(fact_key(FILE, GONE, "open"), b"{}")

        node.hooks.on("list", chunks_prefix(FILE, GONE), open_it)
        assert await clean(world, node) == [Need.ORPHANS]
        assert any(key.startswith("chunks/") for key in await world.left())

    async def test_nothing_is_deleted_while_the_file_is_closing(self, world: World, node: Node) -> None:
        await world.store_chunk(GONE, 0, b"abcd")
        await world.temp.put(fact_key(FILE, "20-dead", "writer/x"), b"")

        async def close() -> None:
            await world.temp.put(fact_key(FILE, "20-new", closing_fact("park")), b"")

        node.hooks.on("list", "sessions/", close, when="after")
        before = await world.left()
        assert await clean(world, node) == [Need.DEAD_FACTS, Need.ORPHANS]
        assert set(before) < set(await world.left())

    async def test_dead_facts_go_and_with_them_their_multipart_uploads(self, world: World, node: Node) -> None:
        upload = await world.perm.create_multipart(file_key(FILE), part_size=PART)
        for fact in (assembly_fact(upload), "writer/x"):
            await world.temp.put(fact_key(FILE, "20-dead", fact), b"")
        await node.janitor.sweep(await store_time(world.temp) + STALE - 5, dry_run=False)
        assert len(await world.left()) == 2
        assert await clean(world, node) == [Need.DEAD_FACTS]
        assert await world.left() == []
        assert world.open_uploads() == []

    async def test_facts_that_somebody_else_deleted_meanwhile_are_no_error(self, world: World, node: Node) -> None:
        key = fact_key(FILE, "20-dead", "writer/x")
        await world.temp.put(key, b"")

        async def vanish() -> None:
            await world.temp.delete_many([key])

        node.hooks.on("list", "log.bin/", vanish)
        assert await clean(world, node) == [Need.DEAD_FACTS]

    async def test_other_files_are_left_alone(self, world: World, node: Node) -> None:
        await node.send(0, b"abcd", TOTAL, file=FILE._replace(filename="log.bin-"))
        before = await world.left()
        await world.store_chunk(GONE, 0, b"abcd")
        await clean(world, node)
        assert await world.left() == before


async def test_it_sweeps_for_stalled_uploads_often_and_for_everything_now_and_then(world: World, node: Node) -> None:
    await world.store_chunk(GONE, 0, b"abcd")
    started, cleaned = world.clock.now, list[float]()

    class Enough(BaseException):
        pass

    async def note() -> None:
        cleaned.append(world.clock.now - started)
        await world.store_chunk(GONE, 0, b"abcd")

    async def stop_in_the_end() -> None:
        age(world, STALE + 60)
        if world.clock.now - started > 1000:
            raise Enough

    node.hooks.on("delete_many", "chunks/", note, when="after", times=99)
    node.hooks.on("list", "sessions/", stop_in_the_end, times=999)
    node.hooks.fail("list", "chunks/")
    with pytest.raises(Enough):
        await sweep_forever(node.janitor, cleanup_interval=300, recovery_interval=60)
    assert cleaned == [60, 360, 660, 960]


async def test_a_sweep_that_fails_for_any_reason_is_not_the_last(world: World, node: Node) -> None:
    swept = asyncio.Event()

    async def fail() -> None:
        raise RuntimeError("something unforeseen")

    node.hooks.on("list", "sessions/", fail)
    node.hooks.on("list", "chunks/", _setting(swept))
    sweeping = asyncio.create_task(sweep_forever(node.janitor, cleanup_interval=60, recovery_interval=60))
    try:
        await asyncio.wait_for(swept.wait(), 5)
    finally:
        sweeping.cancel()


def _setting(event: asyncio.Event) -> Act:
    async def act() -> None:
        event.set()

    return act


def age(world: World, seconds: float, part: str = "") -> None:
    """Let everything in the temporary bucket be so much older."""
    for path in (world.root / "temp").rglob("*"):
        if path.is_file() and ".hiper" not in path.parts and part in path.name:
            times = path.stat().st_mtime - seconds
            os.utime(path, (times, times))


@pytest.mark.parametrize("dry_run", [True, False])
async def test_the_command_prints_what_it_finds_and_with_dry_run_does_nothing(
    world: World, node: Node, dry_run: bool
) -> None:
    await upload_gap(world)
    age(world, 7200)
    other = FileId("device-2", "b.bin")
    await world.store_chunk(GONE, 0, b"abcd", other)
    before = await world.keys()
    environment = {
        "PATH": os.environ["PATH"],
        "TEMP_UPLOAD_DIR": str(world.root / "temp"),
        "PERM_UPLOAD_DIR": str(world.root / "perm"),
        "STALE_THRESHOLD": "0.001",
    }
    command = [sys.executable, "-m", "services.janitor", "--once", *(["--dry-run"] if dry_run else [])]
    done = await asyncio.to_thread(
        subprocess.run, command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    session = (await world.look()).open[0].id
    assert sorted(line.partition(" (")[0] for line in done.stdout.splitlines()) == [
        "orphaned chunks: device-2/b.bin",
        "stale: device-1/log.bin",
    ]
    assert f"(session {session}): no chunk for " in done.stdout
    gone = [] if dry_run else [key for key in before if GONE in key]
    assert await world.keys() == [key for key in before if key not in gone]


async def test_a_store_that_is_away_ends_a_sweep(node: Node) -> None:
    node.hooks.fail("list")
    with pytest.raises(StoreUnavailable):
        await node.janitor.sweep(0, dry_run=False)
