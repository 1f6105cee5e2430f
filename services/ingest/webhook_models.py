"""What is said and answered about webhooks."""

from datetime import UTC, datetime
from typing import Self

from pydantic import BaseModel, ConfigDict, Field

from libs.common.feed.names import NAMES, Name
from libs.common.files.names import SUBJECT
from libs.common.webhooks.subscriptions import Held, Trial
from libs.common.webhooks.targets import MAX_URL


class NewWebhook(BaseModel):
    """What an operator says of a new webhook."""

    model_config = ConfigDict(extra="forbid")

    url: str = Field(
        max_length=MAX_URL, description="https://, of a host on the Internet, unless settings allow others."
    )
    outcomes: list[Name] = Field([], max_length=len(NAMES), description="Only these; empty: all.")
    owner: str | None = Field(None, pattern=f"^{SUBJECT}$", description="Only outcomes of this owner; null: of all.")
    after: str = Field("now", max_length=200, description="A cursor of the feed to begin with, or `now`.")


class TestCall(BaseModel):
    """The last test call."""

    __test__ = False  # pytest takes it for a test

    at: datetime = Field(description="When it was made; before, when it was asked for.")
    pending: bool = Field(description="Whether it is still to be made: by a janitor, within seconds.")
    status: int | None = Field(description="HTTP status of the answer; null where there was none.")
    error: str = Field(description="Why it failed; empty where it did not.")

    @classmethod
    def of(cls, trial: Trial) -> Self:
        return cls(at=from_epoch(trial.at), pending=trial.is_due, status=trial.status, error=trial.error)


class Webhook(BaseModel):
    """A webhook, and how its deliveries go. The secret is told once, when it is made."""

    id: str
    url: str
    outcomes: list[Name] = Field(description="Only these; empty: all.")
    owner: str | None = Field(description="Only outcomes of this owner; null: of all.")
    created_at: datetime
    created_by: str
    state: str = Field(description="`active`, or `ended`: the receiver answered 410.")
    why: str = Field(description="Why it ended; empty while it is active.")
    cursor: str = Field(description="Of the feed: everything before it was delivered.")
    last_status: int | None = Field(description="HTTP status of the last attempt; null where there was none.")
    last_error: str = Field(description="Why the last attempt failed; empty where it did not.")
    delivered_at: datetime | None = Field(description="When the receiver last accepted an event.")
    failing_since: datetime | None = Field(description="Since when no attempt succeeds; null: the last one did.")
    missed_at: datetime | None = Field(
        description="When events were given up for this webhook, because they were older than FEED_DAYS; null: never."
    )
    test: TestCall | None

    @classmethod
    def of(cls, held: Held) -> Self:
        values = held.subscription.model_dump(exclude={"secret", "version", "trial"})
        trial = held.subscription.trial
        dates = ("created_at", "delivered_at", "failing_since", "missed_at")
        values |= {name: from_epoch(values[name]) for name in dates if values[name] is not None}
        return cls(**values, test=TestCall.of(trial) if trial else None)


class CreatedWebhook(BaseModel):
    """A new webhook, and its secret, which is shown only here."""

    webhook: Webhook
    secret: str = Field(description="With it the receiver checks `webhook-signature` (Standard Webhooks).")


class WebhooksAnswer(BaseModel):
    webhooks: list[Webhook]


def from_epoch(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)
