"""Files of devices are for the user that runs the server, whatever its umask (CWE-732)."""

import os
import stat
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from libs.common.storage import Stream
from libs.common.storage._fs_files import clone
from libs.common.storage.filesystem import FilesystemStore
from services.auth.bootstrap import load_or_create_secret

PART = 5 * 2**20  # bytes


@pytest.fixture(params=[0o000, 0o022, 0o077], ids=oct)
def _umask(request: pytest.FixtureRequest) -> Iterator[None]:
    before = os.umask(request.param)
    yield
    os.umask(before)


def modes(root: Path) -> set[tuple[str, int]]:
    found = [root, *root.rglob("*")]
    return {("directory" if path.is_dir() else "file", mode(path)) for path in found}


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


async def fill(root: Path) -> None:
    """Every way in which the store makes files."""
    store = FilesystemStore(root)
    await store.ensure()

    async def blocks() -> AsyncIterator[bytes]:
        yield b"streamed"

    await store.put("files/car-1/memory", b"bytes", content_type="text/plain", metadata={"session": "5-a"})
    await store.put("files/car-1/stream", Stream(8, blocks))
    await store.put("files/car-2/copy", store.origin("files/car-1/memory", 5))
    upload = await store.create_multipart("files/car-1/parts", part_size=PART)
    part = await store.put_part("files/car-1/parts", upload, 1, b"part")
    await store.complete_multipart("files/car-1/parts", upload, [part])
    open_upload = await store.create_multipart("files/car-1/open", part_size=PART)
    await store.put_part("files/car-1/open", open_upload, 1, b"part")
    await store.close()


@pytest.mark.usefixtures("_umask")
async def test_no_other_user_reads_what_the_store_makes(tmp_path: Path) -> None:
    await fill(tmp_path / "data" / "perm")
    assert modes(tmp_path / "data") == {("directory", 0o700), ("file", 0o600)}


@pytest.mark.usefixtures("_umask")
def test_a_copy_on_another_disk_is_as_closed_as_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "source").write_bytes(b"bytes")

    def refuses(*_args: object, **_kwargs: object) -> None:
        raise OSError(18, "Invalid cross-device link")

    monkeypatch.setattr(os, "link", refuses)
    clone(bytes(tmp_path / "source"), bytes(tmp_path / "copy"))
    assert (tmp_path / "copy").read_bytes() == b"bytes"
    assert mode(tmp_path / "copy") == 0o600


@pytest.mark.usefixtures("_umask")
def test_no_other_user_reads_the_secrets_that_the_server_makes(tmp_path: Path) -> None:
    load_or_create_secret(tmp_path / "data" / "secrets" / "secret_key")
    assert modes(tmp_path / "data") == {("directory", 0o700), ("file", 0o600)}


@pytest.fixture
def old(tmp_path: Path) -> Path:
    """What an earlier version left."""
    (tmp_path / "perm" / "files" / "car-1").mkdir(parents=True)
    (tmp_path / "perm" / "files" / "car-1" / "private.log").write_bytes(b"where I was")
    (tmp_path / "perm").chmod(0o755)
    return tmp_path / "perm"


@pytest.fixture
def shared(tmp_path: Path) -> Path:
    tmp_path.chmod(0o1777)
    return tmp_path


async def test_a_directory_of_an_earlier_version_is_closed_at_the_start(old: Path) -> None:
    store = FilesystemStore(old)
    await store.ensure()
    await store.close()
    assert mode(old) == 0o700


async def test_a_directory_that_is_shared_is_left_as_it_is_and_complained_of(shared: Path) -> None:
    store = FilesystemStore(shared)
    with capture_logs() as lines:
        await store.ensure()
    await store.close()
    assert mode(shared) == 0o1777
    assert [line["event"] for line in lines] == ["directory_exposed"]
