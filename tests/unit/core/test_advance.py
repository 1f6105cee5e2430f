"""Chunks become one object in permanent storage, whatever order they come in and whoever dies."""

import hashlib

import pytest

from libs.common.events import FileCompleted
from libs.common.layout import assembly_fact, closing_fact, digest_fact, fact_key, file_key, new_session
from libs.common.store import ObjectNotFound, UploadNotFound
from tests.unit.core.crashes import crash
from tests.unit.core.hooked_store import Crash
from tests.unit.core.world import FILE, PART, Node, World, content

TOTAL = 20
DATA = content(TOTAL)
DIGEST = hashlib.sha256(DATA).hexdigest()


async def assemblies(world: World) -> set[str]:
    return {upload for session in (await world.look()).open for upload in session.assemblies}


class TestCompleting:
    @pytest.mark.parametrize("total", [0, 1, PART - 1, PART, PART + 1, 2 * PART, 5 * PART - 3])
    async def test_a_file_of_any_size_becomes_one_object_and_leaves_nothing(
        self, world: World, node: Node, total: int
    ) -> None:
        data = content(total)
        await node.send_all(data, 3)
        assert await node.advancer.advance(FILE) is False
        assert await world.final() == data
        assert await world.left() == []
        assert world.open_uploads() == []

    async def test_chunks_may_come_in_any_order_and_cross_parts(self, world: World, node: Node) -> None:
        for start, end in ((13, 20), (5, 9), (0, 2), (8, 14), (1, 6)):
            assert await world.left() == [] or (await world.look()).open
            await node.send(start, DATA[start:end], TOTAL)
            await node.advancer.advance(FILE)
        assert await world.final() == DATA
        assert await world.left() == []

    async def test_what_is_said_of_a_file_when_its_upload_opens_goes_with_it(self, world: World, node: Node) -> None:
        for total in (TOTAL, 4):
            file = FILE._replace(filename=f"{total}.json")
            await node.send(0, content(total), total, file=file, content_type="application/json")
            session = (await world.look(file)).open[0].id
            await node.advancer.advance(file)
            info = await world.perm.stat(file_key(file))
            assert (info.content_type, dict(info.metadata)) == ("application/json", {"session": session})

    async def test_completion_is_told_once_the_object_is_there(self, world: World, node: Node) -> None:
        session = (await node.send_all(DATA)).session
        seen: list[bool] = []
        world.bus.listen(lambda event: seen.append((world.root / "perm" / file_key(FILE)).exists()))
        await node.advancer.advance(FILE)
        (told,) = world.told(FileCompleted)
        assert (told.id, told.data.session, told.data.total_size, told.data.file) == (session, session, TOTAL, FILE)
        assert seen == [True]

    async def test_nothing_happens_without_an_open_upload_or_while_it_is_closing(
        self, world: World, node: Node
    ) -> None:
        await node.advancer.advance(FILE)
        session = (await node.send_all(DATA)).session
        await world.temp.put(fact_key(FILE, session, closing_fact("park")), b"")
        before = await world.keys()
        assert await node.advancer.advance(FILE) is False
        assert await world.keys() == before
        assert world.open_uploads() == []

    async def test_other_files_and_their_chunks_are_left_alone(self, world: World, node: Node) -> None:
        for name in ("log.bin2", "log.bi", "log.bin-"):
            await node.send(0, b"abcd", TOTAL, file=FILE._replace(filename=name))
        before = await world.left()
        await node.send_all(DATA)
        await node.advancer.advance(FILE)
        assert await world.left() == before


