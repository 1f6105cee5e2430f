"""Deleting everything that a device has."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import httpx
import pytest

from libs.common.files.pins import Pin
from libs.common.settings import Settings
from libs.common.storage import StoreUnavailable
from libs.common.storage.filesystem import FilesystemStore
from libs.common.uploads.cancelling import Ended, end
from libs.common.uploads.layout import FileId, file_key
from libs.common.uploads.tools import Tools
from services.ingest import purging
from tests.unit.ingest.running import park, payloads, reject, settled, stored, token_for
from tests.unit.ingest.talk import Device, accepted, refused, until
from tests.unit.trail import audited

CONTENT = b"0123456789"


@pytest.fixture
def operator(http: httpx.AsyncClient, settings: Settings) -> Device:
    return Device(http, token_for(settings, "ops", "fleet:manage"))


async def everything_of(device: Device, settings: Settings) -> None:
    """A file in each section, and files of others."""
    await device.upload("complete.bin", CONTENT)
    await settled(settings)
    await park(settings, "partial.bin", CONTENT, (0, 5))
    accepted(await device.chunk("pending.bin", CONTENT, 0, 5))
    await reject(settings, "rejected.bin", CONTENT)
    store = FilesystemStore(settings.perm_upload_dir)
    for owner in ("car-70", "car", "fleet"):
        await store.put(file_key(FileId(owner, "complete.bin")), CONTENT)
    await store.close()


async def purge(operator: Device, **query: Any) -> dict[str, Any]:
    return accepted(await operator.ask("DELETE", "/files", params={"owner": "car-7", **query}))


NAMES = {
    ("pending.bin", "pending", 10),
    ("partial.bin", "partial", 10),
    ("rejected.bin", "rejected", 10),
    ("complete.bin", "complete", 10),
}


def shown(*pages: dict[str, Any]) -> set[tuple[str, str, int]]:
    return {(f["filename"], f["status"], f["size"]) for page in pages for f in page["files"]}


async def test_unless_told_otherwise_a_purge_only_says_what_would_go(
    device: Device, operator: Device, settings: Settings
) -> None:
    await everything_of(device, settings)
    before = stored(settings)
    page = await purge(operator)
    assert (page["dry_run"], page["next"], shown(page)) == (True, None, NAMES)
    assert stored(settings) == before


async def test_a_purge_deletes_all_of_the_device_and_nothing_of_others(
    device: Device, operator: Device, settings: Settings
) -> None:
    await everything_of(device, settings)
    page = await purge(operator, dry_run=False)
    assert (page["dry_run"], shown(page)) == (False, NAMES)
    refused(await device.chunk("pending.bin", CONTENT, 5, 10, {"If-Match": "*"}), 412, "precondition-failed")
    await until(lambda: len(payloads(settings)) == 3)
    assert sorted(path.rsplit("/", 2)[-2] for path in payloads(settings)) == ["car", "car-70", "fleet"]
    assert shown(await purge(operator, dry_run=False)) == set()


async def test_a_purge_goes_on_page_by_page_and_after_it_was_broken_off(
    device: Device, operator: Device, settings: Settings
) -> None:
    await everything_of(device, settings)
    first = await purge(operator, dry_run=False, limit=2)
    assert len(first["files"]) == 2
    pages = [await purge(operator, dry_run=False, limit=1)]  # begun again, by somebody who knows no cursor
    while cursor := pages[-1]["next"]:
        pages.append(await purge(operator, dry_run=False, limit=1, after=cursor))
    assert shown(first, *pages) == NAMES
    await settled(settings)
    assert shown(await purge(operator)) == set()


async def test_what_comes_after_the_first_page_was_asked_for_is_spared(
    device: Device, operator: Device, settings: Settings
) -> None:
    await park(settings, "a.bin", CONTENT, (0, 5))
    await park(settings, "b.bin", CONTENT, (0, 5))
    first = await purge(operator, limit=1)
    store = FilesystemStore(settings.perm_upload_dir)
    await asyncio.sleep(1.1)  # the cursor's time is a second ahead
    await store.put(file_key(FileId("car-7", "c.bin")), CONTENT)
    await store.close()
    rest = await purge(operator, after=first["next"])
    assert shown(first, rest) == {("a.bin", "partial", 10), ("b.bin", "partial", 10)}


def before_b_is_ended(monkeypatch: pytest.MonkeyPatch, happens: Callable[[], Awaitable[None]]) -> None:
    """Something happens once `b.bin` was listed."""

    async def late(tools: Tools, file: FileId, pin: Pin) -> Ended:
        if file.filename == "b.bin":
            await happens()
        return await end(tools, file, pin)

    monkeypatch.setattr(purging, "end", late)


async def test_a_file_that_somebody_else_deletes_meanwhile_stops_no_purge(
    operator: Device, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = FilesystemStore(settings.perm_upload_dir)
    for name in ("a.bin", "b.bin", "c.bin"):
        await store.put(file_key(FileId("car-7", name)), CONTENT)
    before_b_is_ended(monkeypatch, lambda: store.delete_many([file_key(FileId("car-7", "b.bin"))]))
    assert len((await purge(operator, dry_run=False))["files"]) == 3
    await settled(settings)
    await store.close()
    assert shown(await purge(operator)) == set()


async def test_a_purge_of_which_one_file_could_not_be_ended_says_so_and_ends_the_others(
    operator: Device, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def away() -> None:
        raise StoreUnavailable("the store is away")

    store = FilesystemStore(settings.perm_upload_dir)
    for name in ("a.bin", "b.bin", "c.bin"):
        await store.put(file_key(FileId("car-7", name)), CONTENT)
    await store.close()
    with monkeypatch.context() as meanwhile:
        before_b_is_ended(meanwhile, away)
        answer = await operator.ask("DELETE", "/files", params={"owner": "car-7", "dry_run": "false"})
        refused(answer, 503, "store-unavailable")
    await settled(settings)
    assert shown(await purge(operator)) == {("b.bin", "complete", 10)}


@pytest.mark.parametrize("owner", ["fleet", "..", "a/b", ""])
async def test_only_a_device_can_be_purged(operator: Device, owner: str) -> None:
    answer = await operator.ask("DELETE", "/files", params={"owner": owner, "dry_run": "false"})
    refused(answer, 400, "bad-request")


async def test_a_purge_needs_the_scope_of_operators(http: httpx.AsyncClient, settings: Settings) -> None:
    others = "files:read files:write fleet:read fleet:write admin"
    caller = Device(http, token_for(settings, "car-7", others))
    document = refused(await caller.ask("DELETE", "/files", params={"owner": "car-7"}), 403, "forbidden")
    assert document["required_scope"] == "fleet:manage"


@pytest.mark.parametrize("cursor", ["nonsense", "MTowOmE=", "Mi4wOmNvbXBsZXRlOi4u"])
async def test_a_foreign_cursor_is_refused(operator: Device, cursor: str) -> None:
    refused(await operator.ask("DELETE", "/files", params={"owner": "car-7", "after": cursor}), 400, "bad-request")


async def test_a_purge_is_in_the_audit_trail(device: Device, operator: Device, settings: Settings) -> None:
    await everything_of(device, settings)
    with audited() as lines:
        await purge(operator)
        await purge(operator, dry_run=False)
    assert [(line["actor"], line["owner"], line["dry_run"], line["files"], line["size"]) for line in lines] == [
        ("ops", "car-7", True, 4, 40),
        ("ops", "car-7", False, 4, 40),
    ]


async def test_without_an_owner_nothing_is_purged(operator: Device, settings: Settings) -> None:
    refused(await operator.ask("DELETE", "/files", params={"dry_run": "false"}), 400, "bad-request")
    refused(await operator.ask("DELETE", "/files/", params={"owner": "car-7"}), 400, "bad-filename")
