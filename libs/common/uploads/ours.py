"""Listings without what somebody else put into a bucket."""

from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from typing import TypeVar

from libs.common.storage import ObjectInfo, ObjectStore, walk
from libs.common.uploads.layout import ForeignKey

K = TypeVar("K")


def ours(objects: Iterable[ObjectInfo], parse: Callable[[str], K]) -> Iterator[tuple[K, ObjectInfo]]:
    """The objects with what their keys say, but those whose key `parse` refuses."""
    for info in objects:
        try:
            key = parse(info.key)
        except ForeignKey:
            continue
        yield key, info


async def walk_ours(
    store: ObjectStore, prefix: str, parse: Callable[[str], K], start_after: str = ""
) -> AsyncIterator[tuple[K, ObjectInfo]]:
    """As `ours`, of every object below a prefix. Raises StoreUnavailable."""
    async for info in walk(store, prefix, start_after):
        for found in ours([info], parse):
            yield found
