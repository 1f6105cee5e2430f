"""Downloads from a real server: whole, resumed, and never a mixture."""

import asyncio
import contextlib
import os
from io import BytesIO
from pathlib import Path

import pytest

from libs.client import HiperClient
from libs.client.errors import (
    ChecksumError,
    IncompleteError,
    NotFoundError,
    ServerAwayError,
    SourceChangedError,
)
from tests.unit.client.conftest import ADMIN_SECRET
from tests.unit.client.live import CuttingProxy

MIB = 2**20
DATA = os.urandom(5 * MIB)


@pytest.fixture
async def uploaded(client: HiperClient) -> HiperClient:
    """A client whose file `f` holds DATA."""
    await client.upload(DATA, "f")
    return client


def far(proxy: CuttingProxy, retry_for: float) -> HiperClient:
    """A client behind a wire that can be cut."""
    return HiperClient(proxy.url, "admin", ADMIN_SECRET, retry_for=retry_for)


def names(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.glob("f*"))


async def leave_part(proxy: CuttingProxy, target: Path) -> int:
    """A download that breaks and is given up; returns the bytes that it left."""
    proxy.cuts, proxy.after = 1, 2 * MIB
    async with far(proxy, 0) as impatient:
        with pytest.raises(ServerAwayError):
            await impatient.download("f", target)
    return target.with_name("f.part").stat().st_size


async def test_a_download_is_whole_verified_and_leaves_nothing_else(uploaded: HiperClient, tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    result = await uploaded.download("f", tmp_path / "f", progress=lambda done, total: seen.append((done, total)))
    assert (result.total_size, result.received_bytes, result.verified) == (len(DATA), len(DATA), True)
    assert result.path == tmp_path / "f"
    assert (tmp_path / "f").read_bytes() == DATA
    assert names(tmp_path) == ["f"]
    assert seen == sorted(seen)
    assert seen[-1] == (len(DATA), len(DATA))


async def test_a_break_is_overcome_without_fetching_a_byte_twice(
    uploaded: HiperClient, proxy: CuttingProxy, tmp_path: Path
) -> None:
    proxy.cuts, proxy.after = 2, 2 * MIB
    async with far(proxy, 30) as client:
        result = await client.download("f", str(tmp_path / "f"))
    assert proxy.done == 2
    assert (result.received_bytes, result.verified) == (len(DATA), True)
    assert (tmp_path / "f").read_bytes() == DATA


async def test_a_later_call_goes_on_with_what_an_earlier_one_left(
    uploaded: HiperClient, proxy: CuttingProxy, tmp_path: Path
) -> None:
    left = await leave_part(proxy, tmp_path / "f")
    assert 0 < left < len(DATA)
    result = await uploaded.download("f", tmp_path / "f")
    assert (result.received_bytes, result.verified) == (len(DATA) - left, True)
    assert (tmp_path / "f").read_bytes() == DATA
    assert names(tmp_path) == ["f"]


async def test_what_is_left_of_another_version_is_not_used(
    uploaded: HiperClient, proxy: CuttingProxy, tmp_path: Path
) -> None:
    await leave_part(proxy, tmp_path / "f")
    other = os.urandom(len(DATA))
    await uploaded.delete("f")
    await uploaded.upload(other, "f")
    result = await uploaded.download("f", tmp_path / "f")
    assert result.received_bytes == len(other)
    assert (tmp_path / "f").read_bytes() == other


async def test_a_part_that_is_complete_is_only_verified(uploaded: HiperClient, tmp_path: Path) -> None:
    (tmp_path / "f.part").write_bytes(DATA)
    session = (await uploaded.status("f")).session
    (tmp_path / "f.part.etag").write_text(f'"{session}"')
    result = await uploaded.download("f", tmp_path / "f")
    assert (result.received_bytes, result.verified) == (0, True)
    assert (tmp_path / "f").read_bytes() == DATA


async def test_a_part_that_is_too_long_is_thrown_away(uploaded: HiperClient, tmp_path: Path) -> None:
    (tmp_path / "f.part").write_bytes(DATA + b"more")
    session = (await uploaded.status("f")).session
    (tmp_path / "f.part.etag").write_text(f'"{session}"')
    result = await uploaded.download("f", tmp_path / "f")
    assert result.received_bytes == len(DATA)
    assert (tmp_path / "f").read_bytes() == DATA


async def test_bytes_without_the_declared_digest_are_not_kept(
    uploaded: HiperClient, proxy: CuttingProxy, tmp_path: Path
) -> None:
    left = await leave_part(proxy, tmp_path / "f")
    (tmp_path / "f.part").write_bytes(bytes(left))
    with pytest.raises(ChecksumError):
        await uploaded.download("f", tmp_path / "f")
    assert names(tmp_path) == []


async def test_a_stream_survives_a_break_too(uploaded: HiperClient, proxy: CuttingProxy) -> None:
    proxy.cuts, proxy.after = 1, 2 * MIB
    stream = BytesIO()
    async with far(proxy, 30) as client:
        result = await client.download("f", stream)
    assert (result.path, result.verified) == (None, True)
    assert stream.getvalue() == DATA


async def test_a_stream_never_gets_two_versions(uploaded: HiperClient, proxy: CuttingProxy) -> None:
    proxy.cuts, proxy.after = 1, 2 * MIB
    other, stream = os.urandom(len(DATA)), BytesIO()

    def replace(_error: object, _seconds: float) -> None:
        replaced.set()

    replaced = asyncio.Event()
    waiting = HiperClient(proxy.url, "admin", ADMIN_SECRET, retry_for=120, on_retry=replace)
    async with waiting as client:
        download = asyncio.create_task(client.download("f", stream))
        await replaced.wait()
        proxy.cuts, proxy.after = 1000, 0  # away until the other version is there
        await uploaded.delete("f")
        await uploaded.upload(other, "f")
        proxy.cuts = 0
        with pytest.raises(SourceChangedError):
            await download
    assert DATA.startswith(stream.getvalue())


async def test_a_file_that_is_not_there_leaves_nothing(client: HiperClient, tmp_path: Path) -> None:
    with pytest.raises(NotFoundError):
        await client.download("f", tmp_path / "f")
    assert names(tmp_path) == []


async def test_an_unfinished_upload_cannot_be_downloaded(client: HiperClient, tmp_path: Path) -> None:
    upload = asyncio.create_task(client.upload(os.urandom(4 * MIB), "f", chunk_size=MIB // 8, jobs=1))
    while not upload.done():
        with contextlib.suppress(NotFoundError):
            if (await client.status("f")).received_bytes:
                break
    upload.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await upload
    with pytest.raises(IncompleteError):
        await client.download("f", tmp_path / "f")
    assert names(tmp_path) == []
