"""What somebody else put into a bucket is left alone, and stops nothing: sweeps, looks, listings, quotas, purges."""

import os

import pytest

from libs.common import layout
from libs.common.allowance import Allowance
from libs.common.clock import SystemClock
from libs.common.extents import Extent
from libs.common.holdings import SECTIONS, holdings, holds_anything
from libs.common.layout import FileId, ForeignKey, fanout, file_key, run_key
from libs.common.store import list_all
from libs.common.sweep import Ages, Need, store_time
from services.assembler.worker import Worker
from services.ingest.listing import FileLister
from services.ingest.quota import Quotas
from services.janitor.sweeping import Janitor
from tests.unit.core.uploads import DATA, TOTAL, upload_gap
from tests.unit.core.world import FILE, STALE, Node, World

OWNER, NAME = FILE
AB = fanout(OWNER)
FACTS, CHUNKS = f"sessions/{AB}/{OWNER}/", f"chunks/{AB}/{OWNER}/"
PARTS_OF_A_PATH = ["README", f"{AB}.txt", f"{AB}/x"]
SESSIONS = ["no-number", "-5-aaaa", "20", "20-", "٢٠-aaaa", f"{'9' * 200}-aaaa", "1e9-a", " 20-aaaa"]
CHUNK_NAMES = ["x", "1-2-3", "-1-2-3", "0000000000000000--0000001-aaaaaaaaaaaaaaaa", f"{'9' * 16}-99999999-{'a' * 16}"]
RUN_NAMES = ["x", "1", "0--5", "-5-5", "a-b", f"{'9' * 16}-5"]
FOREIGN = {
    "temp": [
        *[f"{root}/{rest}" for root in ("sessions", "chunks") for rest in PARTS_OF_A_PATH],
        *[f"{FACTS}{name}" for name in ("x", f"{NAME}/x", f"{NAME}/20-aaaa/nothing", f"{NAME}/20-aaaa/closing/now")],
        *[f"{FACTS}{NAME}/{session}/open" for session in SESSIONS],
        *[f"{CHUNKS}{NAME}/{session}/00000/{0:016d}-{4:08d}-{'a' * 16}" for session in SESSIONS],
        *[f"{CHUNKS}{NAME}/20-aaaa/00000/{name}" for name in CHUNK_NAMES],
        f"{CHUNKS}{NAME}/20-aaaa/-0001/{0:016d}-{4:08d}-{'a' * 16}",
        f"{CHUNKS}{NAME}/20-aaaa/00001/{0:016d}-{4:08d}-{'a' * 16}",  # not the part of these bytes
        f"{FACTS}{NAME}/20-aaaa/digest/sha-256/zz",
        f"sessions/zz/{OWNER}/{NAME}/20-aaaa/open",  # not where this owner's keys are
        f"sessions/{fanout('a b')}/a b/{NAME}/20-aaaa/open",
        f"{FACTS}e\u0301/20-aaaa/open",  # not NFC: no device can name it
        f"{FACTS}a\tb/20-aaaa/open",
    ],
    "perm": [
        *[f"{root}/{rest}" for root in ("files", "partials", "rejected", "digests") for rest in ("README", "x/y/z")],
        *[f"files/{OWNER}/{name}" for name in ("photos/summer.jpg", "a\tb", "e\u0301")],
        *[f"{root}/{OWNER}/{NAME}/{s}/{0:016d}-5" for root in ("partials", "rejected") for s in SESSIONS],
        *[f"{root}/{OWNER}/{NAME}/20-aaaa/{name}" for root in ("partials", "rejected") for name in RUN_NAMES],
        f"digests/{OWNER}/{NAME}/20-aaaa/sha-256/zz",
    ],
}


@pytest.fixture
async def littered(world: World) -> list[str]:
    """Every foreign key, in the place where the programs look for their own."""
    for name, keys in FOREIGN.items():
        for key in keys:
            await getattr(world, name).put(key, b"what")
    return sorted(await world.keys())


