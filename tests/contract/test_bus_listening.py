"""What listeners are promised: every process hears the events of the owners that it watches, and blocks nobody."""

import asyncio
import time

import aio_pika
import pytest
from structlog.testing import capture_logs

from libs.common.bus import EVERY_OWNER, EventBus, Listening
from libs.common.bus.events import EVENTS, Event
from libs.common.bus.memory import MemoryBus
from tests.backends import RabbitmqServer
from tests.contract.bus_fixtures import DeafProxy, RabbitRig, Rig, eventually, memory_rig, rabbit_rig, rig
from tests.contract.test_bus import ONE_OF_EACH, TIME_TO_GO_WRONG, Inbox, chunks, consuming, ids, publish
from tests.unit.metrics import value

__all__ = ["memory_rig", "rabbit_rig", "rig"]  # fixtures


def of(owner: str, count: int = 1) -> list[Event]:
    """Events for nobody's queue, of this owner."""
    return [of_owner(ONE_OF_EACH[4], owner) for _ in range(count)]


def of_owner(event: Event, owner: str) -> Event:
    fresh = {"id": f"{owner}-{time.monotonic_ns()}", "data": {**event.data.model_dump(), "owner": owner}}
    return EVENTS.validate_python({**event.model_dump(), **fresh})


async def listening(bus: EventBus, heard: list[Event], *owners: str) -> Listening:
    """A listener that keeps what it hears, once the broker knows of it."""
    made = bus.listen(heard.append)
    for owner in owners:
        made.watch(owner)
    assert await made.settled(within=20)
    return made


class TestEvery:
    async def test_every_process_hears_every_event_of_an_owner_that_it_watches(self, rig: Rig) -> None:
        publisher, buses, inbox = rig.bus(), [rig.bus(), rig.bus()], Inbox()
        ears: list[list[Event]] = [[], []]
        for bus, heard in zip(buses, ears, strict=True):
            await bus.start()
            await listening(bus, heard, "car-7")
        await publisher.start()
        async with consuming(publisher, inbox):
            publish(publisher, ONE_OF_EACH)
            await inbox.has(ONE_OF_EACH[:4])
            await eventually(lambda: all(ids(heard) == ids(ONE_OF_EACH) for heard in ears))
        assert all(len(heard) == len(ONE_OF_EACH) for heard in ears), "each once"
        assert all(event in ONE_OF_EACH for event in ears[0]), "they arrive equal"

    async def test_an_event_of_another_owner_is_not_heard(self, rig: Rig) -> None:
        bus, heard = rig.bus(), list[Event]()
        await bus.start()
        await listening(bus, heard, "car.7")
        strange = of("car") + of("car-7") + of("car.77") + of("7") + of("car.7.x")
        wanted = of("car.7")
        publish(bus, strange + wanted)
        await eventually(lambda: ids(heard) == ids(wanted))
        await asyncio.sleep(TIME_TO_GO_WRONG)
        assert ids(heard) == ids(wanted)

    async def test_whoever_watches_every_owner_hears_each_event_once(self, rig: Rig) -> None:
        bus, heard = rig.bus(), list[Event]()
        await bus.start()
        await listening(bus, heard, EVERY_OWNER, "car-7")
        events = of("car-7") + of("van.8") + of("fleet")
        publish(bus, events)
        await eventually(lambda: ids(heard) == ids(events))
        await asyncio.sleep(TIME_TO_GO_WRONG)
        assert len(heard) == len(events)

    async def test_owners_come_and_go_while_it_listens(self, rig: Rig) -> None:
        bus, heard = rig.bus(), list[Event]()
        await bus.start()
        made = await listening(bus, heard, "a", "a", "b")
        made.unwatch("a")
        made.unwatch("b")
        made.unwatch("never-watched")
        made.watch("c")
        assert await made.settled(within=20)
        publish(bus, of("b"))
        wanted = of("a") + of("c")
        publish(bus, wanted)
        await eventually(lambda: ids(wanted) <= ids(heard))
        await asyncio.sleep(TIME_TO_GO_WRONG)
        assert ids(heard) == ids(wanted), "watched twice and left once is still watched"

    async def test_listeners_of_one_process_hear_what_each_of_them_watches(self, rig: Rig) -> None:
        bus, one, other = rig.bus(), list[Event](), list[Event]()
        await bus.start()
        first = await listening(bus, one, "a")
        await listening(bus, other, "b", "a")
        (a,), (b,) = of("a"), of("b")
        publish(bus, [a, b])
        await eventually(lambda: ids(other) == {a.id, b.id})
        assert ids(one) == {a.id}
        first.close()
        first.close()
        (again,) = of("a")
        publish(bus, [again])
        await eventually(lambda: again.id in ids(other))
        assert ids(one) == {a.id}, "a listener that closed hears nothing; what others watch goes on"

    async def test_a_listener_that_fails_hides_no_event_from_the_others(self, rig: Rig) -> None:
        def fail(_: Event) -> None:
            raise RuntimeError("a bug")

        bus, heard = rig.bus(), list[Event]()
        await bus.start()
        bus.listen(fail).watch("car-7")
        await listening(bus, heard, "car-7")
        events = of("car-7", 3)
        with capture_logs() as logs:
            publish(bus, events)
            await eventually(lambda: ids(heard) == ids(events))
        assert [line["event"] for line in logs if line["log_level"] == "error"] == ["event listener failed"] * 3

    async def test_events_go_on_to_the_assembler_whoever_listens(self, rig: Rig) -> None:
        bus, heard, inbox, events = rig.bus(), list[Event](), Inbox(), chunks(20)
        await bus.start()
        await listening(bus, heard, EVERY_OWNER)
        async with consuming(bus, inbox):
            publish(bus, events)
            await inbox.has(events)
            await eventually(lambda: len(heard) == 20)

    async def test_a_closed_bus_ends_listening(self, rig: Rig) -> None:
        bus, peer, heard = rig.bus(), rig.bus(), list[Event]()
        await bus.start()
        await peer.start()
        await listening(bus, heard, "car-7")
        await bus.close()
        publish(peer, of("car-7"))
        await asyncio.sleep(TIME_TO_GO_WRONG)
        assert heard == []


