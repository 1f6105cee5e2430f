"""What the filesystem store promises beyond the contract (tests/contract/test_store.py)."""

import asyncio
import contextlib
import errno
import fcntl
import hashlib
import json
import os
import resource
import signal
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from libs.common.storage import (
    ConditionFailed,
    Fence,
    FenceExpired,
    ObjectNotFound,
    PartInfo,
    StoreFull,
    StoreUnavailable,
    Stream,
    UploadNotFound,
    _fs_files,
    _fs_folders,
    list_all,
    read,
)
from libs.common.storage._fs_folders import Folder
from libs.common.storage._fs_read import Reader
from libs.common.storage._fs_walk import walk
from libs.common.storage.filesystem import BLOCK, FilesystemStore
from tests.contract.store_keys import key_sets, prefixes, utf8

KEY = "files/vin-1/log.bin"
DAY = 86_400  # seconds


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[FilesystemStore]:
    opened = FilesystemStore(tmp_path)
    await opened.ensure()
    yield opened
    await opened.close()


def temporary_files(root: Path) -> list[Path]:
    return list((root / ".hiper" / "tmp").iterdir())


def data_directories(root: Path) -> list[Path]:
    return [path for path in root.iterdir() if path.name != ".hiper"]


def make_file(path: bytes) -> None:
    os.close(os.open(path, os.O_CREAT))


def open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def age(path: Path, seconds: float) -> None:
    then = time.time() - seconds
    os.utime(path, (then, then))