@pytest.mark.parametrize(
    "key",
    [*FOREIGN["temp"], *FOREIGN["perm"], FACTS, f"{FACTS}{NAME}/", f"files/{OWNER}/", f"partials/{OWNER}/", ""],
)
def test_no_foreign_key_is_read_as_one_of_ours(key: str) -> None:
    parsers = [layout.parse_session_key, layout.parse_chunk_key, layout.parse_run_key, layout.parse_file_key]
    for parse in parsers:
        with pytest.raises(ForeignKey):
            parse(key)


async def test_a_sweep_of_the_janitor_reaches_every_file_and_deletes_nothing_foreign(
    world: World, node: Node, littered: list[str]
) -> None:
    await upload_gap(world)
    await world.store_chunk(f"{TOTAL}-gone", 0, DATA[:4], FileId("zz", "last"))
    janitor: Janitor = node.janitor
    found = await janitor.sweep(await store_time(world.temp) + STALE + 5, dry_run=False)
    assert {(finding.need, finding.file) for finding in found} == {
        (Need.STALE, FILE),
        (Need.ORPHANS, FileId("zz", "last")),
    }
    assert set(littered) <= set(await world.keys())


async def test_the_assembler_sweeps_by_itself_past_them(world: World, node: Node, littered: list[str]) -> None:
    other = FileId("zz", "last")
    await node.send_all(DATA, file=other)
    await Worker(node.assembler, world.buckets, world.bus, SystemClock(), Ages(STALE, 0.0, STALE)).recover()
    assert await world.final(other) == DATA
    assert set(littered) <= set(await world.keys())


async def test_an_upload_of_that_very_name_is_completed(world: World, node: Node, littered: list[str]) -> None:
    await node.send_all(DATA)
    await node.work()
    assert await world.final() == DATA
    assert (await node.reader.state(FILE)).state == "complete"


async def test_an_upload_of_that_very_name_is_parked_and_resumed(world: World, node: Node, littered: list[str]) -> None:
    await node.send(0, DATA[:4], TOTAL)
    await node.park()
    assert (await node.reader.state(FILE)).offset == 4
    await node.send_all(DATA)
    await node.work()
    assert await world.final() == DATA


async def test_listings_quotas_and_purges_count_only_what_is_ours(world: World, littered: list[str]) -> None:
    buckets = world.buckets
    assert (await FileLister(buckets).page(OWNER, 100, None, None)).items == []
    assert not await holds_anything(buckets, OWNER)
    await Quotas(buckets, world.clock).admit(FILE, 20, Allowance(open_uploads=1, stored_bytes=20))

    await world.perm.put(file_key(FILE), b"ours")
    rejected = run_key(layout.rejected_prefix(FileId(OWNER, "bad"), "20-aaaa"), Extent(0, 5))
    await world.perm.put(rejected, b"bytes")
    assert [item.filename for item in (await FileLister(buckets).page(OWNER, 100, None, None)).items] == [NAME]
    held = [held.filename for section in SECTIONS async for held in holdings(buckets, OWNER, section)]
    assert held == ["bad", NAME]


async def test_every_page_of_a_listing_has_a_next_one_that_is_taken(world: World, littered: list[str]) -> None:
    names = ["a.bin", "m.bin", "z.bin"]
    for name in names:
        await world.perm.put(file_key(FileId(OWNER, name)), b"ours")
    lister, found, after = FileLister(world.buckets), list[str](), None
    while True:
        page = await lister.page(OWNER, 1, after, None)
        found += [item.filename for item in page.items]
        if (after := page.next) is None:
            break
    assert found == names


async def test_a_folder_whose_name_is_no_text_stops_no_listing_of_the_directory_store(world: World) -> None:
    strange = bytes(world.root / "temp" / "sessions") + b"/\xff\xfe"
    os.makedirs(strange)  # noqa: PTH103  # pathlib takes no bytes
    os.close(os.open(strange + b"/file", os.O_CREAT))
    (world.root / "temp" / "sessions" / "x").touch()
    assert [info.key for info in await list_all(world.temp, "sessions/")] == ["sessions/x"]