class TestParts:
    async def test_a_full_part_is_assembled_once_and_its_chunks_stay(self, world: World, node: Node) -> None:
        await node.send(0, DATA[:12], TOTAL)
        chunks = [key for key in await world.left() if key.startswith("chunks/")]
        for _ in range(3):
            await node.advancer.advance(FILE)
        assert node.hooks.count("put_part") == 1
        assert [key for key in await world.left() if key.startswith("chunks/")] == chunks

    async def test_a_hint_says_where_to_look_and_not_what_is_there(self, world: World, node: Node) -> None:
        await node.send(0, DATA[:15], TOTAL)
        await node.advancer.advance(FILE, [0, 1, 2, 7])
        (upload,) = await assemblies(world)
        assert [part.number for part in await world.perm.list_parts(file_key(FILE), upload)] == [1]
        await node.send(15, DATA[15:], TOTAL)
        await node.advancer.advance(FILE, [1])
        assert [part.number for part in await world.perm.list_parts(file_key(FILE), upload)] == [1, 2]
        await node.advancer.advance(FILE, [2])
        assert await world.final() == DATA

    async def test_an_event_that_was_lost_is_made_good_by_looking_everywhere(self, world: World, node: Node) -> None:
        await node.send_all(DATA)
        await node.advancer.advance(FILE, [2])
        with pytest.raises(ObjectNotFound):
            await world.final()
        await node.advancer.advance(FILE, None)
        assert await world.final() == DATA

    @pytest.mark.parametrize("parts", [1, 2])
    async def test_a_multipart_upload_that_the_store_purged_is_begun_again(
        self, world: World, node: Node, parts: int
    ) -> None:
        await node.send(0, DATA[: parts * PART], TOTAL)
        await node.advancer.advance(FILE)
        (upload,) = await assemblies(world)
        await world.perm.abort_multipart(file_key(FILE), upload)
        await node.send_all(DATA)
        with pytest.raises(UploadNotFound):
            await node.advancer.advance(FILE)
        await node.advancer.advance(FILE)
        assert await world.final() == DATA
        assert await world.left() == []

    async def test_of_two_recorded_uploads_the_smaller_counts_and_only_a_purged_record_is_dropped(
        self, world: World, node: Node
    ) -> None:
        """What is not recorded is never aborted, and could bring an old file back."""
        session = (await node.send(0, DATA[:12], TOTAL)).session
        for _ in range(2):
            upload = await world.perm.create_multipart(file_key(FILE), part_size=PART, metadata={"session": session})
            await world.temp.put(fact_key(FILE, session, assembly_fact(upload)), b"")
        smaller, larger = sorted(await assemblies(world))
        await node.advancer.advance(FILE)
        assert len(await world.perm.list_parts(file_key(FILE), smaller)) == 1
        await world.perm.abort_multipart(file_key(FILE), smaller)
        with pytest.raises(UploadNotFound):
            await node.advancer.advance(FILE)
        assert await assemblies(world) == {larger}
        await node.send(12, DATA[12:], TOTAL)
        await node.work()
        assert await world.final() == DATA
        assert world.open_uploads() == []


class TestDigest:
    async def test_a_right_digest_is_remembered_with_the_file(self, world: World, node: Node) -> None:
        for data in (DATA, DATA[:5], b""):
            file = FILE._replace(filename=str(len(data)))
            digest = hashlib.sha256(data).hexdigest()
            await node.send_all(data, file=file, declared=digest)
            assert await node.advancer.advance(file) is False
            assert (await node.reader.state(file)).sha256 == digest
        assert await world.left() == []

    async def test_a_wrong_digest_marks_the_upload_and_makes_no_file(self, world: World, node: Node) -> None:
        await node.send_all(DATA, declared="00" * 32)
        assert await node.advancer.advance(FILE) is True
        assert (await world.look()).closing == {"reject"}
        with pytest.raises(ObjectNotFound):
            await world.final()

    async def test_a_digest_declared_after_the_file_was_checked_is_not_served_as_checked(
        self, world: World, node: Node
    ) -> None:
        session = (await node.send_all(DATA)).session
        dying = world.node()
        dying.hooks.on("complete_multipart", "", crash, when="after")
        with pytest.raises(Crash):
            await dying.advancer.advance(FILE)
        await world.temp.put(fact_key(FILE, session, digest_fact("00" * 32)), b"")
        await node.work()
        assert (await node.reader.state(FILE)).sha256 == ""


async def test_an_empty_file_is_not_made_again_by_a_session_that_opened_late(world: World, node: Node) -> None:
    """Its digest was checked for the session that made it."""
    await node.send(0, b"", 0, declared=hashlib.sha256(b"").hexdigest())
    await node.work()
    made = await world.perm.stat(file_key(FILE))
    await world.temp.put(fact_key(FILE, new_session(0), "open"), b"")
    await node.advancer.advance(FILE)
    assert await world.perm.stat(file_key(FILE)) == made
    assert await world.left() == []
