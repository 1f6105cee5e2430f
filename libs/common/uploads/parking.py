"""Parking: the bytes of a stale upload become few runs in permanent storage. Nothing closes."""

from libs.common.bus import EventBus
from libs.common.clock import Clock
from libs.common.storage import Buckets
from libs.common.uploads.layout import FileId, run_key
from libs.common.uploads.outcomes import parked
from libs.common.uploads.record import Record
from libs.common.uploads.records import Look, Records, session_of
from libs.common.uploads.runs import can_be_named, write_run
from libs.common.uploads.stock import Stock, contradicting, take_stock
from libs.common.uploads.watch import UNWATCHED, Watch


class Parker:
    def __init__(self, buckets: Buckets, bus: EventBus, clock: Clock, watch: Watch = UNWATCHED) -> None:
        self._buckets = buckets
        self._bus = bus
        self._clock = clock
        self._watch = watch
        self._records = Records(buckets, clock)

    async def park(self, file: FileId, threshold: float) -> bool:
        """Park an upload whose newest byte is older than `threshold` seconds. Whether that is done, or not to be done;
        else another process was faster. Raises ObjectNotFound where the bytes moved meanwhile."""
        seen = await self._records.look(file)
        record = seen.record
        if not record or record.state != "open":
            return True
        stock = await take_stock(self._buckets, file, record, every=True)
        now = seen.store_time(self._clock.monotonic())
        if record.parked_at is not None and not any(source.digest for source in stock.sources):
            return True
        if now - max(stock.newest, seen.modified) <= threshold or (record.whole and stock.durable.covers(record.whole)):
            return True
        if await self._had_leftover(seen, record):
            return False
        return await self._park(seen, record, stock)

    async def _park(self, seen: Look, record: Record, stock: Stock) -> bool:
        began, file = self._clock.monotonic(), seen.file
        runs = await self._write_runs(file, record, stock)
        again = await self._records.look(file, seen)
        if again.etag != seen.etag or not can_be_named(began, again.seen_at):
            return False  # the runs that no record names are swept
        now = again.store_time(self._clock.monotonic())
        named = await self._records.change(again, runs=tuple(runs), parked_at=now, assembly="", aborts=record.uploads)
        if not named:
            return False
        event = parked(file, record, stock.durable.total())
        self._bus.publish(event)
        self._watch.told(event)
        await self._buckets.temp.delete_many([source.key for source in stock.sources if source.digest])
        await self._buckets.perm.delete_many([key for key in record.runs if key not in runs])
        return True

    async def _write_runs(self, file: FileId, record: Record, stock: Stock) -> list[str]:
        """Write few runs, of all bytes; their keys. Sources that contradict another one are runs of their own beside
        the merged ones: no acknowledged byte is lost, and the assembler sees that they differ."""
        there = {extent: key for key, extent in record.run_extents.items()}
        odd = await contradicting(stock.sources)
        keys = [source.key for source in odd if not source.digest]  # they are runs already
        wanted = [(run, stock.sources) for run in stock.durable]
        wanted += [(source.extent, [source]) for source in odd if source.digest]
        for extent, sources in wanted:
            key = there.get(extent, "") if sources is stock.sources else ""
            if not key:
                key = run_key(file, record.session, extent)
                await write_run(self._buckets.perm, key, sources, extent)
            if key not in keys:
                keys.append(key)
        return keys

    async def _had_leftover(self, seen: Look, record: Record) -> bool:
        """Delete a file of an upload before this one whose delete had no effect. No reader sees it, and it takes room.
        An upload that is parked is looked at no more, so it goes first."""
        done = await self._records.file(seen.file)
        if not done or session_of(done) == record.session:
            return False
        await self._records.delete_file(seen)
        return True
