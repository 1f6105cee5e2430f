"""What somebody else put into a bucket is left alone, and stops nothing: sweeps, looks, listings, quotas, purges."""

import os

import pytest

from libs.common.clock import SystemClock
from libs.common.files.extents import Extent
from libs.common.problems import Kind
from libs.common.security.allowance import Allowance
from libs.common.storage import list_all
from libs.common.uploads import layout
from libs.common.uploads.holdings import SECTIONS, holdings, holds_anything
from libs.common.uploads.layout import FileId, ForeignKey, fanout, file_key, record_key, rejected_key, run_key
from libs.common.uploads.record import Record
from libs.common.uploads.runs import UNNAMED
from libs.common.uploads.sweeping import Ages, Need, store_time
from services.assembler.worker import Worker
from services.ingest.listing import FileLister, Wanted
from services.ingest.quota import Quotas
from tests.uploads.uploads import DATA, TOTAL, upload_gap
from tests.uploads.world import FILE, STALE, Node, World, refused

OWNER, NAME = FILE
AB = fanout(OWNER)
GONE = "0123456789abcdef"  # a session that is over
RECORDS, CHUNKS = f"uploads/{AB}/{OWNER}/", f"chunks/{AB}/{OWNER}/"
CHUNK = f"{0:016d}-{4:08d}-{'a' * 16}"
PARTS_OF_A_PATH = ["README", f"{AB}.txt", f"{AB}/x", f"{AB}/{OWNER}/x"]
SESSIONS = ["", "20", "gone", GONE[:-1], f"{GONE}0", GONE.upper(), "٢" * 16, f" {GONE[1:]}"]
CHUNK_NAMES = ["x", "1-2-3", "-1-2-3", f"{0:016d}--0000001-{'a' * 16}", f"{0:016d}-{4:08d}-{'z' * 16}", f"{CHUNK}.tmp"]
RUN_NAMES = ["x", "1", "0--5", "-5-5", "a-b", f"{'9' * 16}-5", f"{0:016d}-5-xxxxxxxx", f"{0:016d}-5-aaaaaaaa/x"]
FOREIGN = {
    "temp": [
        *[f"{root}/{rest}" for root in ("uploads", "chunks") for rest in PARTS_OF_A_PATH],
        *[f"{RECORDS}{name}" for name in ("y/record", "y/=record.tmp", "=record", "z/=record/y")],
        *[f"{CHUNKS}{NAME}/={session}/00000/{CHUNK}" for session in SESSIONS],
        *[f"{CHUNKS}{NAME}/={GONE}/00000/{name}" for name in CHUNK_NAMES],
        *[f"{CHUNKS}{NAME}/={GONE}/{part}/{CHUNK}" for part in ("-0001", "0", "000000", "x")],
        f"{CHUNKS}{NAME}/{GONE}/00000/{CHUNK}",
        f"uploads/zz/{OWNER}/{NAME}/=record",  # not where this owner's keys are
        f"uploads/{fanout('a b')}/a b/{NAME}/=record",
        f"{RECORDS}e\u0301/=record",  # not NFC: no device can name it
        f"{RECORDS}a\tb/=record",
    ],
    "perm": [
        *[f"{root}/{rest}" for root in ("files", "partials", "rejected") for rest in ("README", "a b/y", "x/a\tb")],
        *[f"files/{OWNER}/{name}" for name in ("a\tb", "e\u0301", "=x")],
        *[f"{root}/{OWNER}/{NAME}/={s}/{0:016d}-5-aaaaaaaa" for root in ("partials", "rejected") for s in SESSIONS],
        *[f"{root}/{OWNER}/{NAME}/={GONE}/{name}" for root in ("partials", "rejected") for name in RUN_NAMES],
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
    [*FOREIGN["temp"], *FOREIGN["perm"], RECORDS, f"{RECORDS}{NAME}/", f"files/{OWNER}/", f"partials/{OWNER}/", ""],
)
def test_no_foreign_key_is_read_as_one_of_ours(key: str) -> None:
    parsers = [layout.parse_record_key, layout.parse_chunk_key, layout.parse_run_key, layout.parse_file_key]
    for parse in parsers:
        with pytest.raises(ForeignKey):
            parse(key)


async def test_a_sweep_of_the_janitor_reaches_every_file_and_deletes_nothing_foreign(
    world: World, node: Node, littered: list[str]
) -> None:
    await upload_gap(world)
    last = FileId("zz", "last")
    await world.store_chunk(GONE, 0, DATA[:4], last)
    found = await node.janitor.sweep(await store_time(world.temp) + STALE + 5, dry_run=False)
    assert {(finding.need, finding.file) for finding in found} == {(Need.STALE, FILE), (Need.GARBAGE, last)}
    await node.work()
    assert set(littered) <= set(await world.keys())
    assert not any("last" in key for key in await world.left())


async def test_the_assembler_sweeps_by_itself_past_them(world: World, node: Node, littered: list[str]) -> None:
    other = FileId("zz", "last")
    await node.send_all(DATA, file=other)
    await Worker(node.assembler, world.buckets, world.bus, SystemClock(), Ages(STALE, 0.0, STALE)).recover()
    assert await world.final(other) == DATA
    assert set(littered) <= set(await world.keys())


async def test_a_record_that_cannot_be_read_stops_nothing_but_its_own_name(world: World, node: Node) -> None:
    damaged = FileId(OWNER, "damaged")
    session = (await node.send(0, DATA[:4], TOTAL, file=damaged)).session
    await world.perm.put(run_key(damaged, session, Extent(4, 8)), DATA[4:8])
    await world.temp.put(record_key(damaged), b"by hand")
    before = await world.keys()
    await upload_gap(world)
    await world.clock.sleep(STALE + UNNAMED)
    found = await node.janitor.sweep(await store_time(world.temp), dry_run=False)
    assert [finding.file for finding in found] == [FILE]
    assert set(before) <= set(await world.keys())
    assert [item.filename for item in (await FileLister(world.buckets).page(Wanted(OWNER), 100, None)).items] == [NAME]
    await Quotas(world.buckets, world.clock).admit(FileId(OWNER, "new"), 20, Allowance(open_uploads=2))
    full = Quotas(world.buckets, world.clock).admit(FileId(OWNER, "new"), 20, Allowance(open_uploads=1))
    await refused(Kind.TOO_MANY_UPLOADS, full)


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
    assert (await FileLister(buckets).page(Wanted(OWNER), 100, None)).items == []
    assert not await holds_anything(buckets, OWNER)
    await Quotas(buckets, world.clock).admit(FILE, 20, Allowance(open_uploads=1, stored_bytes=20))

    await world.perm.put(file_key(FILE), b"ours")
    bad = FileId(OWNER, "bad")
    await world.perm.put(rejected_key(bad, GONE, Extent(0, 5)), b"bytes")
    record = Record(state="closed", version="", rejected="wrong", kept=(GONE,))
    await world.temp.put(record_key(bad), record.model_dump_json().encode())
    assert [item.filename for item in (await FileLister(buckets).page(Wanted(OWNER), 100, None)).items] == [NAME, "bad"]
    held = [held.filename for section in SECTIONS async for held in holdings(buckets, OWNER, section)]
    assert held == ["bad", NAME]


async def test_every_page_of_a_listing_has_a_next_one_that_is_taken(world: World, littered: list[str]) -> None:
    names = ["a.bin", "m.bin", "z.bin"]
    for name in names:
        await world.perm.put(file_key(FileId(OWNER, name)), b"ours")
    lister, found, after = FileLister(world.buckets), list[str](), None
    while True:
        page = await lister.page(Wanted(OWNER), 1, after)
        found += [item.filename for item in page.items]
        if (after := page.next) is None:
            break
    assert found == names


async def test_a_folder_whose_name_is_no_text_stops_no_listing_of_the_directory_store(world: World) -> None:
    strange = bytes(world.root / "temp" / "uploads") + b"/\xff\xfe"
    os.makedirs(strange)  # noqa: PTH103  # pathlib takes no bytes
    os.close(os.open(strange + b"/file", os.O_CREAT))
    (world.root / "temp" / "uploads" / "x").touch()
    assert [info.key for info in await list_all(world.temp, "uploads/")] == ["uploads/x"]
