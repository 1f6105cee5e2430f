"""What a download may write to."""

import asyncio
import os
import socket
import stat
from pathlib import Path

import pytest

from libs.client import HiperClient
from libs.client.errors import TargetExistsError, UnverifiableError
from tests.unit.client.test_downloads import DATA, uploaded

__all__ = ["uploaded"]  # a fixture


def names(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir())


async def test_a_link_to_a_file_goes_on_being_one(uploaded: HiperClient, tmp_path: Path) -> None:
    (tmp_path / "real").write_bytes(b"old")
    (tmp_path / "link").symlink_to("real")
    await uploaded.download("f", tmp_path / "link")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "real").read_bytes() == DATA


async def test_a_named_pipe_is_written_into(uploaded: HiperClient, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    download = asyncio.create_task(uploaded.download("f", tmp_path / "pipe"))
    read = await asyncio.to_thread((tmp_path / "pipe").read_bytes)
    result = await download
    assert (result.path, result.verified, read == DATA) == (None, True, True)
    assert (tmp_path / "pipe").is_fifo()


async def test_waiting_for_a_reader_of_a_pipe_can_be_given_up(uploaded: HiperClient, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(uploaded.download("f", tmp_path / "pipe"), 0.3)


async def test_a_device_is_written_into(uploaded: HiperClient) -> None:
    assert (await uploaded.download("f", "/dev/null")).verified
    assert stat.S_ISCHR(os.stat("/dev/null").st_mode)  # noqa: PTH116  # no path of the test's own


async def test_a_descriptor_of_the_process_is_written_into(uploaded: HiperClient, tmp_path: Path) -> None:
    with (tmp_path / "out").open("wb") as out:
        await uploaded.download("f", f"/dev/fd/{out.fileno()}")
    assert (tmp_path / "out").read_bytes() == DATA
    assert names(tmp_path) == ["data", "out"]


async def test_what_is_no_file_is_not_replaced(uploaded: HiperClient, tmp_path: Path) -> None:
    (tmp_path / "directory").mkdir()
    (tmp_path / "dangling").symlink_to("nowhere")
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(tmp_path / "socket"))
        kinds = {"directory": "is a directory", "dangling": "a link to nothing", "socket": "neither a file nor a pipe"}
        for name, kind in kinds.items():
            with pytest.raises(TargetExistsError, match=kind):
                await uploaded.download("f", tmp_path / name)
        assert (tmp_path / "socket").is_socket()
    assert (tmp_path / "directory").is_dir()
    assert not (tmp_path / "nowhere").exists()


async def test_an_equal_file_is_not_fetched_again(uploaded: HiperClient, tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(DATA)
    result = await uploaded.download("f", tmp_path / "f", replace=False)
    assert (result.received_bytes, result.total_size, result.verified) == (0, len(DATA), True)


async def test_another_file_is_replaced_only_where_that_is_allowed(uploaded: HiperClient, tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(bytes(len(DATA)))
    with pytest.raises(TargetExistsError):
        await uploaded.download("f", tmp_path / "f", replace=False)
    assert (tmp_path / "f").read_bytes() == bytes(len(DATA))
    await uploaded.download("f", tmp_path / "f")
    assert (tmp_path / "f").read_bytes() == DATA


@pytest.fixture
async def undeclared(client: HiperClient) -> HiperClient:
    """A client whose file `u` was uploaded in two chunks and without a digest, as a small device does it."""
    for content_range, data in (("bytes 0-1/3", b"ab"), ("bytes 2-2/3", b"c")):
        async with client._transport._session.post(
            f"{client.server}/upload?filename=u&total_size=3",
            data=data,
            headers={
                "Content-Range": content_range,
                "Authorization": f"Bearer {await client._transport._tokens.token()}",
            },
        ) as answer:
            assert answer.status == 200
    while (await client.status("u")).status != "complete":  # noqa: ASYNC110  # it is another process's event
        await asyncio.sleep(0.02)
    return client


async def test_without_a_digest_nothing_is_replaced_unless_that_is_asked_for(
    undeclared: HiperClient, tmp_path: Path
) -> None:
    (tmp_path / "u").write_bytes(b"old")
    with pytest.raises(UnverifiableError, match="replaces no file"):
        await undeclared.download("u", tmp_path / "u")
    assert names(tmp_path) == ["data", "u"]
    assert (tmp_path / "u").read_bytes() == b"old"
    result = await undeclared.download("u", tmp_path / "u", replace_unverified=True)
    assert (result.verified, (tmp_path / "u").read_bytes()) == (False, b"abc")


async def test_a_required_digest_that_is_not_there_ends_the_download(undeclared: HiperClient, tmp_path: Path) -> None:
    with pytest.raises(UnverifiableError, match="knows no digest"):
        await undeclared.download("u", tmp_path / "u", require_digest=True)
    assert not (tmp_path / "u").exists()
    assert not (await undeclared.download("u", tmp_path / "u")).verified
