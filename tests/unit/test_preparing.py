"""What a process needs of its store, however long that takes to come."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from libs.common.settings import REFUSALS, ConfigurationError, GiveUp
from libs.common.storage import Body, Listing, ObjectNotFound, StoreRefused, StoreUnavailable, list_all
from libs.common.storage.filesystem import FilesystemStore
from libs.common.uploads.layout import PROBES
from libs.common.wiring.needs import Bucket, Service
from libs.common.wiring.preparing import LOOKS_FAILED, BucketNeed, Preparation
from libs.common.wiring.resources import bucket_need
from tests.unit.keyrings import plain_settings
from tests.uploads.world import VirtualClock

PATIENCE = 60.0  # seconds


class Moody(FilesystemStore):
    """Raises what it is told to, one for each `ensure`, and then works."""

    def __init__(self, root: Path, *moods: Exception) -> None:
        super().__init__(root)
        self.moods = list(moods)

    async def ensure(self) -> None:
        if self.moods:
            raise self.moods.pop(0)
        await super().ensure()


async def prepared(*stores: FilesystemStore) -> tuple[Preparation, list[ConfigurationError]]:
    """A preparation that has come to its end, or is ready, and what it gave up for."""
    given_up: list[ConfigurationError] = []
    preparation = preparing(*stores, give_up=given_up.append)
    await preparation.start()
    await until(lambda: preparation.ready or bool(given_up))
    await preparation.close()
    return preparation, given_up


def preparing(*stores: FilesystemStore, give_up: GiveUp) -> Preparation:
    needs = [BucketNeed(store, "TEMP_BUCKET=mine") for store in stores]
    return Preparation(*needs, patience=PATIENCE, give_up=give_up, clock=VirtualClock())


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not holds():  # noqa: ASYNC110  # what is waited for sets no event
            await asyncio.sleep(0.001)


def never(error: ConfigurationError) -> None:
    pytest.fail(f"gave up: {error}")


async def test_it_makes_the_bucket_and_leaves_nothing_of_its_trial(tmp_path: Path) -> None:
    store = FilesystemStore(tmp_path)
    preparation, given_up = await prepared(store)
    assert (preparation.ready, given_up, await list_all(store, PROBES)) == (True, [], [])
    await store.close()


async def test_a_store_that_comes_late_is_waited_for(tmp_path: Path) -> None:
    store = Moody(tmp_path, *[StoreUnavailable("away"), ObjectNotFound("by a proxy without a route")] * 4)
    preparation, given_up = await prepared(store)
    assert (preparation.ready, given_up) == (True, [])
    await store.close()


async def test_a_store_that_stays_away_is_given_up_in_the_end(tmp_path: Path) -> None:
    store = Moody(tmp_path, *[StoreUnavailable("nobody there")] * 1000)
    preparation, (reason,) = await prepared(store)
    assert not preparation.ready
    assert "TEMP_BUCKET=mine does not answer for 60 s: nobody there" in str(reason)
    await store.close()


@pytest.mark.parametrize("refusals", [REFUSALS - 1, REFUSALS])
async def test_a_store_that_refuses_is_given_up_soon_but_not_at_once(tmp_path: Path, refusals: int) -> None:
    store = Moody(tmp_path, *[StoreRefused("not you")] * refusals)
    preparation, given_up = await prepared(store)
    assert preparation.ready == (refusals < REFUSALS)
    assert [str(error) for error in given_up] == ["TEMP_BUCKET=mine may not be made, or seen: not you"] * (
        refusals == REFUSALS
    )
    await store.close()


async def test_it_is_ready_only_while_the_bucket_is_there_and_makes_none_anew(tmp_path: Path) -> None:
    place, elsewhere = tmp_path / "store", tmp_path / "elsewhere"
    store = FilesystemStore(place)
    preparation = preparing(store, give_up=never)
    await preparation.start()
    for _ in range(2):
        assert preparation.ready
        place.rename(elsewhere)
        await until(lambda: not preparation.ready)
        assert not place.exists()
        elsewhere.rename(place)
        await until(lambda: preparation.ready)
    await preparation.close()
    await store.close()


class Overwriting(FilesystemStore):
    """Takes every write, whatever its condition, as S3 stores did before 2024."""

    async def put(self, key: str, body: Body, **more: Any) -> str:
        return await super().put(key, body, **more | {"absent": False})


async def test_a_store_without_conditions_is_given_up_and_the_reason_says_what_to_do(tmp_path: Path) -> None:
    store, given_up = Overwriting(tmp_path), list[ConfigurationError]()
    wanted = BucketNeed(store, "PERM_BUCKET=mine of MINIO_ENDPOINT=store:9000", conditions=True)
    preparation = Preparation(wanted, patience=PATIENCE, give_up=given_up.append, clock=VirtualClock())
    await preparation.start()
    await until(lambda: bool(given_up))
    await preparation.close()
    (reason,) = map(str, given_up)
    assert not preparation.ready
    assert "PERM_BUCKET=mine of MINIO_ENDPOINT=store:9000 may not be used" in reason
    assert "ignores `If-None-Match: *` on PutObject" in reason
    assert "MinIO from October 2025 on" in reason
    assert await list_all(store, PROBES) == []
    await store.close()


@pytest.mark.parametrize("bucket", ["temp", "perm"])
async def test_services_need_conditions_for_files_and_not_for_devices(tmp_path: Path, bucket: Bucket) -> None:
    store = Overwriting(tmp_path)
    await bucket_need(plain_settings(), Service.SERVE, "auth", store).meet()
    with pytest.raises(StoreRefused, match="If-None-Match"):
        await bucket_need(plain_settings(), Service.SERVE, bucket, store).meet()
    await store.close()


class Faint(FilesystemStore):
    """Does not answer the first `faults` listings."""

    def __init__(self, root: Path, faults: int) -> None:
        super().__init__(root)
        self.faults, self.answered = faults, 0

    async def list(self, prefix: str, *, start_after: str = "", limit: int = 1000) -> Listing:
        if self.faults:
            self.faults -= 1
            raise StoreUnavailable("away")
        self.answered += 1
        return await super().list(prefix, start_after=start_after, limit=limit)


@pytest.mark.parametrize("faults", [LOOKS_FAILED - 1, LOOKS_FAILED])
async def test_one_lost_answer_makes_no_process_unready(tmp_path: Path, faults: int) -> None:
    store = Faint(tmp_path, faults)
    preparation = preparing(store, give_up=never)
    with capture_logs() as logs:
        await preparation.start()
        await until(lambda: store.answered > 1)
        await preparation.close()
    said = [line["event"] for line in logs]
    lost = ["not ready: the store is gone", "ready: the store is there again"]
    assert said == (lost if faults == LOOKS_FAILED else [])
    await store.close()
