"""The uploads of the fleet as a stream: first all that match, then what becomes of them."""

from datetime import UTC, datetime
from typing import Literal

from pydantic import BaseModel, Field

from libs.common.fleet.filters import Filter
from libs.common.fleet.rows import UploadRow
from services.ingest.keeper import Kept
from services.ingest.models_fleet import UploadItem
from services.ingest.streams import Item, Items

BOOKMARK = 60.0  # seconds between two bookmarks


class UploadChange(BaseModel):
    """An item of a stream of uploads."""

    change: Literal["listed", "added", "changed", "removed"] = Field(
        description="`listed`: it is there now, and belongs to the list that began last. The others tell of an upload "
        "that begins to match, goes on, or ceases to match: `removed` shows it as it was last."
    )
    upload: UploadItem


class UploadsMark(BaseModel):
    """An item of a stream of uploads that tells of none."""

    change: Literal["list", "bookmark"] = Field(
        description="`list`: a list begins, and what was shown before counts no more. `bookmark`: everything until "
        "here was shown; it comes behind the list, and once a minute."
    )
    version: str = Field(description="Of a bookmark, give it as `after` (or `Last-Event-ID`) to go on from there.")
    as_of: datetime | None = Field(description="As in a list.")
    live: bool = Field(description="As in a list.")


async def changes_of(kept: Kept, wanted: Filter, version: str | None, stale_threshold: float) -> Items:
    """The items of a stream: from a version on where this process knows it, else from a new list on. A change is shown
    within about a second, and of several of one upload the last. Ends where the uploads are kept no more.
    `stale_threshold` in seconds."""

    def row(change: str, row: UploadRow, version: str | None = None) -> Item:
        now = kept.now()
        shown = UploadItem.of(row, now, stuck=kept.live.is_stuck(row, now), stale_threshold=stale_threshold)
        return _item(UploadChange.model_validate({"change": change, "upload": shown}), version)

    def mark(change: Literal["list", "bookmark"], version: str) -> Item:
        as_of = kept.live.as_of
        when = None if as_of is None else datetime.fromtimestamp(as_of, UTC)
        told = UploadsMark(change=change, version=version, as_of=when, live=kept.hears_all(wanted.owner))
        return _item(told, version if change == "bookmark" else None)

    with kept.reading(wanted.owner):
        at = version or ""
        marked = kept.now()
        while not kept.is_over:
            changes, before = kept.changes(at, wanted), kept.version
            if changes is None:
                yield mark("list", before)
                async for listed in kept.live.matching(wanted, None, kept.now()):
                    yield row("listed", listed)
            for number, (kind, changed) in enumerate(changes or (), 1):
                yield row(kind, changed, before if number == len(changes or ()) else None)
            at = before
            if changes is None or kept.now() - marked >= BOOKMARK:
                marked = kept.now()
                yield mark("bookmark", at)
            await kept.wait(at, wanted, max(0.0, marked + BOOKMARK - kept.now()))


def _item(told: UploadChange | UploadsMark, version: str | None) -> Item:
    return Item(told.model_dump_json(by_alias=True), id=version, event=told.change)
