"""A name that has other bytes on the server: what is begun anew by itself, what on demand, and what never."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from libs.client import HiperClient, replacing
from libs.client.errors import (
    ContentConflictError,
    HiperError,
    NameTakenError,
    SizeConflictError,
    SourceChangedError,
)
from libs.client.retry import FIRST_WAIT
from tests.unit.client.conftest import ADMIN_SECRET
from tests.unit.client.live import CuttingProxy, LiveServer
from tests.unit.client.test_uploads import content, interrupt, send_without_digest

MIB = 2**20


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(replacing, "REST", FIRST_WAIT)


def during(at: int, change: Callable[[], object], times: int = 1) -> Callable[[int, int], None]:
    """A progress callback that does something when `at` bytes are durable, in each of the first so many starts."""
    left, armed = times, True

    def report(done: int, total: int) -> None:
        nonlocal left, armed
        if left and armed and at <= done < total:
            left, armed = left - 1, False
            change()
        armed = armed or not done

    return report


def append(path: Path, data: bytes = b"one more line\n") -> None:
    with path.open("ab") as file:
        file.write(data)


async def test_a_file_that_grew_while_it_was_sent_is_begun_anew(client: HiperClient, tmp_path: Path) -> None:
    path = tmp_path / "drive.log"
    path.write_bytes(before := os.urandom(4 * MIB))
    progress = during(2 * MIB, lambda: append(path))
    result = await client.upload(path, chunk_size=MIB // 2, jobs=1, progress=progress)
    assert (result.status, result.total_size) == ("complete", 4 * MIB + 14)
    assert await content(client, "drive.log") == before + b"one more line\n"


async def test_a_file_that_was_only_touched_goes_on(client: HiperClient, tmp_path: Path) -> None:
    path = tmp_path / "f"
    path.write_bytes(os.urandom(4 * MIB))
    result = await client.upload(
        path, chunk_size=MIB // 2, jobs=1, progress=during(2 * MIB, lambda: os.utime(path, ns=(1, 1)))
    )
    assert result.sent_bytes < 4 * MIB


async def test_a_file_that_grows_all_the_time_is_given_up_and_does_not_block_its_name(
    client: HiperClient, tmp_path: Path
) -> None:
    path = tmp_path / "drive.log"
    path.write_bytes(os.urandom(2 * MIB))
    with pytest.raises(SourceChangedError, match="changed during its upload"):
        await client.upload(path, chunk_size=MIB // 2, jobs=1, progress=during(MIB // 2, lambda: append(path), 99))
    assert (await client.upload(path)).status == "complete"  # at rest


async def test_an_impatient_call_gives_up_at_once_and_does_not_block_the_name(
    server: LiveServer, client: HiperClient, tmp_path: Path
) -> None:
    path = tmp_path / "drive.log"
    path.write_bytes(os.urandom(2 * MIB))
    async with HiperClient(server.url, "admin", ADMIN_SECRET, retry_for=0.1) as impatient:
        with pytest.raises(SourceChangedError):
            await impatient.upload(path, chunk_size=MIB // 2, jobs=1, progress=during(MIB // 2, lambda: append(path)))
    assert (await client.upload(path)).status == "complete"


async def test_the_only_copy_of_bytes_is_never_thrown_away_unasked(client: HiperClient, tmp_path: Path) -> None:
    """A log that is rotated by copying and truncating: its former content may be on the server alone."""
    path = tmp_path / "drive.log"
    path.write_bytes(os.urandom(4 * MIB))

    def rotate() -> None:
        path.write_bytes(b"")
        append(path, os.urandom(5 * MIB))

    with pytest.raises(SourceChangedError) as caught:
        await client.upload(path, chunk_size=MIB // 2, jobs=1, progress=during(2 * MIB, rotate))
    assert caught.value.replaceable
    assert (await client.status("drive.log")).received_bytes >= 2 * MIB
    with pytest.raises(SizeConflictError):
        await client.upload(path)
    result = await client.upload(path, replace=True)
    assert await content(client, "drive.log") == path.read_bytes()
    assert result.sent_bytes == 5 * MIB


async def test_what_an_earlier_call_sent_is_not_thrown_away_unasked(client: HiperClient, tmp_path: Path) -> None:
    path = tmp_path / "f"
    path.write_bytes(os.urandom(4 * MIB))
    await interrupt(client, path, "f", 2 * MIB)
    with pytest.raises(SourceChangedError) as caught:
        await client.upload(path, chunk_size=MIB // 4, jobs=1, progress=during(3 * MIB, lambda: append(path)))
    assert caught.value.replaceable
    assert (await client.status("f")).received_bytes >= 3 * MIB


async def test_a_lost_answer_does_not_make_the_bytes_somebody_else_s(
    proxy: CuttingProxy, client: HiperClient, tmp_path: Path
) -> None:
    path = tmp_path / "f"
    path.write_bytes(os.urandom(4 * MIB))
    proxy.lose_answer = 3  # after those for the token and the status: that of the first chunk
    async with HiperClient(proxy.url, "admin", ADMIN_SECRET, retry_for=30) as far:
        result = await far.upload(path, chunk_size=MIB, jobs=1, progress=during(2 * MIB, lambda: append(path)))
    assert proxy.done == 1
    assert result.total_size == 4 * MIB + 14


async def test_an_unfinished_upload_of_another_size_is_replaced_on_demand(client: HiperClient) -> None:
    await interrupt(client, os.urandom(3 * MIB), "f", MIB)
    with pytest.raises(SizeConflictError):
        await client.upload(b"12345", "f")
    assert (await client.upload(b"12345", "f", replace=True)).sent_bytes == 5
    assert await content(client, "f") == b"12345"


async def test_an_unfinished_upload_of_other_bytes_is_replaced_on_demand(client: HiperClient) -> None:
    await interrupt(client, os.urandom(3 * MIB), "f", MIB)
    data = os.urandom(3 * MIB)
    with pytest.raises(ContentConflictError):
        await client.upload(data, "f")
    assert (await client.upload(data, "f", replace=True)).sent_bytes == 3 * MIB
    assert await content(client, "f") == data


async def test_what_turns_out_to_be_of_another_file_is_replaced_on_demand(client: HiperClient) -> None:
    data = os.urandom(2 * MIB)
    await send_without_digest(client, "f", b"other content", len(data))
    await client.upload(data, "f", replace=True)
    assert await content(client, "f") == data


async def test_a_complete_file_is_replaced_on_demand(client: HiperClient) -> None:
    await client.upload(b"first content", "f")
    with pytest.raises(NameTakenError):
        await client.upload(b"other content", "f")
    assert (await client.upload(b"first content", "f", replace=True)).sent_bytes == 0  # equal: nothing is replaced
    await client.upload(b"other content", "f", replace=True)
    assert await content(client, "f") == b"other content"


def test_what_replacing_does_not_help_says_so() -> None:
    assert not HiperError("x").replaceable
