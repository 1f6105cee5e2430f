"""The view that every service keeps of the revoked tokens."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from libs.common.layout import REVOKED
from libs.common.revocations import Revocations
from libs.common.store.filesystem import FilesystemStore
from libs.common.tokens import Principal
from tests.unit.clocks import ManualClock


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


@pytest.mark.parametrize("damage", [b"no json", b"[]", b'{"car-7": "soon"}', b'{"car-7": null}'])
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
