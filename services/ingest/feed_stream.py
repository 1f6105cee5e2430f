"""The feed as a stream: what is kept behind a cursor, then each outcome as it comes."""

import json
import time

from libs.common.feed.positions import Position
from libs.common.feed.tail import Batch, Tail, Wanted
from services.ingest.streams import Item, Items

AT_ONCE = 100  # outcomes
MARK = 60.0  # seconds between two bookmarks, by which a reader gets on to whom no outcome comes
LOOK = 15.0  # seconds


async def outcomes_of(tail: Tail, after: Position, wanted: Wanted) -> Items:
    """A bookmark, then outcomes. Raises StoreUnavailable."""
    yield _bookmark(after)
    marked = time.monotonic()
    while True:
        batch = await tail.read(after, AT_ONCE, wanted)
        for told in batch.told:
            cursor = told.position.cursor
            yield Item(json.dumps({"cursor": cursor, "event": told.outcome.model_dump(mode="json")}), cursor)
        after = batch.next
        if time.monotonic() - marked >= MARK:
            yield _bookmark(after)
            marked = time.monotonic()
        if not batch.more:
            await tail.wait(after, LOOK)


async def first_after(tail: Tail, batch: Batch, limit: int, wanted: Wanted) -> Batch:
    """The first batch after an empty one that holds something. Raises StoreUnavailable."""
    while not batch.told:
        if not batch.more:
            await tail.wait(batch.next, LOOK)
        batch = await tail.read(batch.next, limit, wanted)
    return batch


def _bookmark(position: Position) -> Item:
    return Item(json.dumps({"cursor": position.cursor}), position.cursor, "bookmark")
