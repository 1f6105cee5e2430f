"""Which objects hold which bytes is derived by listing, at a cost that does not grow with what is assembled."""

from collections.abc import AsyncIterator, Iterable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from libs.common import layout
from libs.common.extents import Extent, Extents
from libs.common.gather import (
    Piece,
    Source,
    checked_digest,
    chunks_outside,
    complete_file,
    coverage,
    find_assembly,
    full_parts,
    gather,
    partial_runs,
    plan,
    read_pieces,
    take_stock,
)
from libs.common.layout import (
    assembly_fact,
    chunk_key,
    digests_prefix,
    fact_key,
    file_key,
    partials_prefix,
    run_key,
)
from libs.common.look import look
from libs.common.store import ObjectNotFound, ObjectStore, StoreUnavailable
from libs.common.store.filesystem import FilesystemStore
from tests.unit.core.world import FILE, World, content, open_world

PART = 8  # bytes
SESSION = "40-aaaaaaaa00"
SHA = "0123456789abcdef"


@pytest.fixture(autouse=True)
def _small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(layout, "MIN_PART_SIZE", PART)


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    async with open_world(tmp_path) as opened:
        yield opened


class TestPlan:
    """Of two sources of one byte the partial file counts, then the older object, then the smaller key."""

    store: ObjectStore = FilesystemStore(Path("unused"))

    def source(self, start: int, end: int, modified: float = 0, key: str = "a", digest: str = SHA) -> Source:
        return Source(Extent(start, end), self.store, key, modified, SESSION, digest)

    def chosen(self, sources: Iterable[Source], wanted: Extent) -> str | None:
        """The key that each byte is read from, as one letter each."""
        pieces = plan(list(sources), wanted)
        if pieces is None:
            return None
        assert [at for piece in pieces for at in range(*piece.extent)] == list(range(*wanted))
        return "".join(piece.source.key * piece.extent.length for piece in pieces)

    def test_bytes_of_the_partial_file_come_before_any_chunk(self) -> None:
        partial = self.source(2, 6, modified=99, key="p", digest="")
        assert self.chosen([self.source(0, 8), partial], Extent(0, 8)) == "aappppaa"

    def test_the_older_object_comes_first_and_of_two_equally_old_the_smaller_key(self) -> None:
        old, new, same = self.source(0, 4, 1, "o"), self.source(2, 8, 2, "n"), self.source(3, 8, 2, "m")
        assert self.chosen([new, old, same], Extent(0, 8)) == "oooommmm"
        assert self.chosen([new, old, same], Extent(1, 4)) == "ooo"
        assert self.chosen([new, same], Extent(2, 8)) == "nmmmmm"

    def test_bytes_that_are_not_all_there_have_no_plan(self) -> None:
        assert self.chosen([self.source(0, 3), self.source(4, 8)], Extent(0, 8)) is None
        assert self.chosen([], Extent(5, 5)) == ""

    @given(
        made=st.lists(st.tuples(st.integers(0, 12), st.integers(1, 8), st.integers(0, 3), st.booleans()), max_size=8),
        start=st.integers(0, 8),
        length=st.integers(0, 8),
    )
    def test_each_byte_is_read_from_the_first_that_holds_it(
        self, made: list[tuple[int, int, int, bool]], start: int, length: int
    ) -> None:
        sources = [
            self.source(a, a + n, modified, chr(65 + i), SHA if chunk else "")
            for i, (a, n, modified, chunk) in enumerate(made)
        ]
        ranked = sorted(sources, key=lambda source: (source.digest != "", source.modified, source.key))
        wanted = Extent(start, start + length)
        naive = [next((s.key for s in ranked if s.extent.start <= at < s.extent.end), "") for at in range(*wanted)]
        assert self.chosen(sources, wanted) == (None if "" in naive else "".join(naive))


