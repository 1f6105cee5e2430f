"""Rejecting an upload whose bytes are not what was declared: they are kept apart, for the operator to look at."""

from libs.common.bus import EventBus
from libs.common.clock import Clock
from libs.common.storage import Buckets
from libs.common.uploads.layout import rejected_key
from libs.common.uploads.outcomes import rejected
from libs.common.uploads.record import Record
from libs.common.uploads.records import Look, Records
from libs.common.uploads.runs import can_be_named, write_run
from libs.common.uploads.stock import take_stock
from libs.common.uploads.watch import Watch


class Rejecter:
    def __init__(self, buckets: Buckets, bus: EventBus, clock: Clock, records: Records, watch: Watch) -> None:
        self._buckets = buckets
        self._bus = bus
        self._clock = clock
        self._records = records
        self._watch = watch

    async def reject(self, seen: Look, record: Record, why: str, computed: str = "") -> bool:
        """Copy the bytes to rejected/, then close the record, rejected. A file that was made of them is deleted.
        `computed`: their SHA-256 in hex, where it was computed. Whether it is done, or waits for bytes: until all are
        there, replicas acknowledge bytes that have to be kept too. Else another process was faster. Raises
        ObjectNotFound where the bytes moved."""
        stock = await take_stock(self._buckets, seen.file, record, every=True)
        if record.whole is None or not stock.durable.covers(record.whole):
            return True
        began = self._clock.monotonic()
        for run in stock.durable:
            await write_run(self._buckets.perm, rejected_key(seen.file, record.session, run), stock.sources, run)
        again = await self._records.look(seen.file, seen)
        if again.etag != seen.etag or not can_be_named(began, again.seen_at):
            return False  # the copies are swept
        closed = await self._records.delete_file(
            again, state="closed", session="", file="", rejected=why, kept=(*record.kept, record.session), runs=(),
            assembly="", aborts=record.uploads, parked_at=None,
        )  # fmt: skip
        if closed:
            event = rejected(seen.file, record, why, computed)
            self._bus.publish(event)
            self._watch.told(event)
        return closed is not None
