"""Hearing of each change of something: by a stream, or by requests that wait where a stream does not come through."""

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import replace
from typing import Generic, Protocol, TypeVar

from libs.client.answer_errors import answer_error
from libs.client.answers import json_object
from libs.client.errors import AnswerError, HiperError, ServerAwayError, SilentServerError
from libs.client.events import MEDIA_TYPE, EventParser, ServerEvent
from libs.client.failures import translated
from libs.client.retry import Patience
from libs.client.transport import Answer, Request, Transport

SILENCE = 25.0  # seconds without a word that a stream may last: the server says something each 15 s
WAIT = 30  # seconds that a request waits for a change
FIRST_POLL = 0.05  # seconds between two requests to a server that does not wait; doubles
LONGEST_POLL = 1.0  # seconds
SCOPE = "fleet:read"  # of what belongs to all devices
PROBLEM = "problem"  # the kind of the event that ends a stream with a problem document

ItemT = TypeVar("ItemT")
ItemT_co = TypeVar("ItemT_co", covariant=True)


class Resource(Protocol[ItemT_co]):
    """Something that changes, and the place up to which it was read. `rest`: seconds to let pass between two requests
    that wait, at least."""

    rest: float

    @property
    def is_present(self) -> bool:
        """Whether the client has read all that the server had. It then waits for the next item."""
        ...

    def request(self) -> Request:
        """The request for what comes next."""
        ...

    def take_event(self, event: ServerEvent) -> Sequence[ItemT_co]:
        """What an event of the stream brings. Raises ValidationError."""
        ...

    def take_answer(self, answer: Answer) -> Sequence[ItemT_co]:
        """What an answer brings that is no stream. Raises ValidationError."""
        ...


async def up_to_present(
    transport: Transport, resource: Resource[ItemT], patience: Patience
) -> AsyncGenerator[ItemT, None]:
    """Everything up to the present, by plain requests. Raises HiperError where no attempt helps, or patience ends."""
    while not resource.is_present:
        answer = await transport.call(resource.request(), patience)
        with translated(transport.server):
            items = resource.take_answer(answer)
        for item in items:
            yield item


async def of_all(
    transport: Transport, items: AsyncGenerator[ItemT, None], patience: Patience
) -> AsyncGenerator[ItemT, None]:
    """The items of all devices, if the client may have them; else those of its own."""
    await transport.ask_for_scope(SCOPE, patience)
    async with aclosing(items):
        async for item in items:
            yield item


class Follower(Generic[ItemT]):
    """Reads a resource for ever: by plain requests up to the present, then by streams. It goes on after breaks, from
    where it was.

    Streams are given up for requests that wait once nothing at all comes out of one: a proxy on the way keeps it
    back, or the server knows no streams."""

    def __init__(
        self,
        transport: Transport,
        resource: Resource[ItemT],
        patience: Patience,
        *,
        streams: bool = True,
        soon: int = 0,
    ) -> None:
        """`soon`: how many requests after the first do not wait, because the change is likely to come at once."""
        self._transport = transport
        self._resource = resource
        self._patience = patience
        self._backoff = patience.backoff()
        self._streams = streams
        self._soon = soon
        self._poll = FIRST_POLL

    async def run(self) -> AsyncGenerator[ItemT, None]:
        """Raises HiperError where no attempt helps, or patience ends."""
        while True:
            try:
                streams = self._streams and self._resource.is_present
                async with aclosing(self._stream() if streams else self._ask()) as items:
                    async for item in items:
                        yield item
            except HiperError as error:
                await self._backoff.pause(error)

    async def _stream(self) -> AsyncGenerator[ItemT, None]:
        """One stream to its end."""
        request = replace(self._resource.request(), timeout=None, silence=SILENCE)
        request = replace(request, headers={**request.headers, "Accept": MEDIA_TYPE})
        parser, began = EventParser(), False
        try:
            async with self._transport.exchange(request) as response:
                if response.content_type == MEDIA_TYPE:
                    async for line in response.content:
                        began = True
                        self._alive()
                        if event := parser.feed(line):
                            for item in self._taken(event):
                                yield item
        except SilentServerError:
            if began:
                raise
        if began:
            await self._rest(parser.retry)
        else:
            self._streams = False

    def _taken(self, event: ServerEvent) -> Sequence[ItemT]:
        if event.kind == PROBLEM:
            raise _problem(event.data)
        with translated(self._transport.server):
            return self._resource.take_event(event)

    async def _ask(self) -> AsyncGenerator[ItemT, None]:
        """One answer."""
        request, polls = self._resource.request(), self._resource.is_present
        if polls and self._soon:
            self._soon -= 1
        elif polls:
            request = replace(request, headers={**request.headers, "Prefer": f"wait={WAIT}"})
        answer = await self._transport.once(request)
        self._alive()
        with translated(self._transport.server):
            items = self._resource.take_answer(answer)
        for item in items:
            yield item
        if polls and "Preference-Applied" not in answer.headers:
            await self._patience.clock.sleep(max(self._poll, self._resource.rest))
            self._poll = min(LONGEST_POLL, self._poll * 2)
        elif polls:
            await self._patience.clock.sleep(self._resource.rest)

    async def _rest(self, seconds: float | None) -> None:
        """After the end of a stream, until the next one. The server said for how long, unless it was cut."""
        if seconds is None:
            raise ServerAwayError(self._transport.server, "the stream broke off")
        await self._patience.clock.sleep(seconds * self._patience.rng.uniform(1, 1.5))

    def _alive(self) -> None:
        self._patience.progress()
        self._backoff.reset()


def _problem(data: str) -> AnswerError:
    """The error that ends a stream."""
    document = json_object(data)
    status = document.get("status")
    return answer_error(status if isinstance(status, int) else 500, "at the end of a stream", document)
