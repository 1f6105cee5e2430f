"""Requests of devices: on their way for any time, given up or not, answered or not."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from libs.common.problems import Problem
from libs.common.storage import ObjectNotFound, StoreUnavailable, UploadNotFound
from tests.simulation.fleet import IngestNode, Site
from tests.simulation.store import LATEST, Killed

LOST = "lost"  # the device gave up, or the connection broke
UNAVAILABLE = "unavailable"


@dataclass
class Answer:
    """What a device hears: a value, or why there is none (a problem's kind, LOST or UNAVAILABLE)."""

    value: Any = None
    wrong: Any = None


@dataclass(eq=False)
class Request:
    """`over`: nothing that it asked for happens any more. `bound`: to a session, so that it may come at any time."""

    bound: bool
    over: bool = False


class Desk:
    """Sends a device's requests to replicas."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self.pending: list[Request] = []

    async def ask(
        self,
        node: IngestNode,
        name: str,
        work: Callable[[], Awaitable[Any]],
        told: Callable[[Any], None],
        *,
        bound: bool,
    ) -> Answer:
        """Ask and wait for the answer, not for ever. `told` hears it when the replica gives it, heard or not."""
        chance, loop = self._site.odds.chance, self._site.loop
        request, heard = Request(bound), loop.create_future()
        self.pending.append(request)
        slow = not self._site.odds.quiet and chance.random() < 0.03

        async def serve() -> None:
            await loop.sleep(chance.choice((3.0, 10.0, 30.0)) if slow else 0.01 * chance.random())
            answer = await self._answer(node, name, work, told)
            over()
            if self._site.odds.quiet or chance.random() > 0.02:
                loop.call_later(0.01 * chance.random(), hear, answer, context=self._site.outside.context)

        def over() -> None:
            request.over = True
            if request in self.pending:
                self.pending.remove(request)

        def died() -> None:
            if not request.over:
                if bound:
                    over()
                else:  # until what it asked the store for has happened
                    loop.call_later(LATEST, over, context=self._site.outside.context)
                loop.call_later(0.1, hear, Answer(wrong=LOST), context=self._site.outside.context)

        def hear(answer: Answer) -> None:
            if not heard.done():
                heard.set_result(answer)

        if node.process.dead:
            over()
            await loop.sleep(0.1)
            return Answer(wrong=LOST)
        node.process.on_death.append(died)
        node.process.run(serve())
        patience = chance.choice((1.0, 5.0, 12.0, 5.0 if name.startswith("cancel") else 40.0))
        loop.call_later(patience, hear, Answer(wrong=LOST), context=self._site.outside.context)
        answer: Answer = await heard
        self._site.say(name, "->", answer.value if answer.wrong is None else answer.wrong)
        return answer

    async def _answer(
        self, node: IngestNode, name: str, work: Callable[[], Awaitable[Any]], told: Callable[[Any], None]
    ) -> Answer:
        try:
            value = await work()
        except Problem as problem:
            return Answer(wrong=problem.kind)
        except StoreUnavailable:
            return Answer(wrong=UNAVAILABLE)
        except (ObjectNotFound, UploadNotFound):
            if name.startswith("download"):
                return Answer(wrong=LOST)
            raise
        except Killed:
            raise
        except Exception as error:
            self._site.violated(f"{node.process.name}: {name} fails: {error!r}")
            return Answer(wrong=UNAVAILABLE)
        told(value)
        return Answer(value)

    @property
    def alone(self) -> bool:
        """Whether no request is on its way that could hit another upload than the one it was meant for."""
        return all(request.bound for request in self.pending)

    async def wait_out(self) -> None:
        """Until it is alone."""
        while not self.alone:
            await self._site.loop.sleep(0.5)
