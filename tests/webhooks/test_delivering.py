"""Every outcome arrives at every webhook at least once, whatever receivers answer and whenever notifiers die."""

import asyncio
import json
import random
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from standardwebhooks import Webhook

from libs.common.clock import SystemClock
from libs.common.feed import reading, tail
from libs.common.feed.positions import Position
from libs.common.feed.reading import FeedReader
from libs.common.feed.tail import Tail
from libs.common.feed.writing import FeedWriter
from libs.common.storage import Buckets
from libs.common.storage.filesystem import FilesystemStore
from libs.common.uploads.layout import NOTIFIER, FileId
from libs.common.uploads.outcomes import About, completed, deleted
from libs.common.webhooks import delivering, notifier
from libs.common.webhooks.delivering import Tools
from libs.common.webhooks.notifier import Notifier, Turn
from libs.common.webhooks.sending import open_sender
from libs.common.webhooks.signing import new_secret
from libs.common.webhooks.subscriptions import Subscription, Subscriptions, Trial
from libs.common.webhooks.targets import Targets
from tests.uploads.conftest import _no_power_cuts
from tests.uploads.hooked_store import Hooks
from tests.webhooks.receiver import Receiver, receiving

__all__ = ["_no_power_cuts"]  # a fixture
TARGETS = Targets.of("127.0.0.0/8", http=True)
START = Position.at(0).cursor


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Entries close soon, and nobody waits long."""
    monkeypatch.setattr(reading, "CLOSED_AFTER", 0.2)
    monkeypatch.setattr(tail, "EACH", 0.02)
    monkeypatch.setattr(delivering, "LOOK", 0.05)
    monkeypatch.setattr(delivering, "SAVE", 0.0)
    monkeypatch.setattr(delivering, "FIRST_PAUSE", 0.05)
    monkeypatch.setattr(delivering, "LONGEST_PAUSE", 0.2)
    monkeypatch.setattr(notifier, "LOOK", 0.05)
    monkeypatch.setattr(notifier, "TERM", 0.3)


class Rig:
    """A bucket, and notifiers on it."""

    def __init__(self, root: Path) -> None:
        self.perm, self.clock, self.days = FilesystemStore(root / "perm"), SystemClock(), 36500
        self.subscriptions = Subscriptions(self.perm)
        self.writer = FeedWriter(self.perm, self.clock)
        self.sent = 0

    async def subscribe(self, webhook: str, url: str, **values: Any) -> Subscription:
        wanted = {
            "cursor": START,
            "created_at": 0.0,
            "created_by": "admin",
            "secret": new_secret(),
            "version": "",
            **values,
        }
        return (await self.subscriptions.create(Subscription(id=webhook * 16, url=url, **wanted))).subscription

    async def state(self, webhook: str) -> Subscription:
        held = await self.subscriptions.find(webhook * 16)
        assert held
        return held.subscription

    async def put(self, count: int, owner: str = "car-7") -> list[str]:
        """Ids of new outcomes."""
        ids = list[str]()
        for _ in range(count):
            self.sent += 1
            about = About(f"{self.sent:016x}", 1, "", "text/plain", {})
            outcome = completed(FileId(owner, "a"), about, "/hiper/assembler")
            await self.writer.put(outcome)
            await asyncio.sleep(0.001)
            ids.append(outcome.id)
        return ids

    @asynccontextmanager
    async def notifying(self, hooks: Hooks | None = None) -> AsyncIterator["asyncio.Task[None]"]:
        """One more process that delivers."""
        perm = hooks.over(Buckets(self.perm, self.perm)).perm if hooks else self.perm
        async with open_sender(TARGETS) as sender:
            tools = Tools(Subscriptions(perm), Tail(FeedReader(perm), self.clock), sender, self.clock, self.days)
            task = asyncio.create_task(Notifier(tools, Turn(perm, self.clock)).run())
            try:
                yield task
            finally:
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)


@pytest.fixture
async def rig(tmp_path: Path) -> AsyncIterator[Rig]:
    rig = Rig(tmp_path)
    await rig.perm.ensure()
    yield rig
    await rig.perm.close()


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not condition():  # noqa: ASYNC110  # what is waited for has no event to offer
            await asyncio.sleep(0.01)


async def test_an_outcome_arrives_as_a_signed_cloudevent_in_structured_mode(rig: Rig, receiver: Receiver) -> None:
    subscription = await rig.subscribe("a", receiver.url)
    (name,) = await rig.put(1)
    async with rig.notifying():
        await until(lambda: receiver.accepted == [name])
    message = receiver.got[0]
    event = Webhook(subscription.secret).verify(message.body, dict(message.headers))
    assert message.headers["content-type"] == "application/cloudevents+json; charset=utf-8"
    assert (event["specversion"], event["type"], event["id"]) == ("1.0", "hiper.FileCompleted.v1", name)
    assert event["data"]["session"] == name


@pytest.mark.parametrize("seed", range(2))
async def test_a_notifier_that_dies_at_any_call_of_the_store_loses_nothing(
    rig: Rig, receiver: Receiver, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(notifier, "TERM", 0.0)  # the dead one hands over nothing
    chance, wanted = random.Random(seed), set[str]()
    receiver.answer = lambda n: (chance.choice([204, 204, 500]), {})
    await rig.subscribe("a", receiver.url)
    for _ in range(8):
        wanted.update(await rig.put(chance.randint(1, 40)))
        hooks = Hooks()
        hooks.crash(chance.randint(1, 60))
        async with rig.notifying(hooks):
            await asyncio.sleep(chance.uniform(0.05, 0.5))
    async with rig.notifying():
        await until(lambda: set(receiver.accepted) >= wanted)
    assert set(receiver.accepted) == wanted


async def test_a_receiver_that_fails_at_random_gets_everything(rig: Rig, receiver: Receiver) -> None:
    chance = random.Random(1)
    receiver.answer = lambda n: (chance.choice([204, 204, 500, 429, 302, 404]), {})
    await rig.subscribe("a", receiver.url)
    wanted = await rig.put(30)
    async with rig.notifying():
        await until(lambda: set(receiver.accepted) == set(wanted))


async def test_who_fails_is_asked_less_and_less_often_and_the_state_says_since_when(
    rig: Rig, receiver: Receiver
) -> None:
    receiver.answer = lambda n: (500, {})
    await rig.subscribe("a", receiver.url)
    await rig.put(1)
    async with rig.notifying():
        await asyncio.sleep(1.0)
        failing = await rig.state("a")
        assert 3 <= len(receiver.got) <= 9, "pauses of 0.05, 0.1 and then 0.2 s"
        assert (failing.last_status, failing.last_error, failing.state) == (500, "answered 500", "active")
        assert failing.failing_since
        receiver.answer = lambda n: (204, {})
        await until(lambda: bool(receiver.accepted))
        await asyncio.sleep(0.3)
    healed = await rig.state("a")
    assert (healed.failing_since, healed.last_status, healed.last_error) == (None, 204, "")
    assert healed.delivered_at
    assert Position.parse(healed.cursor) > Position.parse(failing.cursor)


async def test_a_receiver_that_asks_for_a_pause_gets_it(rig: Rig, receiver: Receiver) -> None:
    receiver.answer = lambda n: (429, {"Retry-After": "1"}) if n == 1 else (204, {})
    await rig.subscribe("a", receiver.url)
    await rig.put(1)
    async with rig.notifying():
        await asyncio.sleep(0.7)
        assert len(receiver.got) == 1
        await until(lambda: len(receiver.accepted) == 1)


async def test_a_receiver_that_is_gone_ends_its_webhook(rig: Rig, receiver: Receiver) -> None:
    receiver.answer = lambda n: (410, {})
    await rig.subscribe("a", receiver.url)
    await rig.put(1)
    async with rig.notifying():
        await until(lambda: len(receiver.got) == 1)
        await asyncio.sleep(0.3)
        await rig.put(3)
        await asyncio.sleep(0.3)
    ended = await rig.state("a")
    assert (ended.state, ended.why) == ("ended", "The receiver answered 410 (Gone).")
    assert len(receiver.got) == 1


async def test_a_receiver_that_hangs_holds_up_no_other(rig: Rig, receiver: Receiver) -> None:
    receiver.hangs = True
    async with receiving() as other:
        await rig.subscribe("a", receiver.url)
        await rig.subscribe("b", other.url)
        wanted = await rig.put(30)
        async with rig.notifying():
            await until(lambda: set(other.accepted) == set(wanted))
            assert receiver.got
            assert receiver.accepted == []


async def test_of_two_notifiers_one_delivers_and_the_other_takes_over(rig: Rig, receiver: Receiver) -> None:
    await rig.subscribe("a", receiver.url)
    async with rig.notifying():
        first = await rig.put(10)
        await until(lambda: set(receiver.accepted) == set(first))
        hooks = Hooks()
        async with rig.notifying(hooks):
            second = await rig.put(10)
            await until(lambda: set(receiver.accepted) == {*first, *second})
            await asyncio.sleep(0.2)
            assert sorted(receiver.accepted) == sorted([*first, *second]), "each came once"
            assert hooks.count("fetch", "notifier"), "the other one looks"


async def test_a_notifier_that_ends_hands_over_at_once(
    rig: Rig, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(notifier, "TERM", 1000.0)
    await rig.subscribe("a", receiver.url)
    async with rig.notifying():
        first = await rig.put(1)
        await until(lambda: receiver.accepted == first)
    async with rig.notifying():
        second = await rig.put(1)
        await until(lambda: set(second) <= set(receiver.accepted))


async def test_a_notifier_that_ends_while_it_says_its_word_hands_over_too(
    rig: Rig, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The store took the word, and the notifier did not hear so."""
    monkeypatch.setattr(notifier, "TERM", 1000.0)
    await rig.subscribe("a", receiver.url)
    hooks = Hooks()
    async with rig.notifying(hooks):
        first = await rig.put(1)
        await until(lambda: receiver.accepted == first)
        await hooks.hold("put", NOTIFIER, when="after").reached.wait()
    async with rig.notifying():
        second = await rig.put(1)
        await until(lambda: set(second) <= set(receiver.accepted))


