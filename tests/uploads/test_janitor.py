"""The janitor nudges, and deletes only what no reader could want, after looking again."""

import asyncio
import os
import subprocess
import sys
from pathlib import Path

import pytest

from libs.common.bus.events import SessionStale, SessionStalled
from libs.common.storage import StoreUnavailable
from libs.common.uploads.layout import FileId, file_key
from libs.common.uploads.sweeping import NUDGES, Need, store_time
from services.janitor.app import sweep_forever
from tests.uploads.hooked_store import Act, Crash
from tests.uploads.uploads import DATA, TOTAL, upload_gap
from tests.uploads.world import AGES, FILE, STALE, Node, World

GONE = "0123456789abcdef"  # a session that is over
ROOT = Path(__file__).parents[2]


async def sweep(world: World, node: Node, *, dry_run: bool = False) -> list[Need]:
    return [found.need for found in await node.janitor.sweep(await store_time(world.temp), dry_run=dry_run)]


class TestNudges:
    async def test_what_needs_the_assembler_is_told_and_not_touched(self, world: World, node: Node) -> None:
        await upload_gap(world)
        before = await world.keys()
        world.events.clear()
        for seconds in (AGES.grace + 1, STALE + 1):
            await world.clock.sleep(seconds)
            await sweep(world, node)
        assert [type(event) for event in world.events] == [SessionStalled, SessionStale]
        assert {event.source for event in world.events} == {"/hiper/janitor"}
        assert await world.keys() == before

    async def test_a_sweep_for_stalled_uploads_leaves_the_rest_for_later(self, world: World, node: Node) -> None:
        await upload_gap(world)
        await world.store_chunk(GONE, 0, b"abcd")
        now = await store_time(world.temp)
        assert await node.janitor.sweep(now + STALE + 5, needs=NUDGES, dry_run=False) == []
        assert any(GONE in key for key in await world.left())

    async def test_a_stale_upload_that_went_on_meanwhile_is_not_parked(self, world: World, node: Node) -> None:
        await upload_gap(world)
        await world.clock.sleep(STALE + 60)
        (found,) = await node.janitor.sweep(await store_time(world.temp), dry_run=True)
        await node.send(11, DATA[11:12], TOTAL)
        await node.assembler.handle(found.event("/test"))
        assert (await node.reader.state(FILE)).state == "pending"

    async def test_an_opening_whose_replica_died_is_finished(self, world: World, node: Node) -> None:
        node.hooks.crash(4)  # the swap to `open`
        with pytest.raises(Crash):
            await node.send(0, DATA[:4], TOTAL)
        assert (await world.record()).state == "opening"
        await world.clock.sleep(AGES.grace)
        (found,) = await world.node().janitor.sweep(await store_time(world.temp), needs=NUDGES, dry_run=False)
        await world.node().assembler.handle(found.event("/test"))
        assert (await world.record()).state == "open"


class TestGarbage:
    async def test_a_dry_run_finds_the_same_and_changes_nothing(self, world: World, node: Node) -> None:
        await upload_gap(world)
        await world.store_chunk(GONE, 0, b"abcd")
        await world.clock.sleep(STALE + 5)
        before, told = await world.keys(), len(world.events)
        found = await sweep(world, node, dry_run=True)
        assert found == [Need.GARBAGE, Need.STALE]
        assert (await world.keys(), len(world.events)) == (before, told)
        assert await sweep(world, node) == found

    async def test_chunks_of_a_session_that_opens_while_the_sweep_goes_on_stay(self, world: World, node: Node) -> None:
        """The two listings are not of one moment."""

        async def begin() -> None:
            await world.node().send(0, DATA[:4], TOTAL)

        node.hooks.on("list", "chunks/", begin)
        assert await sweep(world, node) == [Need.GARBAGE]
        assert (await world.node().reader.state(FILE)).offset == 4

    async def test_multipart_uploads_of_an_upload_that_is_over_are_aborted(self, world: World, node: Node) -> None:
        await upload_gap(world)
        assert len(world.open_uploads()) == 1
        await node.cancel()
        assert await sweep(world, node) == [Need.GARBAGE]
        assert world.open_uploads() == []

    async def test_those_that_the_store_purged_itself_are_no_error(self, world: World, node: Node) -> None:
        await upload_gap(world)
        await node.cancel()
        (upload,) = world.open_uploads()
        await world.perm.abort_multipart(file_key(FILE), upload)
        assert await sweep(world, node) == [Need.GARBAGE]
        assert (await world.record()).aborts == ()

    async def test_other_files_are_left_alone(self, world: World, node: Node) -> None:
        await node.send(0, b"abcd", TOTAL, file=FILE._replace(filename="log.bin-"))
        await node.send(0, b"abcd", TOTAL, file=FILE._replace(owner="device-10"))
        before = await world.left()
        await world.store_chunk(GONE, 0, b"abcd")
        assert await sweep(world, node) == [Need.GARBAGE]
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
        if world.clock.now - started > 1000:
            raise Enough

    node.hooks.on("delete_many", "chunks/", note, when="after", times=99)
    node.hooks.on("list", "uploads/", stop_in_the_end, times=999)
    node.hooks.fail("list", "chunks/")
    with pytest.raises(Enough):
        await sweep_forever(node.janitor, cleanup_interval=300, recovery_interval=60)
    assert cleaned == [60, 360, 660, 960]


async def test_a_sweep_that_fails_for_any_reason_is_not_the_last(world: World, node: Node) -> None:
    swept = asyncio.Event()

    async def fail() -> None:
        raise RuntimeError("something unforeseen")

    node.hooks.on("list", "uploads/", fail)
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


def age(world: World, seconds: float) -> None:
    """Let everything in the temporary bucket be so much older, for a process with a clock of its own."""
    for path in (world.root / "temp").rglob("*"):
        if path.is_file() and ".hiper" not in path.parts:
            times = path.stat().st_mtime - seconds
            os.utime(path, (times, times))


@pytest.mark.parametrize("dry_run", [True, False])
async def test_the_command_prints_what_it_finds_and_with_dry_run_does_nothing(
    world: World, node: Node, dry_run: bool
) -> None:
    await upload_gap(world)
    other = FileId("device-2", "b.bin")
    await world.store_chunk(GONE, 0, b"abcd", other)
    age(world, 7200)
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
    session = (await world.record()).session
    assert sorted(line.partition(" (")[0] for line in done.stdout.splitlines()) == [
        "garbage: device-2/b.bin",
        "stale: device-1/log.bin",
    ]
    assert f"(session {session}): no chunk for " in done.stdout
    gone = [] if dry_run else [key for key in before if GONE in key]
    assert await world.keys() == [key for key in before if key not in gone]


async def test_a_store_that_is_away_ends_a_sweep(node: Node) -> None:
    node.hooks.fail("list")
    with pytest.raises(StoreUnavailable):
        await node.janitor.sweep(0, dry_run=False)
