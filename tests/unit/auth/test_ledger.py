"""revoked.json: no revocation gets lost, whoever writes at the same time."""

import asyncio

import pytest
from structlog.testing import capture_logs

from libs.common.security.revocations import Revocations, read_revoked
from libs.common.storage import StoreUnavailable, read
from libs.common.storage.filesystem import FilesystemStore
from libs.common.uploads.layout import REVOKED
from services.auth.ledger import MARGIN, REPAIR_INTERVAL, RETENTION, Ledger
from tests.unit.clocks import ManualClock
from tests.unit.damage import DAMAGED

LIFE = 1800  # seconds


def replica(store: FilesystemStore, clock: ManualClock) -> Ledger:
    return Ledger(store, Revocations(store, 5, clock), LIFE, clock)


async def test_a_revocation_is_in_the_store_when_it_returns(store: FilesystemStore, clock: ManualClock) -> None:
    second = await replica(store, clock).revoke("car-7")
    assert second == int(clock.time()) + MARGIN
    assert await read_revoked(store) == {"car-7": second}


async def test_a_revocation_covers_replicas_whose_clocks_are_seconds_ahead(
    store: FilesystemStore, clock: ManualClock
) -> None:
    assert await replica(store, clock).revoke("car-7") >= int(clock.time()) + 5


async def test_a_revocation_covers_the_latest_token_there_can_be(store: FilesystemStore, clock: ManualClock) -> None:
    far = int(clock.time()) + 100
    assert await replica(store, clock).revoke("car-7", latest=far) == far


async def test_a_later_revocation_of_another_replica_stands(store: FilesystemStore, clock: ManualClock) -> None:
    one, other = replica(store, clock), replica(store, clock)
    await one.revoke("car-7")
    clock.advance(60)
    later = await other.revoke("car-7")
    await one.revoke("car-8")
    assert (await read_revoked(store))["car-7"] == later
    assert await one.last_revoked("car-7") == later
    assert await one.last_revoked("car-9") == 0


async def test_replicas_that_write_at_once_lose_nothing_in_the_end(store: FilesystemStore, clock: ManualClock) -> None:
    replicas = [replica(store, clock) for _ in range(4)]
    names = [f"car-{n}" for n in range(40)]
    await asyncio.gather(*(replicas[n % 4].revoke(name) for n, name in enumerate(names)))
    for _ in range(3):
        for ledger in replicas:
            await ledger.repair()
    assert set(await read_revoked(store)) == set(names)


async def test_what_another_replica_overwrote_is_written_again_in_the_background(
    store: FilesystemStore, clock: ManualClock
) -> None:
    ledger = replica(store, clock)
    second = await ledger.revoke("car-7")
    await store.put(REVOKED, b'{"car-8": 5000000000}')
    found: dict[str, int] = {}
    await ledger.start()
    await clock.wake(REPAIR_INTERVAL, lambda: True)
    async with asyncio.timeout(5):
        while "car-7" not in found:
            found = await read_revoked(store)
    await ledger.close()
    assert found == {"car-7": second, "car-8": 5000000000}


async def test_old_entries_are_dropped_once_no_token_can_need_them(store: FilesystemStore, clock: ManualClock) -> None:
    ledger = replica(store, clock)
    await ledger.revoke("old")
    clock.advance(LIFE + RETENTION)
    await ledger.revoke("car-7")
    assert set(await read_revoked(store)) == {"old", "car-7"}
    clock.advance(MARGIN + 1)
    await ledger.repair()
    await ledger.revoke("car-8")
    assert set(await read_revoked(store)) == {"car-7", "car-8"}


async def test_nothing_is_read_or_written_where_nothing_was_revoked(store: FilesystemStore, clock: ManualClock) -> None:
    await store.put(REVOKED, b"damaged")
    await replica(store, clock).repair()
    await replica(store, clock).close()
    async with store.get(REVOKED) as blocks:
        assert [block async for block in blocks] == [b"damaged"]


async def test_a_revocation_that_could_not_be_written_is_written_when_the_store_is_back(
    store: FilesystemStore, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    ledger = replica(store, clock)

    async def away(*_: object, **__: object) -> None:
        raise StoreUnavailable

    await ledger.start()
    with monkeypatch.context() as outage, capture_logs() as logs:
        outage.setattr(store, "put", away)
        with pytest.raises(StoreUnavailable):
            await ledger.revoke("car-7")
        await clock.wake(REPAIR_INTERVAL, lambda: bool(logs))
    assert [line["event"] for line in logs] == ["revocations_not_repaired"]
    assert await read_revoked(store) == {}
    await ledger.repair()
    assert set(await read_revoked(store)) == {"car-7"}
    await ledger.close()


async def test_a_write_that_another_replica_overwrote_at_once_is_repeated(
    store: FilesystemStore, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    written: list[bytes] = []
    put = store.put

    async def overwritten_twice(key: str, body: bytes, *, content_type: str) -> None:
        written.append(body)
        await put(key, body if len(written) > 2 else b'{"car-8": 5000000000}', content_type=content_type)

    monkeypatch.setattr(store, "put", overwritten_twice)
    await replica(store, clock).revoke("car-7")
    assert set(await read_revoked(store)) == {"car-7", "car-8"}
    assert len(written) == 3


async def test_endless_contention_is_logged_and_left_to_the_background(
    store: FilesystemStore, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    ledger = replica(store, clock)

    async def overwritten(*_: object, **__: object) -> None:
        """What it looks like when another replica always writes in between."""

    with monkeypatch.context() as contention, capture_logs() as logs:
        contention.setattr(store, "put", overwritten)
        await ledger.revoke("car-7")
    assert [line["event"] for line in logs] == ["revocations_contended"]
    await ledger.repair()
    assert set(await read_revoked(store)) == {"car-7"}


@pytest.mark.parametrize("damage", DAMAGED.values(), ids=DAMAGED)
async def test_a_damaged_object_is_written_anew_and_hinders_no_revocation(
    store: FilesystemStore, clock: ManualClock, damage: bytes
) -> None:
    view = Revocations(store, 5, clock)
    ledger = Ledger(store, view, LIFE, clock)
    first = await replica(store, clock).revoke("car-7")
    await view.refresh()
    await store.put(REVOKED, damage)
    await view.refresh()
    await ledger.repair()
    assert await read_revoked(store) == {"car-7": first}
    await store.put(REVOKED, damage)
    second = await ledger.revoke("car-8")
    assert await read_revoked(store) == {"car-7": first, "car-8": second}
    await store.put(REVOKED, damage)
    assert await ledger.last_revoked("car-7") == first


async def test_a_replica_that_never_read_a_whole_object_writes_none(store: FilesystemStore, clock: ManualClock) -> None:
    await store.put(REVOKED, b"damaged")
    ledger = replica(store, clock)
    with pytest.raises(StoreUnavailable, match="HiperRevocationsStale"):
        await ledger.revoke("car-7")
    assert await read(store, REVOKED) == b"damaged"
    await store.put(REVOKED, b'{"car-8": 5000000000}')
    await ledger.repair()
    assert set(await read_revoked(store)) == {"car-7", "car-8"}
