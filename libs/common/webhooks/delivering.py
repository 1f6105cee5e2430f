"""Delivering to one subscription: at least once, in rounds of a few messages at once; what fails is tried again."""

import asyncio
import json
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from random import uniform
from typing import Any

import structlog

from libs.common.bus.events import Outcome
from libs.common.clock import Clock
from libs.common.feed.positions import Position, oldest_kept
from libs.common.feed.tail import Tail, Told, wanting
from libs.common.observability.redaction import printable
from libs.common.storage import StoreUnavailable
from libs.common.webhooks.metrics import ATTEMPTS
from libs.common.webhooks.sending import Attempt, Sender
from libs.common.webhooks.subscriptions import Held, Subscription, Subscriptions, Trial

AT_ONCE = 10  # messages
FIRST_PAUSE, LONGEST_PAUSE = 1.0, 300.0  # seconds between two attempts; it doubles with each
SAVE = 1.0  # seconds after which what was delivered is written down
LOOK = 2.0  # seconds between two looks at whether a test call is asked for, or the subscription is gone
KEEP = 60.0  # seconds after which a cursor is written down where nothing was delivered
TRIAL = "hiper.WebhookTest.v1"  # the type of the event that a test call posts
log = structlog.get_logger(__name__)


class Over(Exception):
    """There is nothing more to deliver: the subscription was deleted, or it ended."""


@dataclass(frozen=True)
class Tools:
    """What all deliveries of a process share. `days`: FEED_DAYS."""

    subscriptions: Subscriptions
    tail: Tail
    sender: Sender
    clock: Clock
    days: int


class Delivery:
    """One subscription. A second process that does the same only repeats."""

    def __init__(self, held: Held, tools: Tools) -> None:
        self._held = held
        self._tools = tools
        self._position = Position.parse(held.subscription.cursor)
        self._saved_at = tools.clock.monotonic()
        self._unsaved = False  # whether something was delivered since

    @property
    def subscription(self) -> Subscription:
        return self._held.subscription

    async def run(self) -> None:
        """Deliver until the subscription is over. Raises StoreUnavailable."""
        try:
            while True:
                await self._look()
                await self._skip_what_expired()
                wanted = wanting(self.subscription.owner, self.subscription.outcomes)
                batch = await self._tools.tail.read(self._position, AT_ONCE, wanted)
                if batch.told:
                    await self._deliver(batch.told)
                self._position = batch.next
                self._unsaved = self._unsaved or bool(batch.told)
                if self._tools.clock.monotonic() - self._saved_at > (SAVE if self._unsaved else KEEP):
                    await self._save()
                if not batch.more:
                    await self._tools.tail.wait(self._position, LOOK)
        except Over:
            return

    async def _deliver(self, told: Sequence[Told]) -> None:
        batch, pause = told, FIRST_PAUSE
        while told:
            attempts = await asyncio.gather(*(self._send(each.outcome) for each in told))
            failed = [each for each, attempt in zip(told, attempts, strict=True) if not attempt.accepted]
            if any(attempt.gone for attempt in attempts):
                await self._save(state="ended", why="The receiver answered 410 (Gone).", last_status=410)
                raise Over
            now = self._tools.clock.time()
            if len(failed) < len(told):
                pause, self._held = FIRST_PAUSE, self._noting(delivered_at=now, failing_since=None)
            worst = next((attempt for attempt in attempts if not attempt.accepted), attempts[0])
            self._held = self._noting(last_status=worst.status, last_error=printable(worst.error))
            if failed:
                before = [each.position for each in batch if each.position < failed[0].position]
                self._position = before[-1] if before else self._position
                await self._save(failing_since=self.subscription.failing_since or now)
                await self._pause(max(pause, *(attempt.pause for attempt in attempts)))
                pause = min(2 * pause, LONGEST_PAUSE)
            told = failed

    async def _pause(self, seconds: float) -> None:
        """Before another attempt. A test call and the end of the subscription do not wait for it."""
        until = self._tools.clock.monotonic() + seconds * uniform(0.8, 1.2)  # noqa: S311  # jitter, not a secret
        while (left := until - self._tools.clock.monotonic()) > 0:
            await self._tools.clock.sleep(min(left, LOOK))
            await self._look()

    async def _send(self, outcome: Outcome) -> Attempt:
        return await self._post(outcome.id, outcome.model_dump_json().encode())

    async def _post(self, message: str, body: bytes) -> Attempt:
        about, now = self.subscription, self._tools.clock.time()
        attempt = await self._tools.sender.send(about.url, about.secret, message, now, body)
        ATTEMPTS.labels("accepted" if attempt.accepted else "failed").inc()
        if not attempt.accepted:
            log.warning("webhook not accepted", webhook=about.id, message=message, status=attempt.status,
                        error=printable(attempt.error))  # fmt: skip
        return attempt

    async def _look(self) -> None:
        """See what others changed, and make a test call that is asked for. Raises Over."""
        found = await self._tools.subscriptions.find(self.subscription.id, self._held)
        if not found or found.subscription.state != "active":
            raise Over
        self._held = found
        trial = found.subscription.trial
        if trial and trial.is_due:
            now = self._tools.clock.time()
            attempt = await self._post(f"test-{secrets.token_hex(8)}", trial_event(self.subscription.id, now))
            done = Trial(at=now, status=attempt.status, error=printable(attempt.error))
            await self._save(trial=done)

    async def _skip_what_expired(self) -> None:
        oldest = oldest_kept(await self._tools.tail.now(), self._tools.days)
        if self._position < oldest:
            log.error("webhook failed for longer than outcomes are kept: some are lost to it",
                      webhook=self.subscription.id, days=self._tools.days)  # fmt: skip
            self._position = oldest
            await self._save(missed_at=self._tools.clock.time())

    def _noting(self, **changes: Any) -> Held:
        """The subscription as it will be written down next."""
        return Held(self.subscription.model_copy(update=changes), self._held.etag)

    async def _save(self, **changes: Any) -> None:
        """Write down how far it is. Raises Over, and StoreUnavailable."""
        changes |= {"cursor": self._position.cursor}
        written = await self._tools.subscriptions.change(self._held, **changes)
        if not written:  # another process wrote: what it says of a test call counts, and of the rest either
            found = await self._tools.subscriptions.find(self.subscription.id)
            if not found or found.subscription.state != "active":
                raise Over
            trial = changes.get("trial") or found.subscription.trial
            mine = self.subscription.model_copy(update={**changes, "trial": trial})
            written = await self._tools.subscriptions.change(Held(mine, found.etag))
        if not written:
            raise StoreUnavailable("the subscription changes faster than it can be written")
        self._held, self._saved_at, self._unsaved = written, self._tools.clock.monotonic(), False


def trial_event(webhook: str, now: float) -> bytes:
    """What a test call posts: a CloudEvent of no file. `now` in seconds since the epoch."""
    event = {
        "specversion": "1.0", "id": secrets.token_hex(16), "source": "/hiper/notifier", "type": TRIAL,
        "subject": f"webhooks/{webhook}", "time": datetime.fromtimestamp(now, UTC).isoformat(),
        "datacontenttype": "application/json", "data": {"webhook": webhook},
    }  # fmt: skip
    return json.dumps(event).encode()
