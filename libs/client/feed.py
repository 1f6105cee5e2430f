"""The feed: every outcome of every file, for readers that must miss none."""

from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Sequence
from contextlib import aclosing

from libs.client.events import ServerEvent
from libs.client.following import Follower, of_all, up_to_present
from libs.client.models import Outcome, Record
from libs.client.retry import Patience
from libs.client.transport import Answer, Request, Transport

PAGE = 1000  # events in one answer


class _Page(Record):
    events: list[Outcome]
    next: str
    more: bool


class _Told(Record):
    """A line of a stream. Without an event it only says how far the feed was read."""

    cursor: str
    event: Outcome | None = None


class Outcomes:
    """Outcomes in the order of the feed, as an asynchronous iterator."""

    def __init__(self, place: "_Place", items: AsyncGenerator[Outcome, None]) -> None:
        self._place = place
        self._items = self._counted(items)
        self._cursor = place.cursor

    def __aiter__(self) -> AsyncIterator[Outcome]:
        return self._items

    async def aclose(self) -> None:
        """Close its connection. Where the iterator was left before its end, call this."""
        await self._items.aclose()

    @property
    def cursor(self) -> str:
        """Where to go on, so that nothing is missed after the last outcome for which the next one was asked for; empty
        before anything was read."""
        return self._cursor if self._place.pending else self._place.cursor

    async def _counted(self, items: AsyncGenerator[Outcome, None]) -> AsyncGenerator[Outcome, None]:
        async with aclosing(items):
            async for outcome in items:
                yield outcome
                self._cursor = outcome.cursor
                self._place.pending -= 1


class Feed:
    """The route /feed."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def read(self, query: dict[str, str], patience: Patience) -> Outcomes:
        """Every outcome up to the present."""
        place = _Place(query)
        return self._outcomes(place, up_to_present(self._transport, place, patience), patience)

    def follow(self, query: dict[str, str], patience: Patience) -> Outcomes:
        """The same, then each later one, for ever."""
        place = _Place(query)
        return self._outcomes(place, Follower(self._transport, place, patience).run(), patience)

    def _outcomes(self, place: "_Place", items: AsyncGenerator[Outcome, None], patience: Patience) -> Outcomes:
        return Outcomes(place, of_all(self._transport, items, patience))


def feed_query(after: str | None, owner: str | None, kinds: Iterable[str]) -> dict[str, str]:
    """The parameters that choose outcomes."""
    query = {"after": after, "owner": owner, "outcome": ",".join(kinds)}
    return {name: value for name, value in query.items() if value}


class _Place:
    """How far the feed was asked for. `pending`: how many outcomes of the last answers the reader does not have yet."""

    rest = 0.0

    def __init__(self, query: dict[str, str]) -> None:
        self._query = query
        self.is_present = False
        self.pending = 0

    @property
    def cursor(self) -> str:
        return self._query.get("after", "")

    def request(self) -> Request:
        return Request("GET", "/feed", {**self._query, "limit": str(PAGE)})

    def take_event(self, event: ServerEvent) -> Sequence[Outcome]:
        told = _Told.model_validate_json(event.data)
        return self._take([told.event] if told.event else [], told.cursor)

    def take_answer(self, answer: Answer) -> Sequence[Outcome]:
        page = _Page.model_validate_json(answer.body)
        self.is_present = not page.more
        return self._take(page.events, page.next)

    def _take(self, outcomes: Sequence[Outcome], following: str) -> Sequence[Outcome]:
        """Of several outcomes only the last one's place is told: for the others that of the answer before counts."""
        before = self.cursor
        self._query = {**self._query, "after": following}
        self.pending += len(outcomes)
        cursors = [*[before] * (len(outcomes) - 1), following]
        return [each.model_copy(update={"cursor": cursor}) for each, cursor in zip(outcomes, cursors, strict=False)]