@contextmanager
def locked(root: Path) -> Iterator[None]:
    """As another process holds the lock."""
    with (root / ".hiper" / "lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


class TestOrder:
    @given(keys=key_sets(), data=st.data())
    @settings(max_examples=100)
    def test_a_walk_is_what_sorting_the_keys_says(
        self, tmp_path_factory: pytest.TempPathFactory, keys: list[str], data: st.DataObject
    ) -> None:
        root = tmp_path_factory.mktemp("walk")
        for key in keys:
            (root / key).parent.mkdir(parents=True, exist_ok=True)
            (root / key).touch()
        whole = data.draw(st.sampled_from(keys))
        prefix = data.draw(st.sampled_from(prefixes(whole)))
        after = data.draw(st.sampled_from(["", *keys, *(key[:-1] for key in keys), "a/", "b-"]))
        found = [found.key for found in walk(os.fsencode(root), prefix, after)]
        expected = [key for key in keys if key.startswith(prefix) and utf8(key) > utf8(after)]
        assert found == sorted(expected, key=utf8)

    def test_only_folders_that_can_hold_a_key_of_the_page_are_read(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        for key in ("a/1/x", "a/2/x", "a/2/y", "ab/x", "b/x"):
            (tmp_path / key).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / key).touch()
        read_folders: list[str] = []
        scandir = os.scandir

        def spying(path: bytes) -> "os._ScandirIterator[bytes]":
            read_folders.append(os.path.relpath(os.fsdecode(path), tmp_path))
            return scandir(path)

        monkeypatch.setattr(os, "scandir", spying)
        assert [found.key for found in walk(os.fsencode(tmp_path), "a/", "a/2/x")] == ["a/2/y"]
        assert read_folders == ["a", "a/2"]

    async def test_what_is_not_the_stores_own_is_not_listed(self, store: FilesystemStore, tmp_path: Path) -> None:
        await store.put("a/mine", b"", metadata={"a": "b"})
        (tmp_path / "a" / "link").symlink_to("mine")
        make_file(os.fsencode(tmp_path) + b"/a/not-\xff-utf8")
        os.mkfifo(tmp_path / "a" / "pipe")
        (tmp_path / ".hiper" / "tmp" / "killed").touch()
        (tmp_path / "a" / ".hiper").touch()
        assert [info.key for info in await list_all(store, "")] == ["a/.hiper", "a/mine"]

    async def test_a_read_that_is_cancelled_again_and_again_ends_before_its_file_is_closed(
        self, store: FilesystemStore, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """As a download is when its client left (anyio cancels until the task ends). The number of a closed file is
        soon another file's."""
        begun, go_on, still_open = threading.Event(), threading.Event(), list[bool]()

        def slow(reader: Reader) -> bytes:
            begun.set()
            go_on.wait(10)
            with contextlib.suppress(OSError):
                still_open.append(bool(os.fstat(reader._fd)))
            return b""

        async def download() -> None:
            async with store.get("a") as blocks:
                async for _ in blocks:
                    monkeypatch.setattr(Reader, "read", slow)

        await store.put("a", bytes(2 * BLOCK))
        task = asyncio.create_task(download())
        await asyncio.to_thread(begun.wait, 10)
        for _ in range(3):
            task.cancel()
            await asyncio.sleep(0.01)
        go_on.set()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert still_open == [True]

    async def test_a_link_is_no_object_and_what_it_leads_to_is_left_alone(
        self, store: FilesystemStore, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
    ) -> None:
        outside = tmp_path_factory.mktemp("outside") / "secret"
        outside.write_bytes(b"secret")
        await store.put("a/mine", b"")
        (tmp_path / "a" / "link").symlink_to(outside)
        with pytest.raises(ObjectNotFound):
            await store.stat("a/link")
        with pytest.raises(ObjectNotFound):
            await read(store, "a/link")
        with pytest.raises(ObjectNotFound):
            await store.put("copy", store.origin("a/link", 6))
        upload = await store.create_multipart("copy", part_size=6)
        with pytest.raises(ObjectNotFound):
            await store.put_part("copy", upload, 1, store.origin("a/link", 6))
        await store.put("a/link", b"mine")
        assert await read(store, "a/link") == b"mine"
        (tmp_path / "a" / "other").symlink_to(outside)
        await store.delete_many(["a/link", "a/other"])
        assert outside.read_bytes() == b"secret"

    async def test_objects_that_vanish_during_the_listing_are_left_out(
        self, store: FilesystemStore, tmp_path: Path
    ) -> None:
        for key in ("a", "b/x", "c"):
            await store.put(key, b"")
        found = walk(os.fsencode(tmp_path), "", "")
        assert next(found).key == "a"
        await store.delete_many(["b/x", "c"])
        assert list(found) == []


class TestAppearing:
    async def test_modified_is_the_moment_of_becoming_visible(self, store: FilesystemStore) -> None:
        half, go_on = asyncio.Event(), asyncio.Event()

        async def blocks() -> AsyncIterator[bytes]:
            yield bytes(2**20)
            half.set()
            await go_on.wait()

        slow = asyncio.create_task(store.put("slow", Stream(2**20, blocks)))
        await half.wait()
        upload = await store.create_multipart("upload", part_size=1)
        part = await store.put_part("upload", upload, 1, b"x")
        await store.put("quick", b"")
        await store.complete_multipart("upload", upload, [part])
        go_on.set()
        await slow
        by_age = sorted(await list_all(store, ""), key=lambda info: info.modified)
        assert [info.key for info in by_age] == ["quick", "upload", "slow"]

    async def test_what_is_copied_stays_as_old_as_it_was(self, store: FilesystemStore) -> None:
        """Of two chunks that contradict, the older one counts."""
        await store.put("chunk", b"abc")
        before = await store.stat("chunk")
        await asyncio.sleep(0.01)
        await store.put("copy", store.origin("chunk", 3), metadata={"session": "1"})
        assert await store.stat("chunk") == before
        assert (await store.stat("copy")).metadata == {"session": "1"}

    async def test_the_bytes_are_durable_before_the_name_and_the_name_before_the_answer(
        self, store: FilesystemStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        steps: list[str] = []
        fsync, link = os.fsync, os.link

        def name_of(path: str) -> str:
            return "temp" if "/tmp/" in path.removeprefix(str(tmp_path)) else os.path.relpath(path, tmp_path)

        def spying_fsync(fd: int) -> None:
            steps.append(f"sync {name_of(str(Path(f'/proc/self/fd/{fd}').readlink()))}")
            fsync(fd)

        def spying_link(source: bytes, name: bytes, *, dst_dir_fd: int, follow_symlinks: bool) -> None:
            folder = Path(f"/proc/self/fd/{dst_dir_fd}").readlink()
            steps.append(
                f"{name_of(str(Path(os.fsdecode(source)).readlink()))} -> {name_of(f'{folder}/{name.decode()}')}"
            )
            link(source, name, dst_dir_fd=dst_dir_fd, follow_symlinks=follow_symlinks)

        monkeypatch.setattr(os, "fsync", spying_fsync)
        monkeypatch.setattr(os, "link", spying_link)
        await store.put("a/b/c", b"x")
        assert steps == ["sync temp", "sync .", "sync a", "temp -> a/b/c", "sync a/b"]
        steps.clear()
        await store.put("a/b/d", b"x")
        assert steps == ["sync temp", "temp -> a/b/d", "sync a/b"]

    async def test_folders_go_with_their_last_object(self, store: FilesystemStore, tmp_path: Path) -> None:
        await store.put("a/b/c", b"", metadata={"x": "y"})
        await store.put("a/d", b"")
        await store.delete_many(["a/b/c"])
        assert [path.name for path in (tmp_path / "a").iterdir()] == ["d"]
        assert list((tmp_path / ".hiper" / "meta").iterdir()) == []
        await store.delete_many(["a/d"])
        assert data_directories(tmp_path) == []

    async def test_a_put_that_its_fence_refuses_leaves_no_folder(self, store: FilesystemStore, tmp_path: Path) -> None:
        with pytest.raises(FenceExpired):
            await store.put("a/b/c", b"", metadata={"x": "y"}, fence=Fence(time.time() - 10))
        assert data_directories(tmp_path) == []
        assert list((tmp_path / ".hiper" / "meta").iterdir()) == []

    @pytest.mark.parametrize(("beside", "synced"), [("a/b/d", "a/b"), ("a/d", "a"), ("d", ".")])
    async def test_a_fenced_delete_is_durable_before_the_answer(
        self, store: FilesystemStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, beside: str, synced: str
    ) -> None:
        """On another disk what follows from it may be durable at once: that a DELETE is done, for one."""
        for key in ("a/b/c", beside):
            await store.put(key, b"")
        steps: list[str] = []
        fsync, unlink = os.fsync, os.unlink

        def spying_fsync(fd: int) -> None:
            steps.append("sync " + os.path.relpath(Path(f"/proc/self/fd/{fd}").readlink(), tmp_path))
            fsync(fd)

        def spying_unlink(path: bytes) -> None:
            if Path(os.fsdecode(path)).exists():
                steps.append("remove " + os.path.relpath(os.fsdecode(path), tmp_path))
            unlink(path)

        monkeypatch.setattr(os, "fsync", spying_fsync)
        monkeypatch.setattr(os, "unlink", spying_unlink)
        await store.delete_many(["a/b/c"], fence=Fence(time.time()))
        assert steps[0] == "remove a/b/c"
        assert f"sync {synced}" in steps

    async def test_a_fenced_delete_below_an_object_deletes_nothing(self, store: FilesystemStore) -> None:
        await store.put("a/b", b"x")
        await store.delete_many(["a/b/c/d"], fence=Fence(time.time()))
        assert await read(store, "a/b") == b"x"

    async def test_no_key_is_the_folder_of_another(self, store: FilesystemStore) -> None:
        await store.put("a/b", b"")
        for key in ("a", "a/b/c"):
            with pytest.raises(ValueError, match="another object's key"):
                await store.put(key, b"")
        assert await read(store, "a/b") == b""

    async def test_a_folder_is_as_it_was_when_an_object_of_its_name_was_refused(self, store: FilesystemStore) -> None:
        await store.put("a/b", b"")
        with pytest.raises(ValueError, match="another object's key"):
            await store.put("a", b"", metadata={"session": "1"})
        await store.put("a/c", b"", metadata={"session": "2"})
        assert (await store.stat("a/c")).metadata == {"session": "2"}

    async def test_a_put_that_is_cancelled_ends_before_it_returns(self, store: FilesystemStore, tmp_path: Path) -> None:
        """Its thread cannot be stopped; nothing may go on behind the caller's back."""
        await store.put("k", b"old")
        with locked(tmp_path):
            put = asyncio.create_task(store.put("k", b"x"))
            await asyncio.sleep(0.1)
            put.cancel()
            await asyncio.sleep(0.1)
            assert not put.done()
        with pytest.raises(asyncio.CancelledError):
            await put
        assert temporary_files(tmp_path) == []


class TestWithoutTheLock:
    """Puts of new keys: chunks, above all."""

    async def test_a_new_key_waits_for_no_lock(self, store: FilesystemStore, tmp_path: Path) -> None:
        with locked(tmp_path):
            await store.put("a/b", b"new")
        assert await read(store, "a/b") == b"new"

    async def test_a_folder_that_another_process_removes_meanwhile_is_made_again(
        self, store: FilesystemStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        link, removed = os.link, list[str]()

        def removing_first(source: bytes, target: bytes, **more: Any) -> None:
            if len(removed) < 3:
                removed.append("a")
                (tmp_path / "a" / "b").rmdir()
                (tmp_path / "a").rmdir()
            link(source, target, **more)

        monkeypatch.setattr(os, "link", removing_first)
        await store.put("a/b/c", b"x")
        assert len(removed) == 3
        assert await read(store, "a/b/c") == b"x"

    async def test_a_folder_that_another_process_made_again_is_durable_before_the_answer(
        self, store: FilesystemStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """That process may not have synced the folder's name yet, and a power cut would take it and what is in it."""
        await store.put("a/b/first", b"")
        (tmp_path / "a" / "b" / "first").unlink()
        link, fsync, steps = os.link, os.fsync, list[str]()

        def making_again_first(source: bytes, target: bytes, **more: Any) -> None:
            if "again" not in steps:
                steps.append("again")
                (tmp_path / "a" / "b").rmdir()
                (tmp_path / "a" / "b").mkdir()
            link(source, target, **more)

        def spying_fsync(fd: int) -> None:
            steps.append(os.path.relpath(Path(f"/proc/self/fd/{fd}").readlink(), tmp_path))
            fsync(fd)

        monkeypatch.setattr(os, "link", making_again_first)
        monkeypatch.setattr(os, "fsync", spying_fsync)
        await store.put("a/b/second", b"")
        assert steps[steps.index("again") :] == ["again", "a", "a/b"]
        assert await read(store, "a/b/second") == b""

    async def test_a_folder_that_this_process_did_not_make_is_synced_before_it_is_built_on(
        self, store: FilesystemStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (tmp_path / "a" / "b").mkdir(parents=True)
        fsync, synced = os.fsync, list[str]()

        def spying_fsync(fd: int) -> None:
            synced.append(os.path.relpath(Path(f"/proc/self/fd/{fd}").readlink(), tmp_path))
            fsync(fd)

        monkeypatch.setattr(os, "fsync", spying_fsync)
        await store.put("a/b/c", b"")
        assert synced[1:] == [".", "a", "a/b"]

    async def test_attributes_that_a_crash_left_are_not_those_of_the_next_object(
        self, store: FilesystemStore, tmp_path: Path
    ) -> None:
        await store.put("k", b"old", metadata={"session": "old"})
        (tmp_path / "k").unlink()
        await store.put("k", b"new")
        assert (await store.stat("k")).metadata == {}

    async def test_a_condition_that_is_checked_under_the_lock_holds_until_the_name_appears(
        self, store: FilesystemStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A put that takes no lock comes between."""
        link, raced = os.link, list[bytes]()

        def after_another(source: bytes, target: bytes, **more: Any) -> None:
            if not raced:
                raced.append(target)
                (tmp_path / "k").write_bytes(b"faster")
            link(source, target, **more)

        monkeypatch.setattr(os, "link", after_another)
        with pytest.raises(ConditionFailed):
            await store.put("k", b"slower", absent=True, metadata={"session": "slower"})
        assert raced
        assert await read(store, "k") == b"faster"
        assert (await store.stat("k")).metadata == {}
        assert temporary_files(tmp_path) == []

    async def test_a_file_system_without_hard_links_keeps_conditions_under_the_lock(
        self, store: FilesystemStore, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def refuses(*_args: object, **_kwargs: object) -> None:
            raise OSError(errno.EPERM, "Operation not permitted")

        monkeypatch.setattr(os, "link", refuses)
        await store.put("a/b", b"1")
        await store.put("k", b"1", absent=True)
        with pytest.raises(ConditionFailed):
            await store.put("k", b"2", absent=True)
        assert (await read(store, "a/b"), await read(store, "k")) == (b"1", b"1")

    async def test_a_process_that_dies_while_it_stores_a_new_object_leaves_no_file(
        self, store: FilesystemStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Its file has no name before it is the object."""
        fsync, seen = os.fsync, list[list[Path]]()

        def looking(fd: int) -> None:
            seen.append(temporary_files(tmp_path))
            fsync(fd)

        monkeypatch.setattr(os, "fsync", looking)
        await store.put("k", b"x")
        assert seen == [[], []]

    async def test_a_file_system_without_unnamed_files_gives_them_names(
        self, store: FilesystemStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.delattr(os, "O_TMPFILE")
        await store.put("a/b", b"x")
        assert await read(store, "a/b") == b"x"
        assert temporary_files(tmp_path) == []

    async def test_more_folders_than_are_held_open(
        self, store: FilesystemStore, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(_fs_folders, "HELD", 4)
        before = open_files()
        for n in range(3 * 8):
            await store.put(f"a/{n % 8}/{n}", b"")
        assert len(await list_all(store, "")) == 24
        assert open_files() <= before + 4 + 1


class TestLock:
    async def test_a_fence_is_looked_at_when_the_lock_is_held(self, store: FilesystemStore, tmp_path: Path) -> None:
        fence = Fence(time.time() - 1.5)
        await store.put("old", b"")
        with locked(tmp_path):
            late = asyncio.gather(
                store.put("new", b"", fence=fence),
                store.delete_many(["old"], fence=fence),
                return_exceptions=True,
            )
            await asyncio.sleep(0.7)
        assert [type(result) for result in await late] == [FenceExpired, FenceExpired]
        assert [info.key for info in await list_all(store, "")] == ["old"]

    async def test_a_fence_is_looked_at_after_everything_that_may_take_long(
        self, store: FilesystemStore, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        durable, calls = store._tree._folders.durable, list[int]()

        def slow_when_the_lock_is_held(path: bytes) -> Folder:
            calls.append(1)
            if len(calls) == 2:
                time.sleep(0.7)
            return durable(path)

        monkeypatch.setattr(store._tree._folders, "durable", slow_when_the_lock_is_held)
        with pytest.raises(FenceExpired):
            await store.put("a/b", b"", fence=Fence(time.time() - 1.5))
        assert await list_all(store, "") == []

    async def test_the_last_room_is_for_small_objects_by_which_a_delete_begins(
        self, store: FilesystemStore, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("libs.common.storage._fs_files.RESERVE", 2**62)
        with pytest.raises(StoreFull):
            await store.put("chunks/a", bytes(100_000))
        await store.put("uploads/a", bytes(500))

    async def test_a_disk_without_room_is_a_store_that_is_full(
        self, store: FilesystemStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def refuse(fd: int) -> None:
            raise OSError(errno.ENOSPC, "No space left on device")

        with monkeypatch.context() as patch:
            patch.setattr(os, "fsync", refuse)
            with pytest.raises(StoreFull, match="ENOSPC"):
                await store.put("a", b"x")
        assert temporary_files(tmp_path) == []
        await store.put("a", b"x")

    async def test_who_holds_the_lock_for_long_makes_the_store_unavailable(
        self, store: FilesystemStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(_fs_files, "LOCK_WAIT", 0.1)
        for key in ("a", "b"):
            await store.put(key, b"")
        with locked(tmp_path):
            results = await asyncio.gather(store.put("a", b""), store.put("b", b""), return_exceptions=True)
        assert [type(result) for result in results] == [StoreUnavailable, StoreUnavailable]
        await store.put("a", b"")
        assert temporary_files(tmp_path) == []


class TestFailures:
    async def test_a_full_disk_makes_the_store_unavailable_and_leaves_nothing(
        self, store: FilesystemStore, tmp_path: Path
    ) -> None:
        async def blocks() -> AsyncIterator[bytes]:
            for _ in range(4):
                yield bytes(2**20)

        upload = await store.create_multipart(KEY, part_size=2**23)
        limits = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (2**20, limits[1]))
        try:
            results = await asyncio.gather(
                store.put("k", bytes(2**21)),
                store.put("k", Stream(2**22, blocks)),
                store.put_part(KEY, upload, 1, bytes(2**21)),
                store.put_part(KEY, upload, 1, Stream(2**22, blocks)),
                return_exceptions=True,
            )
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        assert [str(result) for result in results] == ["EFBIG: File too large"] * 4
        assert all(isinstance(result, StoreUnavailable) for result in results)
        assert temporary_files(tmp_path) == []
        assert list(await store.list_parts(KEY, upload)) == []

    async def test_a_disk_that_is_not_mounted_is_not_an_empty_store(
        self, store: FilesystemStore, tmp_path: Path
    ) -> None:
        upload = await store.create_multipart(KEY, part_size=8)
        await store.put("k", b"")
        (tmp_path / ".hiper").rename(tmp_path / "away")
        (tmp_path / "k").unlink()
        for call in (store.list(""), store.stat("k"), read(store, "k"), store.list_parts(KEY, upload)):
            with pytest.raises(StoreUnavailable, match="not \\(or no longer\\) a store"):
                await call

    async def test_what_a_killed_process_left_is_removed_after_a_day(
        self, store: FilesystemStore, tmp_path: Path
    ) -> None:
        own = tmp_path / ".hiper"
        for name in ("old", "young"):
            (own / "tmp" / name).touch()
        old = await store.create_multipart(KEY, part_size=8)
        young = await store.create_multipart(KEY, part_size=8)
        for path in (own / "tmp" / "old", own / "multipart" / old, *(own / "multipart" / old).iterdir()):
            age(path, DAY + 60)
        age(own / "multipart" / young / "data", DAY + 60)
        await store.ensure()
        assert [path.name for path in temporary_files(tmp_path)] == ["young"]
        assert list(await store.list_parts(KEY, young)) == []
        with pytest.raises(UploadNotFound):
            await store.list_parts(KEY, old)


class TestUploads:
    async def test_half_a_record_is_no_record(self, store: FilesystemStore, tmp_path: Path) -> None:
        upload = await store.create_multipart(KEY, part_size=8)
        first = await store.put_part(KEY, upload, 1, b"12345678")
        with (tmp_path / ".hiper" / "multipart" / upload / "parts").open("ab") as file:
            file.write(b'\n{"number": 2, "si\0\0')
        assert list(await store.list_parts(KEY, upload)) == [first]
        second = await store.put_part(KEY, upload, 2, b"9")
        assert list(await store.list_parts(KEY, upload)) == [first, second]

    async def test_a_completion_that_was_killed_before_it_tidied_up_is_one(
        self, store: FilesystemStore, tmp_path: Path
    ) -> None:
        upload = await store.create_multipart(KEY, part_size=8)
        part = await store.put_part(KEY, upload, 1, b"x")
        (tmp_path / ".hiper" / "multipart" / upload / "data").rename(tmp_path / "visible")
        with pytest.raises(UploadNotFound):
            await store.list_parts(KEY, upload)
        with pytest.raises(UploadNotFound):
            await store.complete_multipart(KEY, upload, [part])

    async def test_a_completion_that_was_killed_between_its_two_names_is_one(
        self, store: FilesystemStore, tmp_path: Path
    ) -> None:
        """No process may write to the data: it is the object now."""
        upload = await store.create_multipart(KEY, part_size=8)
        part = await store.put_part(KEY, upload, 1, b"x")
        (tmp_path / "visible").hardlink_to(tmp_path / ".hiper" / "multipart" / upload / "data")
        for call in (
            store.list_parts(KEY, upload),
            store.put_part(KEY, upload, 1, b"y"),
            store.complete_multipart(KEY, upload, [part], absent=True),
        ):
            with pytest.raises(UploadNotFound):
                await call

    async def test_a_part_longer_than_its_place_is_refused(self, store: FilesystemStore) -> None:
        upload = await store.create_multipart(KEY, part_size=4)
        with pytest.raises(ValueError, match="parts of 4"):
            await store.put_part(KEY, upload, 1, b"12345")

    async def test_only_the_last_part_may_be_short(self, store: FilesystemStore) -> None:
        upload = await store.create_multipart(KEY, part_size=4)
        parts = [await store.put_part(KEY, upload, number, b"12") for number in (1, 2)]
        with pytest.raises(ValueError, match="not those of the upload"):
            await store.complete_multipart(KEY, upload, parts)
        sized = [PartInfo(1, 4, parts[0].etag), parts[1]]
        with pytest.raises(ValueError, match="not those of the upload"):
            await store.complete_multipart(KEY, upload, sized)
        with pytest.raises(ValueError, match="no more"):
            await store.complete_multipart(KEY, upload, [parts[0], PartInfo(2, 3, parts[1].etag)])

    async def test_parts_that_are_not_asked_for_are_not_in_the_object(self, store: FilesystemStore) -> None:
        upload = await store.create_multipart(KEY, part_size=4)
        first = await store.put_part(KEY, upload, 1, b"1234")
        await store.put_part(KEY, upload, 2, b"56")
        await store.complete_multipart(KEY, upload, [first])
        assert await read(store, KEY) == b"1234"

    async def test_a_part_that_was_recorded_is_not_written_again(self, store: FilesystemStore, tmp_path: Path) -> None:
        """So that whoever is late never touches the file that became the object."""
        upload = await store.create_multipart(KEY, part_size=4)
        await store.put_part(KEY, upload, 1, b"1234")
        data = tmp_path / ".hiper" / "multipart" / upload / "data"
        age(data, 100)
        before = data.stat().st_mtime
        await store.put_part(KEY, upload, 1, b"1234")
        assert data.stat().st_mtime == before

    @pytest.mark.parametrize("refusal", [None, errno.EXDEV])
    async def test_a_part_of_one_chunk_is_copied_by_the_kernel_or_else_by_hand(
        self, store: FilesystemStore, monkeypatch: pytest.MonkeyPatch, refusal: int | None
    ) -> None:
        copied, copy = list[int](), os.copy_file_range

        def spying(*arguments: int) -> int:
            if refusal:
                raise OSError(refusal, "Invalid cross-device link")
            copied.append(copy(*arguments))
            return copied[-1]

        monkeypatch.setattr(os, "copy_file_range", spying)
        await store.put("chunk", b"5678, and more")
        upload = await store.create_multipart(KEY, part_size=4)
        parts = [
            await store.put_part(KEY, upload, 1, b"1234"),
            await store.put_part(KEY, upload, 2, store.origin("chunk", 4)),
        ]
        assert await store.put_part(KEY, upload, 2, store.origin("chunk", 4)) == parts[1]
        await store.complete_multipart(KEY, upload, parts)
        assert await read(store, KEY) == b"12345678"
        assert copied == ([] if refusal else [4])

    async def test_a_part_that_is_written_in_digests_by_an_earlier_version_is_kept(
        self, store: FilesystemStore, tmp_path: Path
    ) -> None:
        upload = await store.create_multipart(KEY, part_size=4)
        await store.put_part(KEY, upload, 1, b"1234")
        recorded = {"number": 1, "size": 4, "etag": hashlib.sha256(b"1234").hexdigest(), "modified": 1.0}
        (tmp_path / ".hiper" / "multipart" / upload / "parts").write_text(json.dumps(recorded) + "\n")
        part = await store.put_part(KEY, upload, 1, b"1234")
        assert part.etag == recorded["etag"]
        other = await store.put_part(KEY, upload, 1, b"4321")
        assert other.etag != part.etag
        last = await store.put_part(KEY, upload, 1, b"1111")
        with pytest.raises(ValueError, match="not those of the upload"):
            await store.complete_multipart(KEY, upload, [other])
        await store.complete_multipart(KEY, upload, [last])
        assert await read(store, KEY) == b"1111"

    async def test_who_is_late_with_a_part_is_told_and_changes_nothing(self, store: FilesystemStore) -> None:
        upload = await store.create_multipart(KEY, part_size=4)
        half, go_on = asyncio.Event(), asyncio.Event()

        async def blocks() -> AsyncIterator[bytes]:
            half.set()
            await go_on.wait()
            yield b"1234"

        late = asyncio.create_task(store.put_part(KEY, upload, 1, Stream(4, blocks)))
        await half.wait()
        part = await store.put_part(KEY, upload, 1, b"1234")
        await store.complete_multipart(KEY, upload, [part])
        go_on.set()
        with pytest.raises(UploadNotFound):
            await late
        assert await read(store, KEY) == b"1234"

    @pytest.mark.parametrize("unknown", ["", "..", "../../etc", "x" * 32, "0" * 32])
    async def test_an_id_that_the_store_did_not_give_is_not_found(self, store: FilesystemStore, unknown: str) -> None:
        with pytest.raises(UploadNotFound):
            await store.list_parts(KEY, unknown)
        await store.abort_multipart(KEY, unknown)


WRITER = """
import asyncio, hashlib, os, sys
from pathlib import Path
from libs.common.storage import Stream
from libs.common.storage.filesystem import FilesystemStore

async def main(root, name):
    store = FilesystemStore(Path(root))
    for n in range(10_000):
        data = os.urandom(200_000)
        digest = hashlib.sha256(data).hexdigest()
        async def blocks():
            yield data[:100_000]
            yield data[100_000:]
        key = f"{name}/{n % 5}/{n}-{digest}"
        if n % 3 == 0:
            await store.put(key, data, metadata={"digest": digest})
        elif n % 3 == 1:
            await store.put(key, Stream(len(data), blocks))
        else:
            upload = await store.create_multipart(key, part_size=100_000)
            parts = [await store.put_part(key, upload, i + 1, data[i * 100_000:][:100_000]) for i in (0, 1)]
            await store.complete_multipart(key, upload, parts)
        print(key, flush=True)

asyncio.run(main(*sys.argv[1:]))
"""


class TestKilled:
    async def test_whatever_is_visible_is_whole_and_whatever_was_acknowledged_is_there(
        self, store: FilesystemStore, tmp_path: Path
    ) -> None:
        acknowledged: set[str] = set()
        for start in range(0, 20, 2):
            writers = [self.start_writer(tmp_path, f"w{start + n}") for n in (0, 1)]
            for n, writer in enumerate(writers):
                assert writer.stdout
                acknowledged.add(writer.stdout.readline().strip())
                await asyncio.sleep(0.013 * n + 0.007 * (start % 7))
                writer.send_signal(signal.SIGKILL)
                acknowledged |= {line.strip() for line in writer.stdout if line.endswith("\n")}
                writer.wait()
                writer.stdout.close()
        visible = [info.key for info in await list_all(store, "")]
        assert acknowledged <= set(visible)
        assert len(acknowledged) >= 20
        for key in visible:
            assert hashlib.sha256(await read(store, key)).hexdigest() == key.rpartition("-")[2]

    @staticmethod
    def start_writer(root: Path, name: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-c", WRITER, str(root), name]
        return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
