"""Refusing work before it costs anything: a fleet that comes back after an outage must not end the process."""

from contextlib import ExitStack

from starlette.types import ASGIApp, Receive, Scope, Send

from libs.common.problems import Kind, Problem, later
from libs.common.web.access_log import PROBES
from libs.common.web.errors import render
from libs.common.web.places import hold

FIRST, SPREAD = 2.0, 10.0  # seconds: those that are shed come back 2 to 12 seconds later


class Shedder:
    """Answers 503 while `most` requests are under way. Probes pass: an orchestrator must not take load for death.
    A stream counts until it begins."""

    def __init__(self, app: ASGIApp, most: int) -> None:
        self._app = app
        self._most = most
        self._under_way = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] in PROBES:
            await self._app(scope, receive, send)
            return
        if self._under_way >= self._most:
            problem = Problem(
                Kind.BUSY, "Too many requests are under way. Try again later.", headers=later(FIRST, SPREAD)
            )
            await render(problem)(scope, receive, send)
            return
        with ExitStack() as place:
            self._under_way += 1
            place.callback(self._leave)
            hold(scope, place.close)
            await self._app(scope, receive, send)

    def _leave(self) -> None:
        self._under_way -= 1
