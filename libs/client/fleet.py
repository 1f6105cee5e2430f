"""The uploads in progress of all devices, or of one: GET /uploads."""

import unicodedata
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import aclosing
from datetime import datetime
from typing import Literal, TypedDict, Unpack

from libs.client.events import ServerEvent
from libs.client.following import Follower, of_all, up_to_present
from libs.client.models import Record
from libs.client.models_fleet import FleetChange, UploadEntry
from libs.client.retry import Patience
from libs.client.transport import Answer, Request, Transport
from libs.common.files.labels import join_labels

PAGE = 1000  # uploads in one answer


class _Page(Record):
    uploads: list[UploadEntry]
    next: str | None
    version: str
    as_of: datetime | None
    live: bool


class Filters(TypedDict, total=False):
    """Which uploads. `stuck`: only those that are, or are not; `label`: only those that have all of these. A filter
    that is None or empty does not count."""

    owner: str | None
    status: Literal["pending", "partial"] | None
    stuck: bool | None
    prefix: str | None
    device_class: str | None
    label: Mapping[str, str] | None


class Fleet:
    """The route /uploads. With the scope `fleet:read` it shows the uploads of all devices, else one's own.

    `patience`: how long a call goes on trying while the server is away."""

    def __init__(self, transport: Transport, patience: Callable[[], Patience]) -> None:
        self._transport = transport
        self._patience = patience

    async def list(self, **filters: Unpack[Filters]) -> AsyncGenerator[UploadEntry, None]:
        """The uploads in progress, in the order of owners and names."""
        place, patience = _Place(_query_of(filters)), self._patience()
        changes = of_all(self._transport, up_to_present(self._transport, place, patience), patience)
        async with aclosing(changes):
            async for change in changes:
                if change.upload:
                    yield change.upload

    def watch(self, **filters: Unpack[Filters]) -> AsyncGenerator[FleetChange, None]:
        """The same, then each change, without an end; now and then the whole list again."""
        place, patience = _Place(_query_of(filters)), self._patience()
        return of_all(self._transport, Follower(self._transport, place, patience).run(), patience)


def _query_of(filters: "Filters") -> dict[str, str]:
    given = dict(filters)
    given["prefix"] = unicodedata.normalize("NFC", filters.get("prefix") or "")
    given["label"] = join_labels(filters.get("label") or {})
    given["class"] = given.pop("device_class", None)
    if filters.get("stuck") is not None:
        given["stuck"] = str(filters["stuck"]).lower()
    return {name: str(value) for name, value in given.items() if value}


class _Place:
    """How far the uploads were read: up to a version, or up to a page of a list."""

    rest = 5.0  # seconds between two lists, where each change needs a whole one

    def __init__(self, query: dict[str, str]) -> None:
        self._query = query
        self._version = ""  # everything before it was read
        self._list: _Page | None = None  # the first page of the list that is being read
        self._next: str | None = None  # the page that comes next

    @property
    def is_present(self) -> bool:
        return bool(self._version) and self._next is None

    def request(self) -> Request:
        after = self._next or self._version
        return Request("GET", "/uploads", {**self._query, "limit": str(PAGE)} | ({"after": after} if after else {}))

    def take_event(self, event: ServerEvent) -> Sequence[FleetChange]:
        self._version = event.id or self._version
        return [FleetChange.model_validate_json(event.data)]

    def take_answer(self, answer: Answer) -> Sequence[FleetChange]:
        """A page: the first one begins a list, the last one ends it."""
        page = _Page.model_validate_json(answer.body)
        first = self._list or page
        began, self._list = self._list is None, first if page.next else None
        self._next = page.next
        changes = [FleetChange(change="list", as_of=first.as_of, live=first.live)] if began else []
        changes += [FleetChange(change="listed", upload=upload) for upload in page.uploads]
        if page.next is None:
            self._version = first.version
            changes += [FleetChange(change="bookmark", as_of=first.as_of, live=first.live)]
        return changes
