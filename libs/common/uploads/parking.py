"""Parking: the bytes of a stale upload become few runs in permanent storage. Nothing closes."""

from contextlib import suppress

from libs.common.storage import StoreUnavailable
from libs.common.uploads.layout import FileId, run_key
from libs.common.uploads.outcomes import parked, session_of
from libs.common.uploads.records import Look
from libs.common.uploads.runs import can_be_named, write_run
from libs.common.uploads.stock import Stock, contradicting, take_stock
from libs.common.uploads.tools import Tools


async def park(tools: Tools, file: FileId, threshold: float) -> bool:
    """Park an upload whose newest byte is older than `threshold` seconds. Whether that is done, or not to be done; else
    another process was faster. Raises ObjectNotFound where the bytes moved meanwhile."""
    seen = await tools.records.look(file)
    record = seen.record
    if record.state != "open":
        return True
    stock = await take_stock(tools.buckets, file, record, every=True)
    if record.parked_at is not None and not any(source.digest for source in stock.sources):
        return True
    is_whole = record.whole is not None and stock.durable.covers(record.whole)
    if is_whole or seen.now - max(stock.newest, seen.modified) <= threshold:
        return True
    if await _had_leftover(tools, seen):
        return False
    named = await _replace_by_runs(tools, seen, stock)
    if not named:
        return False
    await tools.pay(named)
    await tools.buckets.temp.delete_many([source.key for source in stock.sources if source.digest])
    await tools.buckets.perm.delete_many([key for key in record.runs if key not in named.record.runs])
    return True


async def _replace_by_runs(tools: Tools, seen: Look, stock: Stock) -> Look | None:
    """Name the runs in the record once they are written; None where another process was faster."""
    began, written = tools.clock.monotonic(), list[str]()
    try:
        runs = await _write_runs(tools, seen, stock, written)
    except BaseException:
        with suppress(StoreUnavailable):  # a sweep deletes them, a day later
            await tools.buckets.perm.delete_many(written)
        raise
    again, named = await tools.records.look(seen.file, seen), None
    if again.etag == seen.etag and can_be_named(began, again.seen_at):
        owes = (*seen.record.owes, parked(seen.file, seen.record, stock.durable.total()))
        named = await tools.records.change(
            again, runs=runs, parked_at=again.now, assembly="", aborts=seen.record.uploads, owes=owes
        )
    if not named:
        await _delete_unnamed(tools, seen, written)
    return named


async def _write_runs(tools: Tools, seen: Look, stock: Stock, written: list[str]) -> tuple[str, ...]:
    """Write few runs, of all bytes; their keys. Sources that contradict another one are runs of their own beside the
    merged ones: no acknowledged byte is lost, and the assembler sees that they differ. `written`: gets the keys of
    new runs, also of one whose write failed."""
    there = {extent: key for key, extent in seen.record.run_extents.items()}
    odd = await contradicting(stock.sources)
    runs = [source.key for source in odd if not source.digest]  # they are runs already
    wanted = [(run, stock.sources) for run in stock.durable]
    wanted += [(source.extent, [source]) for source in odd if source.digest]
    for extent, sources in wanted:
        key = there.get(extent, "") if sources is stock.sources else ""
        if not key:
            key = run_key(seen.file, seen.record.session, extent)
            written.append(key)
            await write_run(tools.buckets.perm, key, sources, extent)
        runs.append(key)
    return tuple(dict.fromkeys(runs))


async def _delete_unnamed(tools: Tools, seen: Look, written: list[str]) -> None:
    """Delete the runs that this process wrote in vain. Only once the record has changed: a swap without an answer that
    comes late cannot name them then. A sweep deletes others, a day later."""
    now = await tools.records.look(seen.file)
    if now.etag != seen.etag:
        await tools.buckets.perm.delete_many([key for key in written if key not in now.record.runs])


async def _had_leftover(tools: Tools, seen: Look) -> bool:
    """Delete a file of an upload before this one whose delete had no effect. No reader sees it, and it takes room. An
    upload that is parked is looked at no more, so it goes first."""
    done = await tools.records.object(seen.file)
    if not done or session_of(done) == seen.record.session:
        return False
    await tools.records.delete_file(seen)
    return True