async def test_a_webhook_gets_only_what_it_wants(rig: Rig, receiver: Receiver) -> None:
    await rig.subscribe("a", receiver.url, owner="car-8", outcomes=("deleted",))
    await rig.put(3, "car-7")
    await rig.put(3, "car-8")
    wanted = deleted(FileId("car-8", "a"), "0" * 16, "/hiper/ingest")
    await rig.writer.put(wanted)
    async with rig.notifying():
        await until(lambda: receiver.accepted == [wanted.id])
        await asyncio.sleep(0.2)
    assert len(receiver.got) == 1


async def test_a_webhook_that_ended_is_read_once(rig: Rig, receiver: Receiver) -> None:
    await rig.subscribe("a", receiver.url, state="ended")
    hooks = Hooks()
    async with rig.notifying(hooks):
        await until(lambda: hooks.count("list", "webhooks/") > 3)
    assert hooks.count("fetch", f"webhooks/{'a' * 16}") == 1
    assert receiver.got == []


async def test_a_webhook_that_is_deleted_gets_nothing_more(rig: Rig, receiver: Receiver) -> None:
    await rig.subscribe("a", receiver.url)
    async with rig.notifying():
        await rig.put(1)
        await until(lambda: len(receiver.accepted) == 1)
        assert await rig.subscriptions.delete("a" * 16)
        await asyncio.sleep(0.3)
        await rig.put(1)
        await asyncio.sleep(0.3)
    assert len(receiver.got) == 1
    assert await rig.subscriptions.find("a" * 16) is None


