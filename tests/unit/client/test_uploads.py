"""Uploads to a real server: whole, resumed, disturbed, refused."""

import asyncio
import hashlib
import os
import time
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

import aiohttp
import pytest

from libs.client import HiperClient
from libs.client.errors import (
    AnswerError,
    FileTooLargeError,
    HiperError,
    NameTakenError,
    NotFoundError,
    RejectedError,
    ServerAwayError,
    SizeConflictError,
)
from libs.client.sources import Hashing
from libs.client.wire import encode_chunk
from services.embedded.app import build_app
from tests.unit.client.conftest import ADMIN_SECRET, make_settings
from tests.unit.client.live import CuttingProxy, LiveServer
from tests.unit.metrics import growth

MIB = 2**20


async def content(client: HiperClient, name: str) -> bytes:
    stream = BytesIO()
    await client.download(name, stream)
    return stream.getvalue()


class Interruption:
    """A progress callback that cancels the upload once that many bytes are durable."""

    def __init__(self, at: int) -> None:
        self._at = at
        self.task: asyncio.Task[object] | None = None

    def __call__(self, done: int, _total: int) -> None:
        if done >= self._at and self.task:
            self.task.cancel()


async def interrupt(client: HiperClient, source: Path | bytes, name: str, at: int) -> None:
    """An upload that is cancelled once `at` bytes are durable."""
    stop = Interruption(at)
    stop.task = asyncio.create_task(client.upload(source, name, chunk_size=MIB // 2, jobs=2, progress=stop))
    with pytest.raises(asyncio.CancelledError):
        await stop.task


async def test_a_file_is_sent_in_parallel_chunks_and_arrives_whole(client: HiperClient, tmp_path: Path) -> None:
    data = os.urandom(20 * MIB + 12345)
    path = tmp_path / "drive.mcap"
    path.write_bytes(data)
    seen: list[tuple[int, int]] = []
    result = await client.upload(path, jobs=4, progress=lambda done, total: seen.append((done, total)))
    assert (result.filename, result.owner, result.status) == ("drive.mcap", "admin", "complete")
    assert (result.total_size, result.sent_bytes) == (len(data), len(data))
    assert result.sha256 == hashlib.sha256(data).hexdigest()
    assert seen == sorted(seen)
    assert (seen[0], seen[-1]) == ((0, len(data)), (len(data), len(data)))
    assert await content(client, "drive.mcap") == data


async def test_the_digest_is_declared_however_long_it_takes(
    client: HiperClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    at_once = Hashing.up_to

    async def slow(hashing: Hashing, end: int) -> bytes:
        await asyncio.sleep(1)
        return await at_once(hashing, end)

    monkeypatch.setattr(Hashing, "up_to", slow)
    await client.upload(os.urandom(2 * MIB), "f", chunk_size=MIB // 2)
    assert (await client.download("f", BytesIO())).verified


async def test_an_interrupted_upload_sends_only_what_the_server_lacks(client: HiperClient) -> None:
    data = os.urandom(6 * MIB)
    await interrupt(client, data, "f", 2 * MIB)
    there = await client.status("f")
    assert there.status == "pending"
    result = await client.upload(data, "f")
    assert 0 < result.sent_bytes <= len(data) - there.received_bytes  # a chunk in flight may have arrived after
    assert await content(client, "f") == data


@pytest.fixture
def narrow(tmp_path: Path) -> Iterator[LiveServer]:
    """A server that takes 150,000 bytes in one chunk, and files of 2 MiB."""
    limits = {"max_chunk_size": 150_000, "max_file_size": 2 * MIB}
    live = LiveServer(lambda: build_app(make_settings(tmp_path / "narrow").model_copy(update=limits)))
    live.start()
    yield live
    live.stop()


async def test_chunks_become_as_small_as_the_server_takes_them(narrow: LiveServer) -> None:
    waits: list[float] = []
    async with HiperClient(narrow.url, "admin", ADMIN_SECRET, on_retry=lambda _, wait: waits.append(wait)) as client:
        assert (await client.upload(os.urandom(2 * MIB), "f")).sent_bytes == 2 * MIB
    assert not waits  # smaller ones follow at once


async def test_a_file_that_is_too_large_for_the_server_is_given_up_after_one_chunk(narrow: LiveServer) -> None:
    async with HiperClient(narrow.url, "admin", ADMIN_SECRET) as client:
        with (
            growth("hiper_http_problems_total", type="too-large", status="413") as refused,
            pytest.raises(FileTooLargeError, match="takes files of at most 2097152") as caught,
        ):
            await client.upload(os.urandom(2 * MIB + 1), "f")
        assert refused.by == 1
        assert "MAX_FILE_SIZE" in caught.value.hint
        assert (await client.upload(os.urandom(2 * MIB), "f")).status == "complete"


async def test_an_upload_survives_a_restart_of_the_server(client: HiperClient, server: LiveServer) -> None:
    data = os.urandom(8 * MIB)
    half = asyncio.Event()

    async def restart() -> None:
        await half.wait()
        await asyncio.to_thread(server.restart)

    restarting = asyncio.create_task(restart())
    result = await client.upload(
        data, "f", chunk_size=MIB // 4, jobs=2, progress=lambda d, _: half.set() if d > 4 * MIB else None
    )
    await restarting
    assert result.sent_bytes == len(data)
    assert await content(client, "f") == data


async def test_a_link_that_keeps_breaking_gets_the_file_through(proxy: CuttingProxy, client: HiperClient) -> None:
    data = os.urandom(2 * MIB)
    proxy.cuts, proxy.after = 6, 400 * 1024
    async with HiperClient(proxy.url, "admin", ADMIN_SECRET, retry_for=60) as far:
        result = await far.upload(data, "f", jobs=2)
    assert proxy.done == 6
    assert result.status == "complete"
    assert await content(client, "f") == data


async def test_a_lost_first_answer_does_not_start_a_second_upload(proxy: CuttingProxy, client: HiperClient) -> None:
    data = os.urandom(3 * MIB)
    proxy.lose_answer = 7  # of the first chunk: before it, a token, the status and a chunk are each asked for twice
    async with HiperClient(proxy.url, "admin", ADMIN_SECRET, retry_for=30) as far:
        result = await far.upload(data, "f", chunk_size=MIB)
    assert proxy.done == 1
    assert result.sent_bytes == len(data) - MIB  # the server had stored the first
    assert await content(client, "f") == data


@pytest.mark.parametrize("size", [0, 1])
async def test_the_smallest_files_arrive_too(client: HiperClient, size: int) -> None:
    result = await client.upload(b"x" * size, "f")
    assert (result.status, result.total_size, result.sent_bytes) == ("complete", size, size)
    assert await content(client, "f") == b"x" * size
    assert (await client.upload(b"x" * size, "f")).sent_bytes == 0


NAMES = [
    "Größe 📦.bin",
    "a b.bin",
    "100%.bin",
    "%41.bin",
    "what?.bin",
    'quote".bin',
    "it's #1; a&b=c+d.bin",
    "データ",
]


async def test_a_name_in_any_script_goes_through_every_call(client: HiperClient, tmp_path: Path) -> None:
    for name in NAMES:
        path = tmp_path / name
        path.write_bytes(name.encode())
        assert (await client.upload(path)).filename == name
        assert (await client.status(name)).filename == name
        assert await content(client, name) == name.encode()
    assert [entry.filename async for entry in client.list()] == sorted(NAMES, key=str.encode)
    await asyncio.gather(*map(client.delete, NAMES))  # each waits for a lease
    for name in NAMES:
        with pytest.raises(NotFoundError):
            await client.status(name)


async def test_a_file_that_is_there_is_not_sent_again(client: HiperClient) -> None:
    data = os.urandom(MIB)
    await client.upload(data, "f")
    result = await client.upload(data, "f")
    assert (result.status, result.sent_bytes, result.owner) == ("complete", 0, "admin")


@pytest.mark.parametrize("other", [b"other content", b"other size!"])
async def test_another_file_of_that_name_is_never_replaced(client: HiperClient, other: bytes) -> None:
    await client.upload(b"first content", "f")
    with pytest.raises(NameTakenError, match="is there already") as caught:
        await client.upload(other, "f")
    assert "--replace" in caught.value.hint
    assert await content(client, "f") == b"first content"


async def test_an_unfinished_upload_of_another_size_is_a_clear_error(client: HiperClient) -> None:
    await interrupt(client, os.urandom(3 * MIB), "f", MIB)
    with pytest.raises(SizeConflictError, match="has 3145728 bytes, yours has 5"):
        await client.upload(b"12345", "f")


async def send_without_digest(client: HiperClient, name: str, payload: bytes, total: int, start: int = 0) -> None:
    """A chunk as a small device sends it: with the 9-byte header and nothing declared."""
    assert client.tokens is not None
    headers = {"Authorization": f"Bearer {await client.tokens.token()}"}
    params = {"filename": name, "total_size": str(total)}
    async with (
        aiohttp.ClientSession(headers=headers) as session,
        session.post(f"{client.server}/upload", params=params, data=encode_chunk(start, payload)) as response,
    ):
        assert response.status == 200, await response.text()


async def test_a_small_device_s_upload_can_be_taken_over(client: HiperClient) -> None:
    data = os.urandom(MIB)
    await send_without_digest(client, "f", data[:1000], len(data))
    result = await client.upload(data, "f")
    assert result.sent_bytes == len(data) - 1000
    assert await content(client, "f") == data


async def test_more_gaps_than_the_server_lists_are_filled(client: HiperClient) -> None:
    data = os.urandom(330)
    for start in range(0, len(data), 3):
        await send_without_digest(client, "f", data[start : start + 1], len(data), start)
    assert (await client.status("f")).missing_ranges_truncated
    result = await client.upload(data, "f")
    assert result.sent_bytes == len(data) - len(range(0, len(data), 3))
    assert await content(client, "f") == data


async def test_going_on_with_other_content_is_rejected_and_then_starts_anew(client: HiperClient) -> None:
    data = os.urandom(2 * MIB)
    await send_without_digest(client, "f", b"other content", len(data))
    with pytest.raises(RejectedError) as caught:
        await client.upload(data, "f")
    assert "upload the file again" in caught.value.hint
    result = await client.upload(data, "f")
    assert result.sent_bytes == len(data)
    assert await content(client, "f") == data


async def test_going_on_with_what_another_digest_was_declared_for_says_how_to_get_rid_of_it(
    client: HiperClient,
) -> None:
    await interrupt(client, os.urandom(3 * MIB), "f", MIB)
    with pytest.raises(AnswerError) as caught:
        await client.upload(os.urandom(3 * MIB), "f")
    assert caught.value.slug == "digest-conflict"
    assert "--replace" in caught.value.hint


class Deletion:
    """A progress callback that deletes the file once 1 MiB of it is durable, and slows the upload down."""

    def __init__(self, client: HiperClient) -> None:
        self._client = client
        self.task: asyncio.Task[None] | None = None

    def __call__(self, done: int, _total: int) -> None:
        time.sleep(0.04)
        if done >= MIB and self.task is None:
            self.task = asyncio.create_task(self._client.delete("f"))


async def test_an_upload_that_is_cancelled_under_way_starts_again(client: HiperClient) -> None:
    data, deletion = os.urandom(4 * MIB), Deletion(client)
    result = await client.upload(data, "f", chunk_size=MIB // 16, jobs=1, progress=deletion)
    assert deletion.task is not None
    await deletion.task
    assert result.status == "complete"
    assert result.sent_bytes > len(data)
    assert await content(client, "f") == data


async def test_an_upload_that_is_deleted_when_all_was_sent_is_an_error(client: HiperClient) -> None:
    data, deletion = os.urandom(2 * MIB), Deletion(client)
    with pytest.raises(NotFoundError, match="deleted before it was complete"):
        await client.upload(data, "f", chunk_size=MIB // 4, jobs=1, progress=deletion)
    assert deletion.task is not None
    await deletion.task


async def test_a_deleted_name_is_soon_free_for_a_file_of_another_size(client: HiperClient) -> None:
    await client.upload(b"12345", "f")
    await client.delete("f")
    result = await client.upload(b"123", "f")
    assert result.sent_bytes == 3
    assert await content(client, "f") == b"123"


async def test_not_waiting_means_that_the_bytes_are_durable_and_no_more(client: HiperClient) -> None:
    result = await client.upload(b"12345", "f", wait=False)
    assert (result.status, result.sent_bytes, result.owner) == ("pending", 5, "admin")
    assert (await client.upload(b"12345", "f")).sent_bytes == 0


async def test_the_content_type_follows_the_name_unless_given(client: HiperClient) -> None:
    await client.upload(b"{}", "a.json")
    await client.upload(b"{}", "b.json", content_type="application/geo+json")
    assert (await client.status("a.json")).content_type == "application/json"
    assert (await client.status("b.json")).content_type == "application/geo+json"


async def test_bytes_without_a_name_are_refused(client: HiperClient) -> None:
    with pytest.raises(HiperError, match="need a file name"):
        await client.upload(b"x")


async def test_a_server_that_stays_away_is_named(server: LiveServer, client: HiperClient) -> None:
    server.stop()
    try:
        async with HiperClient(server.url, "admin", ADMIN_SECRET, retry_for=1) as impatient:
            with pytest.raises(ServerAwayError, match=server.url):
                await impatient.upload(b"x", "f")
    finally:
        server.start()
