"""The view that every service keeps of the revoked tokens."""

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from libs.common.security import revocations
from libs.common.security.revocations import DamagedRevocations, Revocations, read_revoked
from libs.common.security.tokens import Principal
from libs.common.storage.filesystem import FilesystemStore
from libs.common.uploads.layout import REVOKED
from tests.unit import metrics
from tests.unit.clocks import ManualClock
from tests.unit.damage import DAMAGED


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[FilesystemStore]:
    store = FilesystemStore(tmp_path / "auth")
    await store.ensure()
    yield store
    await store.close()


def token(issued_at: int, subject: str = "car-7") -> Principal:
    return Principal(subject, frozenset(), "1", issued_at, issued_at + 60)


async def test_a_token_is_void_if_issued_in_the_second_of_the_revocation_or_before(
    store: FilesystemStore,
) -> None:
    await store.put(REVOKED, b'{"car-7": 1000}')
    view = Revocations(store, 5)
    await view.refresh()
    assert view.is_revoked(token(999))
    assert view.is_revoked(token(1000))
    assert not view.is_revoked(token(1001))
    assert not view.is_revoked(token(999, subject="car-8"))


async def test_without_the_object_nothing_is_revoked(store: FilesystemStore) -> None:
    view = Revocations(store, 5)
    await view.refresh()
    assert view.ready
    assert not view.is_revoked(token(1))


async def test_before_the_first_reading_no_token_is_trusted(store: FilesystemStore) -> None:
    view = Revocations(store, 5)
    assert not view.ready
    assert view.is_revoked(token(1))


async def test_a_revocation_is_seen_within_the_interval(store: FilesystemStore) -> None:
    clock = ManualClock()
    view = Revocations(store, 5, clock)
    await view.start()
    assert view.ready
    await store.put(REVOKED, b'{"car-7": 1000}')
    await clock.wake(5, lambda: view.is_revoked(token(1000)))
    await view.close()


@pytest.mark.parametrize("damage", DAMAGED.values(), ids=DAMAGED)
async def test_a_damaged_object_keeps_what_was_known_and_is_logged_once(store: FilesystemStore, damage: bytes) -> None:
    await store.put(REVOKED, b'{"car-7": 1000}')
    view = Revocations(store, 5)
    await view.refresh()
    await store.put(REVOKED, damage)
    with capture_logs() as logs:
        await view.refresh()
        await view.refresh()
    assert view.ready
    assert view.is_revoked(token(1000))
    assert [line["event"] for line in logs] == ["revocations_unreadable"]


async def test_an_object_without_end_is_not_read_into_memory(
    store: FilesystemStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(revocations, "MOST_BYTES", 1000)
    await store.put(REVOKED, b'{"car-7": 1000' + b" " * 1000 + b"}")
    with pytest.raises(DamagedRevocations, match="more than 1000 bytes"):
        await read_revoked(store)


async def test_what_is_wrong_is_said_in_one_line_whatever_the_object_is(store: FilesystemStore) -> None:
    await store.put(REVOKED, b'{"car-7": 1000, "car-8": "' + b"x" * 100_000 + b'"}')
    with pytest.raises(DamagedRevocations) as damaged:
        await read_revoked(store)
    assert str(damaged.value).startswith("revoked.json is damaged at 'car-8': Input should be a valid integer")
    assert len(str(damaged.value)) < 400


@pytest.mark.parametrize("damage", DAMAGED.values(), ids=DAMAGED)
async def test_following_goes_on_after_damage_and_after_what_nobody_thought_of(
    store: FilesystemStore, damage: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock, get, reads = ManualClock(), store.get, 0

    def counted(key: str) -> AbstractAsyncContextManager[AsyncIterator[bytes]]:
        nonlocal reads
        reads += 1
        if reads == 3:
            raise MemoryError("nobody thought of it")
        return get(key)

    monkeypatch.setattr(store, "get", counted)
    view = Revocations(store, 5, clock)
    await view.start()
    await store.put(REVOKED, damage)
    await clock.wake(5, lambda: reads == 2)
    await clock.wake(5, lambda: reads == 3)
    await store.put(REVOKED, b'{"car-7": 1000}')
    await clock.wake(5, lambda: view.is_revoked(token(1000)))
    await view.close()


async def test_what_cannot_be_read_for_too_long_is_not_known_any_more(store: FilesystemStore) -> None:
    clock = ManualClock()
    view = Revocations(store, 5, clock, max_age=60)
    await view.start()
    await store.put(REVOKED, b"damaged")
    clock.advance(60)
    await view.refresh()
    assert view.ready
    assert metrics.value("hiper_revocations_age_seconds") == 60
    clock.advance(1)
    assert not view.ready
    await store.put(REVOKED, b"{}")
    await view.refresh()
    assert view.ready
    assert metrics.value("hiper_revocations_age_seconds") == 0
    await view.close()


async def test_a_store_that_is_away_at_start_is_not_fatal_and_is_tried_again(tmp_path: Path) -> None:
    root = tmp_path / "auth"
    root.write_text("not a directory")
    store, clock = FilesystemStore(root), ManualClock()
    view = Revocations(store, 5, clock)
    await view.start()
    assert not view.ready
    root.unlink()
    await store.ensure()
    await clock.wake(5, lambda: view.ready)
    await view.close()
    await store.close()


async def test_closing_a_view_that_was_not_started_does_nothing(store: FilesystemStore) -> None:
    await Revocations(store, 5).close()
