"""The notifier: one task for each subscription, so that a receiver that hangs holds up no other."""

import asyncio
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import structlog

from libs.common.clock import Clock, SystemClock
from libs.common.feed.reading import FeedReader
from libs.common.feed.tail import Tail
from libs.common.settings import Settings
from libs.common.storage import ConditionFailed, ObjectStore, StoreError, StoreUnavailable
from libs.common.uploads.layout import NOTIFIER
from libs.common.webhooks.delivering import Delivery, Tools
from libs.common.webhooks.metrics import FAILING, OLDEST
from libs.common.webhooks.sending import open_sender
from libs.common.webhooks.subscriptions import Subscriptions
from libs.common.webhooks.targets import Targets

LOOK = 5.0  # seconds between two looks for new subscriptions
TERM = 30.0  # seconds: another process delivers once the one whose turn it is was silent for so long
log = structlog.get_logger(__name__)


class Turn:
    """Which process delivers. It only spares receivers repeats: two at once do no harm."""

    def __init__(self, perm: ObjectStore, clock: Clock) -> None:
        self._perm = perm
        self._clock = clock
        self._me = secrets.token_hex(8).encode()
        self._seen = ("", 0.0)  # the etag of the other one's word, and when it was new here

    async def mine(self) -> bool:
        """Whether it is this process's turn, which it says anew. Raises StoreUnavailable."""
        found = await self._perm.fetch(NOTIFIER)
        now = self._clock.monotonic()
        etag = found.info.etag if found.info else ""
        if etag and not found.data.startswith(self._me):
            if etag != self._seen[0]:
                self._seen = (etag, now)
            if now - self._seen[1] < TERM:
                return False
        word = self._me + b" " + secrets.token_hex(4).encode()  # new in every write, so that its etag is
        try:
            await self._perm.put(NOTIFIER, word, absent=not etag, match=etag)
        except ConditionFailed:
            return False
        return True

    async def end(self) -> None:
        """Let another process deliver at once. The last word is read: a put of it may have been cancelled half-way."""
        with suppress(StoreError):
            found = await self._perm.fetch(NOTIFIER)
            if found.info and found.data.startswith(self._me):
                await self._perm.delete(NOTIFIER, match=found.info.etag)


class Notifier:
    """Starts and ends deliveries as subscriptions come and go."""

    def __init__(self, tools: Tools, turn: Turn) -> None:
        self._tools = tools
        self._turn = turn
        self._running: dict[str, asyncio.Task[None]] = {}
        self._deliveries: dict[str, Delivery] = {}
        self._over = set[str]()  # those that ended: none of them begins again

    async def run(self) -> None:
        """Until it is cancelled."""
        try:
            while True:
                try:
                    await self._look()
                except StoreUnavailable as error:
                    log.warning("store unavailable, will look for webhooks again", error=str(error))
                except Exception:  # whatever it is: without looks no webhook would be started, and nobody would notice
                    log.exception("webhooks cannot be looked for, will try again")
                await self._tools.clock.sleep(LOOK)
        finally:
            await self._stop(list(self._running))
            await self._turn.end()

    async def _look(self) -> None:
        there = [webhook async for webhook in self._tools.subscriptions.all()]
        self._over.intersection_update(there)
        if there and not await self._turn.mine():
            there = []
        await self._stop([webhook for webhook, task in self._running.items() if task.done() or webhook not in there])
        for webhook in there:
            if webhook not in self._running and webhook not in self._over:
                await self._start(webhook)
        self._show()

    async def _start(self, webhook: str) -> None:
        held = await self._tools.subscriptions.find(webhook)
        if not held:
            return
        if held.subscription.state == "active":
            self._deliveries[webhook] = Delivery(held, self._tools)
            self._running[webhook] = asyncio.create_task(_guarded(self._deliveries[webhook]))
        else:
            self._over.add(webhook)

    async def _stop(self, webhooks: list[str]) -> None:
        tasks = [self._running.pop(webhook) for webhook in webhooks]
        for webhook in webhooks:
            del self._deliveries[webhook]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _show(self) -> None:
        since = [d.subscription.failing_since for d in self._deliveries.values() if d.subscription.failing_since]
        FAILING.set(len(since))
        OLDEST.set(self._tools.clock.time() - min(since) if since else 0)


async def _guarded(delivery: Delivery) -> None:
    """An end for any reason is an end of the task: the next look starts it again from its cursor."""
    try:
        await delivery.run()
    except StoreUnavailable as error:
        log.warning("store unavailable, will deliver later", webhook=delivery.subscription.id, error=str(error))
    except Exception:  # whatever it is: the other webhooks go on, and this one is tried again
        log.exception("delivery failed, will try again", webhook=delivery.subscription.id)


@asynccontextmanager
async def notifying(settings: Settings, perm: ObjectStore) -> AsyncIterator[None]:
    """Deliver in the background while the context lasts."""
    clock = SystemClock()
    targets = Targets.of(settings.webhook_networks, http=settings.webhook_http)
    async with open_sender(targets, settings.tls_ca_file) as sender:
        tools = Tools(Subscriptions(perm), Tail(FeedReader(perm), clock), sender, clock, settings.feed_days)
        task = asyncio.create_task(Notifier(tools, Turn(perm, clock)).run())
        try:
            yield
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
