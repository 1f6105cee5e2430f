"""Putting and reading the tables of the fleet: a reader asks only for news, and of two writers the newer look wins."""

import asyncio
from dataclasses import dataclass, field, replace
from typing import Generic

import structlog

from libs.common.fleet.tables import Kind, R, Table, UnreadableTable, decode, encode
from libs.common.storage import ConditionFailed, ObjectNotFound, ObjectStore

log = structlog.get_logger(__name__)
_AT = "at"  # metadata: the store's time of the look, so that a writer need not read the table that it replaces
MEDIA_TYPE = "application/gzip"


@dataclass(frozen=True)
class Found(Generic[R]):
    """A table and the etag of its object; `table` is None where it cannot be read. `issued`: the store's time when it
    was asked for, in seconds since the epoch."""

    etag: str
    table: Table[R] | None
    issued: float = field(default=0.0, compare=False)


async def load(perm: ObjectStore, kind: Kind[R], known: Found[R] | None = None, key: str = "") -> Found[R] | None:
    """The newest table, that of `known` where it is still the newest; None where there is none. `key`: of another
    object of this kind. Raises StoreUnavailable."""
    key = key or kind.key
    found = await perm.fetch(key, known=known.etag if known else "")
    issued = found.fence.issued
    if found.unchanged and known:
        return replace(known, issued=issued)
    if not found.info:
        return None
    try:
        return Found(found.info.etag, await asyncio.to_thread(decode, kind, found.data), issued)
    except UnreadableTable as error:
        log.error("a table of the fleet cannot be read; the next one replaces it", key=key, error=str(error))
        return Found(found.info.etag, None, issued)


async def save(perm: ObjectStore, kind: Kind[R], table: Table[R], *, replaces: str) -> str:
    """Put a table in place of the one with the etag `replaces`, or where none is if that is empty; its etag. Raises
    ConditionFailed where another process was faster, and StoreUnavailable."""
    body = await asyncio.to_thread(encode, kind, table)
    metadata = {_AT: repr(table.at)}
    return await perm.put(
        kind.key, body, absent=not replaces, match=replaces, content_type=MEDIA_TYPE, metadata=metadata
    )


async def save_newer(perm: ObjectStore, kind: Kind[R], table: Table[R]) -> bool:
    """Put a table unless a newer one is there, or another process puts one meanwhile; whether it was put. Raises
    StoreUnavailable."""
    etag, at = await _newest(perm, kind)
    if at >= table.at:
        return False
    try:
        await save(perm, kind, table, replaces=etag)
    except ConditionFailed:
        return False
    return True


async def _newest(perm: ObjectStore, kind: Kind[R]) -> tuple[str, float]:
    try:
        info = await perm.stat(kind.key)
    except ObjectNotFound:
        return "", float("-inf")
    try:
        return info.etag, float(info.metadata.get(_AT, "-inf"))
    except ValueError:
        return info.etag, float("-inf")
