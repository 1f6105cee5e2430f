"""Answers that last: streams (server-sent events, JSON lines) and answers that wait for a change.

They have places of their own and take none of an upload's. Each ends when the server drains, when its token ends or is
revoked, and when its client leaves or stops reading (ANSWER_IDLE_TIMEOUT). Nothing is queued for a client but one
block of items that were there at once: the next are asked for once it is written.
"""

import asyncio
import json
import random
import time
from collections.abc import AsyncGenerator, AsyncIterator, Coroutine
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import Annotated, Any, Protocol, TypeVar

from fastapi import Depends, Request
from fastapi.responses import StreamingResponse
from fastapi.sse import format_sse_event
from starlette.requests import ClientDisconnect

from libs.common.problems import Problem
from libs.common.security.authn import Authn
from libs.common.security.tokens import Principal
from libs.common.storage import StoreUnavailable
from libs.common.web.drain import Drain
from libs.common.web.errors import count
from libs.common.web.places import leave_all
from services.ingest.access import Caller
from services.ingest.manners import EVENTS, JSONL, Manner, manner_of
from services.ingest.state import ingest

BLOCK = 32 * 1024  # bytes: items that are there at once are written together, up to about so many
QUIET = 15.0  # seconds without an item, after which a comment shows that the stream lives
FIRST_RETRY, SPREAD = 1.0, 4.0  # seconds: those whose streams end at one moment come back 1 to 5 seconds later
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Item:
    """What a stream shows next. `data` is JSON in one line; `id` and `event` are for server-sent events alone."""

    data: str
    id: str | None = None
    event: str | None = None


Items = AsyncGenerator[Item, None]


@dataclass(frozen=True)
class Lasting:
    """How a route answers for long."""

    request: Request
    caller: Principal
    stack: AsyncExitStack  # closed after the answer
    tasks: "set[asyncio.Task[Any]]" = field(default_factory=set)

    async def stream(self, items: Items) -> StreamingResponse:
        """Show the items by a stream, in the manner that `Accept` asks for. A Problem that they raise before their
        first is answered as always. One that they raise later is the stream's last item, with the event `problem`.
        Closes the items in any case. Raises TOO_MANY_REQUESTS."""
        self.stack.push_async_callback(items.aclose)
        manner = manner_of(self.request)
        self._begin(manner)
        lines = self._lines(_FORMS[manner], items, await anext(items, None))
        self.stack.push_async_callback(self._end)
        self.stack.push_async_callback(lines.aclose)
        headers = {"Cache-Control": "no-store", "Vary": "Accept", "X-Accel-Buffering": "no"}
        return StreamingResponse(lines, headers=headers, media_type=EVENTS if manner == "events" else JSONL)

    async def wait(self, coming: Coroutine[Any, Any, T], seconds: float) -> T | None:
        """What comes; None where it does not come within the time, or the server drains. Ends what comes in any case.
        Raises what it raises, and TOO_MANY_REQUESTS."""
        patience = min(seconds * random.uniform(15 / 16, 1), self._token_left())  # noqa: S311  # not all at one moment
        task, gone = self._started(coming), self._started(self._left_by_client())
        try:
            self._begin("wait")
            tasks = {task, gone, self._started(self._drain.begun.wait())}
            await asyncio.wait(tasks, timeout=patience, return_when=asyncio.FIRST_COMPLETED)
            if gone.done() and not task.done():
                raise ClientDisconnect
            return task.result() if task.done() else None
        finally:
            await self._end()

    async def _end(self) -> None:
        tasks = list(self.tasks)
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)

    def _begin(self, manner: str) -> None:
        self.stack.enter_context(ingest(self.request).places.taken(self.caller.subject, manner))
        leave_all(self.request.scope)

    async def _lines(self, form: "Form", items: Items, item: Item | None) -> AsyncGenerator[bytes, None]:
        drains = self._started(self._drain.begun.wait())
        while item is not None:
            block, coming = form.item(item), self._started(_next(items))
            await asyncio.sleep(0)
            while len(block) < BLOCK and coming.done() and (item := coming.result()) is not None:
                block, coming = block + form.item(item), self._started(_next(items))
                await asyncio.sleep(0)
            yield block
            while self._allowed() and not (coming.done() or drains.done()):
                within = min(QUIET, self._token_left())
                done, _ = await asyncio.wait({coming, drains}, timeout=within, return_when=asyncio.FIRST_COMPLETED)
                if not done:
                    yield form.comment
            item = coming.result() if coming.done() and self._allowed() else None
        yield form.end

    def _started(self, work: Coroutine[Any, Any, T]) -> "asyncio.Task[T]":
        """A task that ends with the answer. Not where it is used: a client that leaves cancels every wait there."""
        task = asyncio.create_task(work)
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)
        return task

    def _allowed(self) -> bool:
        authn: Authn = self.request.app.state.authn
        return self._token_left() > 0 and not authn.revocations.is_revoked(self.caller)

    def _token_left(self) -> float:
        """Seconds."""
        return max(0.0, self.caller.expires_at - time.time())

    @property
    def _drain(self) -> Drain:
        found: Drain = self.request.app.state.drain
        return found

    async def _left_by_client(self) -> None:
        while (await self.request.receive())["type"] != "http.disconnect":
            pass


async def lasting(request: Request, caller: Caller) -> AsyncIterator[Lasting]:
    """A dependency of routes that may answer for long."""
    async with AsyncExitStack() as stack:
        yield Lasting(request, caller, stack)


MayLast = Annotated[Lasting, Depends(lasting)]


async def _next(items: Items) -> Item | None:
    """The next item, or the problem that ends them; None after the last."""
    try:
        return await anext(items, None)
    except Problem as problem:
        count(problem)
        return Item(json.dumps(problem.document()), event="problem")
    except StoreUnavailable:
        return None  # a client that comes back gets the problem


class Form(Protocol):
    """What the lines of a stream look like."""

    comment: bytes

    def item(self, item: Item) -> bytes: ...

    @property
    def end(self) -> bytes: ...


class _Events:
    """https://html.spec.whatwg.org/multipage/server-sent-events.html"""

    comment = b":\n\n"

    def item(self, item: Item) -> bytes:
        return format_sse_event(data_str=item.data, event=item.event, id=item.id)

    @property
    def end(self) -> bytes:
        return format_sse_event(retry=int(1000 * random.uniform(FIRST_RETRY, FIRST_RETRY + SPREAD)))  # noqa: S311  # jitter


class _Lines:
    """https://jsonlines.org, with an empty line for a comment."""

    comment = b"\n"
    end = b""

    def item(self, item: Item) -> bytes:
        return item.data.encode() + b"\n"


_FORMS: dict[Manner, Form] = {"events": _Events(), "jsonl": _Lines()}
