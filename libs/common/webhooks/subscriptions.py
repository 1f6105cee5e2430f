"""Subscriptions: to which address which outcomes go, and how far the feed was delivered."""

import secrets
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any, Literal

import structlog
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from libs.common.feed.positions import Position
from libs.common.problems import Problem
from libs.common.storage import ConditionFailed, ObjectStore, StoreUnavailable
from libs.common.uploads.layout import WEBHOOKS, parse_webhook_key, webhook_key
from libs.common.uploads.ours import walk_ours

log = structlog.get_logger(__name__)


class Trial(BaseModel):
    """A test call. `at`: seconds since the epoch when it was asked for, then when it was made. While neither `status`
    nor `error` is set it is still to be made."""

    model_config = ConfigDict(frozen=True)

    at: float
    status: int | None = None
    error: str = ""

    @property
    def is_due(self) -> bool:
        return self.status is None and not self.error


class Subscription(BaseModel):
    """Times are in seconds since the epoch."""

    model_config = ConfigDict(frozen=True)

    id: str
    version: str = Field(description="Random, and new in every write: a writer without an answer knows its own write.")
    url: str
    secret: str = Field(repr=False)
    owner: str | None = Field(None, description="Only outcomes of this owner; null: of all.")
    outcomes: tuple[str, ...] = Field((), description="Only these; empty: all.")
    created_at: float
    created_by: str
    cursor: str = Field(description="Of the feed: everything before it was delivered.")
    state: Literal["active", "ended"] = "active"
    why: str = Field("", description="Why it ended; empty while it is active.")
    last_status: int | None = Field(None, description="HTTP status of the last attempt; null where none was answered.")
    last_error: str = Field("", description="Why the last attempt failed; empty where it did not.")
    delivered_at: float | None = Field(None, description="When the last delivery was accepted.")
    failing_since: float | None = Field(None, description="Since when no attempt succeeds; null: the last one did.")
    missed_at: float | None = Field(None, description="When outcomes were given up that were older than FEED_DAYS.")
    trial: Trial | None = None

    @field_validator("cursor")
    @classmethod
    def _of_the_feed(cls, cursor: str) -> str:
        try:
            return Position.parse(cursor).cursor
        except Problem as error:
            raise ValueError(error.detail) from None


@dataclass(frozen=True)
class Held:
    """A subscription as it was read or written last."""

    subscription: Subscription
    etag: str


class Subscriptions:
    """Those of one deployment. Each is changed by compare-and-swap alone."""

    def __init__(self, perm: ObjectStore) -> None:
        self._perm = perm

    async def create(self, subscription: Subscription) -> Held:
        """Raises StoreUnavailable."""
        put = await self._put(subscription, absent=True)
        if not put:
            raise StoreUnavailable("the id of the new subscription is taken")
        return put

    async def find(self, webhook: str, known: Held | None = None) -> Held | None:
        """None where there is none, or none that can be read. Raises StoreUnavailable."""
        key = webhook_key(webhook)
        found = await self._perm.fetch(key, known=known.etag if known else "")
        if found.unchanged:
            return known
        if not found.info:
            return None
        try:
            return Held(Subscription.model_validate_json(found.data), found.info.etag)
        except ValidationError:
            log.error("a webhook cannot be read", key=key)
            return None

    async def all(self) -> AsyncIterator[str]:
        """The ids of all. Raises StoreUnavailable."""
        async for webhook, _ in walk_ours(self._perm, WEBHOOKS, parse_webhook_key):
            yield webhook

    async def change(self, held: Held, **changes: Any) -> Held | None:
        """None where another process was faster, or it was deleted. Raises StoreUnavailable."""
        return await self._put(held.subscription.model_copy(update=changes), match=held.etag)

    async def delete(self, webhook: str) -> bool:
        """Whether it was there. Raises StoreUnavailable."""
        there = await self.find(webhook) is not None
        await self._perm.delete_many([webhook_key(webhook)])
        return there

    async def _put(self, subscription: Subscription, *, absent: bool = False, match: str = "") -> Held | None:
        new = subscription.model_copy(update={"version": secrets.token_hex(8)})
        key = webhook_key(new.id)
        try:
            etag = await self._perm.put(
                key, new.model_dump_json().encode(), absent=absent, match=match, content_type="application/json"
            )
        except ConditionFailed:  # perhaps by its own request, sent twice
            again = await self.find(new.id)
            return again if again and again.subscription.version == new.version else None
        return Held(new, etag)


def new_id() -> str:
    return secrets.token_hex(8)