class TestGathering:
    async def test_chunks_come_in_order_and_assembled_parts_are_jumped_over(self, world: World) -> None:
        await world.temp.put(fact_key(FILE, SESSION, "open"), b"{}")
        for start in range(0, 40, 2):
            await world.store_chunk(SESSION, start, b"xy")
        node = world.node()
        for assembled, lists in (((), 1), ((0, 1, 2), 1), ((1, 2), 2), ((0, 2, 4), 3), (range(5), 1)):
            before = node.hooks.count("list")
            found = [s.extent.start async for s in chunks_outside(node.buckets.temp, FILE, SESSION, assembled)]
            assert found == [start for start in range(0, 40, 2) if start // PART not in assembled]
            assert node.hooks.count("list") - before == lists

    async def test_chunks_are_listed_before_partials_for_a_closing_writes_these_first(self, world: World) -> None:
        await world.temp.put(fact_key(FILE, SESSION, "open"), b"{}")
        node = world.node()
        await gather(node.buckets, await world.look())
        prefixes = [call.key.partition("/")[0] for call in node.hooks.calls]
        assert prefixes == ["chunks", "partials"]

    async def test_a_partial_file_of_another_size_is_none_of_this_upload(self, world: World) -> None:
        for session in ("40-old", "41-old"):
            await world.perm.put(run_key(partials_prefix(FILE, session), Extent(0, 3)), b"abc")
        await world.temp.put(fact_key(FILE, SESSION, "open"), b"{}")
        assert [run.session for run in await partial_runs(world.perm, FILE)] == ["40-old", "41-old"]
        assert [source.session for source in await gather(world.buckets, await world.look())] == ["40-old"]

    async def test_a_purged_upload_counts_for_nothing(self, world: World) -> None:
        await world.temp.put(fact_key(FILE, SESSION, "open"), b"{}")
        assert await find_assembly(world.perm, await world.look()) is None
        upload = await world.perm.create_multipart(file_key(FILE), part_size=PART)
        await world.perm.put_part(file_key(FILE), upload, 1, b"12345678")
        await world.temp.put(fact_key(FILE, SESSION, assembly_fact(upload)), b"")
        assembly = await find_assembly(world.perm, await world.look())
        assert assembly is not None
        assert (assembly.upload_id, list(assembly.parts)) == (upload, [0])
        assert (await take_stock(world.buckets, await world.look())).durable == Extents([Extent(0, 8)])
        await world.perm.abort_multipart(file_key(FILE), upload)
        assert await find_assembly(world.perm, await world.look()) is None

    async def test_a_plan_is_read_in_the_order_of_the_file(self, world: World) -> None:
        await world.temp.put(fact_key(FILE, SESSION, "open"), b"{}")
        data = content(8)
        for start, end in ((3, 8), (0, 5)):
            await world.store_chunk(SESSION, start, data[start:end])
        sources = await gather(world.buckets, await world.look())
        pieces = plan(sources, Extent(1, 7)) or []
        assert b"".join([block async for block in read_pieces(pieces)]) == data[1:7]
        await world.temp.delete_many([sources[0].key])
        with pytest.raises(ObjectNotFound):
            [block async for block in read_pieces(pieces)]

    async def test_a_store_that_sends_too_few_bytes_is_noticed(self, world: World) -> None:
        """One that says nothing of their number, and closes the connection."""
        await world.temp.put("chunks/short", b"abc")
        for extents in ([Extent(0, 4)], [Extent(0, 2), Extent(2, 6)]):
            pieces = [Piece(extent, Source(extent, world.temp, "chunks/short", 0.0, "", "d")) for extent in extents]
            with pytest.raises(StoreUnavailable, match="missing"):
                [block async for block in read_pieces(pieces)]

    async def test_what_is_not_there_is_not_complete_and_has_no_digest(self, world: World) -> None:
        assert await complete_file(world.perm, FILE) is None
        assert await checked_digest(world.perm, FILE, SESSION) == ""
        await world.perm.put(f"{digests_prefix(FILE, SESSION)}{'0f' * 32}", b"")
        assert await checked_digest(world.perm, FILE, SESSION) == "0f" * 32
        assert await checked_digest(world.perm, FILE, "40-other") == ""

    def test_a_part_is_full_if_every_byte_is_covered_and_the_last_may_be_short(self) -> None:
        covered = Extents([Extent(0, 9), Extent(16, 20)])
        assert full_parts(20, covered, range(9)) == [0, 2]
        assert coverage([]) == Extents()


async def test_50000_chunks_that_are_assembled_cost_no_more_calls_than_10(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The offset of a file is known from its multipart upload, whoever asks and however cold."""
    monkeypatch.setattr(layout, "MIN_PART_SIZE", 5000)
    costs = {}
    for chunk in (5000, 1):
        file = FILE._replace(filename=f"in chunks of {chunk}")
        await assembled_upload(world, file, total=50_001, chunk=chunk)
        node = world.node()
        durable, sources, _ = await take_stock(node.buckets, await look(world.temp, file, world.clock))
        assert (durable, sources) == (Extents([Extent(0, 50_000)]), [])
        assert (await node.reader.state(file)).offset == 50_000
        assert (await node.send(50_000, b"x", 50_001, file=file)).offset == 50_001
        costs[chunk] = len(node.hooks.calls)
    assert costs[1] == costs[5000] < 25


async def assembled_upload(world: World, file: layout.FileId, total: int, chunk: int) -> None:
    """An upload with all parts assembled but the last; its chunks are written past the store, which syncs each."""
    session = layout.new_session(total)
    await world.temp.put(fact_key(file, session, "open"), b"{}")
    for start in range(0, total - 1, chunk):
        path = world.root / "temp" / chunk_key(file, session, Extent(start, start + chunk), SHA)
        if start % 5000 == 0:
            path.parent.mkdir(parents=True)
        path.write_bytes(b"x" * chunk)
    upload = await world.perm.create_multipart(file_key(file), part_size=5000)
    await world.temp.put(fact_key(file, session, assembly_fact(upload)), b"")
    for number in range(1, 11):
        await world.perm.put_part(file_key(file), upload, number, b"x" * 5000)