@pytest.mark.parametrize("status", [204, 500])
async def test_a_test_call_is_made_even_while_the_receiver_fails(rig: Rig, receiver: Receiver, status: int) -> None:
    receiver.answer = lambda n: (status, {})
    subscription = await rig.subscribe("a", receiver.url)
    await rig.put(1)
    async with rig.notifying():
        await until(lambda: bool(receiver.got))
        held = await rig.subscriptions.find("a" * 16)
        while not (held and await rig.subscriptions.change(held, trial=Trial(at=1.0))):
            held = await rig.subscriptions.find("a" * 16)
        await until(lambda: any(b"WebhookTest" in message.body for message in receiver.got))
        await asyncio.sleep(0.3)
    message = next(message for message in receiver.got if b"WebhookTest" in message.body)
    event = Webhook(subscription.secret).verify(message.body, dict(message.headers))
    assert event["data"] == {"webhook": "a" * 16}
    trial = (await rig.state("a")).trial
    assert trial
    assert (trial.is_due, trial.status) == (False, status)


async def test_who_fails_for_longer_than_outcomes_are_kept_goes_on_with_what_is_kept(
    rig: Rig, receiver: Receiver
) -> None:
    rig.days = 7
    await rig.subscribe("a", receiver.url, cursor=Position.at(1_000_000_000).cursor)
    wanted = await rig.put(2)
    async with rig.notifying():
        await until(lambda: set(receiver.accepted) == set(wanted))
    assert (await rig.state("a")).missed_at


async def test_a_name_that_leads_inside_is_not_called(rig: Rig) -> None:
    await rig.subscribe("a", "http://localhost:1/")
    await rig.put(1)
    async with open_sender(Targets(http=True)) as sender:
        tools = Tools(rig.subscriptions, Tail(FeedReader(rig.perm), rig.clock), sender, rig.clock, rig.days)
        task = asyncio.create_task(Notifier(tools, Turn(rig.perm, rig.clock)).run())
        await asyncio.sleep(0.5)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    assert "is not a public address" in (await rig.state("a")).last_error


async def test_a_webhook_that_cannot_be_read_stops_no_other(rig: Rig, receiver: Receiver) -> None:
    await rig.perm.put(f"webhooks/{'0' * 16}.json", b"{")
    await rig.perm.put("webhooks/notes.txt", b"by hand")
    await rig.perm.put(f"webhooks/{'1' * 16}.json", json.dumps({"id": "1" * 16}).encode())
    held = await rig.subscribe("2", receiver.url)
    broken = (await rig.subscribe("3", receiver.url)).model_copy(update={"cursor": "nonsense"})
    await rig.perm.put(f"webhooks/{'3' * 16}.json", broken.model_dump_json().encode())
    wanted = await rig.put(2)
    async with rig.notifying():
        await until(lambda: set(receiver.accepted) == set(wanted))
    assert held.state == "active"
