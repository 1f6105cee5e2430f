"""Rejecting an upload whose bytes are not what was declared: they are kept apart, for the operator to look at."""

from libs.common.uploads.layout import rejected_key
from libs.common.uploads.outcomes import rejected
from libs.common.uploads.records import Look
from libs.common.uploads.runs import can_be_named, write_run
from libs.common.uploads.stock import take_stock
from libs.common.uploads.tools import Tools


async def reject(tools: Tools, seen: Look, why: str, computed: str = "") -> bool:
    """Copy the bytes to rejected/, then close the record, rejected. A file that was made of them is deleted.
    `computed`: their SHA-256 in hex, where it was computed. Whether it is done, or waits for bytes: until all are
    there, replicas acknowledge bytes that have to be kept too. Else another process was faster. Raises
    ObjectNotFound where the bytes moved."""
    record, perm = seen.record, tools.buckets.perm
    stock = await take_stock(tools.buckets, seen.file, record, every=True)
    if record.whole is None or not stock.durable.covers(record.whole):
        return True
    began = tools.clock.monotonic()
    copies = {rejected_key(seen.file, record.session, run): run for run in stock.durable}
    for key, run in copies.items():
        await write_run(perm, key, stock.sources, run)
    again = await tools.records.look(seen.file, seen)
    if again.etag != seen.etag:
        await perm.delete_many(list(copies))
        return False
    if not can_be_named(began, again.seen_at):
        return False  # the copies are swept
    outcome = rejected(seen.file, record, why, computed)
    closing = record.closing(outcome, rejected=why, kept=(*record.kept, record.session))
    closed = await tools.records.delete_file(again, **closing)
    if closed:
        await tools.pay(closed)
    return closed is not None
