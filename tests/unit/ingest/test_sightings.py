"""When ingest saw a device last, and why it refused it: one small object a minute says so, never one a request."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from libs.common.fleet.seen import collect
from libs.common.problems import Kind, Problem
from libs.common.security.tokens import Principal
from libs.common.settings import Settings
from libs.common.storage import Buckets, StoreUnavailable
from libs.common.storage.filesystem import FilesystemStore
from services.ingest import sightings
from services.ingest.sightings import KEPT, Sightings
from tests.unit.clocks import ManualClock
from tests.unit.ingest.running import make_settings, token_for
from tests.unit.ingest.talk import Device, accepted, refused
from tests.uploads.hooked_store import Hooks

CAR = Principal("car-7", frozenset(), "id", 0, 0, "truck")


@pytest.fixture
async def perm(tmp_path: Path) -> AsyncIterator[FilesystemStore]:
    store = FilesystemStore(tmp_path / "alone")
    await store.ensure()
    yield store
    await store.close()


def refuse(seen: Sightings, kind: Kind) -> None:
    with pytest.raises(Problem), seen.of(CAR):
        raise Problem(kind, "for some reason")


class TestWhatIsPut:
    async def test_a_thousand_requests_are_one_row_of_one_object(self, perm: FilesystemStore) -> None:
        hooks, clock = Hooks(), ManualClock()
        seen = Sightings(hooks.over(Buckets(perm, perm)).perm, clock)
        for _ in range(1000):
            with seen.of(CAR):
                pass
        assert hooks.calls == []
        await seen.put()
        await seen.put()
        assert [call.method for call in hooks.calls] == ["put"]
        (found,) = await collect(perm)
        assert [(row.device_id, row.last_seen, row.device_class) for row in found.rows] == [
            ("car-7", clock.time(), "truck")
        ]

    async def test_the_last_refusal_is_told_with_its_reason(self, perm: FilesystemStore) -> None:
        seen, clock = Sightings(perm, ManualClock()), ManualClock()
        refuse(seen, Kind.BUSY)
        refuse(seen, Kind.QUOTA_EXCEEDED)
        refuse(seen, Kind.NOT_FOUND)
        await seen.put()
        (found,) = await collect(perm)
        assert found.rows[0].refusal == "quota-exceeded: for some reason"
        assert found.rows[0].refused_at == pytest.approx(clock.time(), abs=2)

    async def test_what_was_not_put_is_put_the_next_time(self, perm: FilesystemStore) -> None:
        hooks = Hooks()
        seen = Sightings(hooks.over(Buckets(perm, perm)).perm, ManualClock())
        with seen.of(CAR):
            hooks.fail("put")
        with pytest.raises(StoreUnavailable):
            await seen.put()
        await seen.put()
        assert len(await collect(perm)) == 1

    async def test_an_end_puts_what_is_left(self, perm: FilesystemStore) -> None:
        seen = Sightings(perm, ManualClock())
        seen.start()
        with seen.of(CAR):
            pass
        await seen.close()
        assert len(await collect(perm)) == 1

    async def test_memory_is_bounded_by_time_and_number(
        self, perm: FilesystemStore, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(sightings, "MOST", 2)
        clock = ManualClock()
        seen = Sightings(perm, clock)
        for name in ("a", "b", "c"):
            with seen.of(Principal(name, frozenset(), "id", 0, 0)):
                pass
        await seen.put()
        assert [row.device_id for row in (await collect(perm))[0].rows] == ["b", "c"]
        clock.advance(KEPT + 1)
        with seen.of(CAR):
            pass
        await seen.put()
        assert [row.device_id for row in (await collect(perm))[0].rows] == ["car-7"]


class TestTheWholeWay:
    @pytest.fixture
    def settings(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
        monkeypatch.setattr(sightings, "INTERVAL", 0.1)
        monkeypatch.setattr("services.auth.glances.FRESH", 0.0)
        return make_settings(tmp_path, fleet_interval=0.05)

    async def test_an_operator_sees_when_a_device_came_and_why_it_was_refused(
        self, http: httpx.AsyncClient, device: Device, settings: Settings
    ) -> None:
        admin = Device(http, token_for(settings, "admin", "admin"))
        await admin.ask("POST", "/devices", json={"device_id": "car-7"})
        accepted(await device.chunk("a", b"0123456789", 0, 4))
        refused(await device.post("b", 5, b"short"), 400, "malformed-chunk")
        async with asyncio.timeout(20):
            while True:
                shown = accepted(await admin.ask("GET", "/devices/car-7"))
                if shown["last_refusal"] and shown["uploads_open"]:
                    break
                await asyncio.sleep(0.1)
        assert shown["last_refusal"]["why"].startswith("malformed-chunk: ")
        assert shown["last_seen"] >= shown["last_refusal"]["when"][:19]
        assert shown["uploads_open"] == 1
