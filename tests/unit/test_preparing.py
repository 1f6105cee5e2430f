"""What a process needs of its store, however long that takes to come."""

from pathlib import Path

import pytest

from libs.common.layout import PROBE
from libs.common.preparing import REFUSALS, BucketNeed, Preparation
from libs.common.settings import ConfigurationError
from libs.common.store import ObjectNotFound, StoreRefused, StoreUnavailable, list_all
from libs.common.store.filesystem import FilesystemStore
from tests.unit.core.world import VirtualClock

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
    """A preparation that has come to its end, and what it gave up for."""
    given_up: list[ConfigurationError] = []
    needs = [BucketNeed(store, "TEMP_BUCKET=mine") for store in stores]
    preparation = Preparation(*needs, patience=PATIENCE, give_up=given_up.append, clock=VirtualClock())
    await preparation.start()
    if preparation._task:
        await preparation._task
    await preparation.close()
    return preparation, given_up


async def test_it_makes_the_bucket_and_leaves_nothing_of_its_trial(tmp_path: Path) -> None:
    store = FilesystemStore(tmp_path)
    preparation, given_up = await prepared(store)
    assert (preparation.done, given_up, await list_all(store, PROBE)) == (True, [], [])
    await store.close()


async def test_a_store_that_comes_late_is_waited_for(tmp_path: Path) -> None:
    store = Moody(tmp_path, *[StoreUnavailable("away"), ObjectNotFound("by a proxy without a route")] * 4)
    preparation, given_up = await prepared(store)
    assert (preparation.done, given_up) == (True, [])
    await store.close()


async def test_a_store_that_stays_away_is_given_up_in_the_end(tmp_path: Path) -> None:
    store = Moody(tmp_path, *[StoreUnavailable("nobody there")] * 1000)
    preparation, (reason,) = await prepared(store)
    assert not preparation.done
    assert "TEMP_BUCKET=mine does not answer for 60 s: nobody there" in str(reason)
    await store.close()


@pytest.mark.parametrize("refusals", [REFUSALS - 1, REFUSALS])
async def test_a_store_that_refuses_is_given_up_soon_but_not_at_once(tmp_path: Path, refusals: int) -> None:
    store = Moody(tmp_path, *[StoreRefused("not you")] * refusals)
    preparation, given_up = await prepared(store)
    assert preparation.done == (refusals < REFUSALS)
    assert [str(error) for error in given_up] == ["TEMP_BUCKET=mine may not be made, or seen: not you"] * (
        refusals == REFUSALS
    )
    await store.close()