async def test_a_bus_that_nobody_listens_to_reads_no_event_for_listeners(monkeypatch: pytest.MonkeyPatch) -> None:
    bus = MemoryBus()
    bus.listen(list[Event]().append)
    monkeypatch.delattr("libs.common.bus._ears.EVENTS")  # a read would fail
    publish(bus, of("car-7"))


@pytest.mark.backends
class TestRabbitmq:
    async def test_nothing_is_connected_or_declared_until_something_is_watched(self, rabbit_rig: RabbitRig) -> None:
        bus, tasks = rabbit_rig.bus(), asyncio.all_tasks()
        await bus.start()
        before = asyncio.all_tasks() - tasks
        made = bus.listen(list[Event]().append)
        await asyncio.sleep(TIME_TO_GO_WRONG)
        assert asyncio.all_tasks() - tasks == before
        assert made.deaf_since is None
        made.watch("car-7")
        assert made.deaf_since is not None, "not connected yet"
        assert await made.settled(within=20)
        assert made.deaf_since is None

    async def test_a_killed_broker_comes_back_with_what_was_watched(
        self, rabbit_rig: RabbitRig, rabbitmq: RabbitmqServer
    ) -> None:
        bus, heard, events = rabbit_rig.bus(), list[Event](), of("car-7")
        await bus.start()
        made = await listening(bus, heard, "car-7", "gone")
        await asyncio.to_thread(rabbitmq.kill)
        try:
            await eventually(lambda: made.deaf_since is not None)
            began = time.monotonic()
            made.watch("later")
            made.unwatch("gone")
            assert not await made.settled(within=20)
            assert time.monotonic() - began < 5, "nobody waits for a broker that is away"
        finally:
            await asyncio.to_thread(rabbitmq.start)
        await eventually(lambda: made.deaf_since is None and bus.connected, within=60)
        events += of("later")
        publish(bus, of("gone"))
        publish(bus, events)
        await eventually(lambda: ids(heard) == ids(events))

    async def test_a_broker_that_listeners_do_not_reach_is_no_trouble_of_the_bus(
        self, rabbit_rig: RabbitRig, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """As with permissions of a release that knew no listeners."""
        bus, down = rabbit_rig.bus(), value("hiper_bus_links_down")
        await bus.start()
        monkeypatch.setattr("libs.common.bus._topology.Topology.listener_queue", lambda _: "amq.reserved")
        made = bus.listen(list[Event]().append)
        with capture_logs() as logs:
            made.watch("car-7")
            assert not await made.settled(within=20)
            await asyncio.sleep(1)  # second: some more attempts
        assert bus.connected
        assert bus.trouble == ""
        assert value("hiper_bus_links_down") - down == 1
        (complaint,) = [line for line in logs if line["log_level"] == "warning"]
        assert "amq.reserved" in complaint["reason"]

    async def test_a_process_that_does_not_read_keeps_the_newest_events_and_blocks_nobody(
        self, rabbit_rig: RabbitRig, rabbitmq: RabbitmqServer, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("libs.common.bus._topology.HEARD_KEPT", 5)
        publisher, inbox = rabbit_rig.bus(), Inbox()
        await publisher.start()
        async with DeafProxy(rabbitmq.url) as proxy:
            slow = rabbit_rig.bus(url=proxy.url)
            await slow.start()
            await listening(slow, [], "car-7")
            assert await asyncio.to_thread(_listener_queues, rabbitmq) == [
                ["false", "true", "true", '[{"x-max-length",5},{"x-overflow","drop-head"}]']
            ]
            proxy.go_deaf()
            events = chunks(1000)
            async with consuming(publisher, inbox):
                publish(publisher, events)
                await inbox.has(events)

    async def test_the_owner_is_a_second_routing_key_and_the_first_is_as_it_was(self, rabbit_rig: RabbitRig) -> None:
        """A program that follows one device, and one that binds a type as it did with 0.1."""
        bus, events = rabbit_rig.bus(), of("car.7")
        await bus.start()
        async with rabbit_rig.channel() as channel:
            for key in ("owner.car~7.#", "owner.*.hiper.FileCompleted.v1", "hiper.FileCompleted.v1"):
                queue = await channel.declare_queue(exclusive=True)
                await queue.bind(rabbit_rig.exchange, key)
                publish(bus, events)
                message = await rabbit_rig.take(queue)
                await message.ack()
                assert message.routing_key == "hiper.FileCompleted.v1"
                assert EVENTS.validate_json(message.body) == events[0]

    async def test_what_is_no_event_is_not_shown(self, rabbit_rig: RabbitRig) -> None:
        bus, heard, events = rabbit_rig.bus(), list[Event](), of("car-7")
        await bus.start()
        await listening(bus, heard, "car-7")
        async with rabbit_rig.channel() as channel:
            exchange = await channel.get_exchange(rabbit_rig.exchange)
            for body in (b"{not json", b'{"type": "hiper.Unheard.v1"}', b""):
                await exchange.publish(aio_pika.Message(body), "owner.car-7.hiper.Unheard.v1")
        publish(bus, events)
        await eventually(lambda: heard == events)


def _listener_queues(server: RabbitmqServer) -> list[list[str]]:
    """Durable, exclusive, auto-delete and arguments of each queue that listens."""
    rows = server.control("-q", "list_queues", "name", "durable", "exclusive", "auto_delete", "arguments").splitlines()
    return [row.replace(", ", ",").split("\t")[1:] for row in rows if ".listener." in row]
