"""Two ports of one application: what operators read is not on the port that devices reach."""

from starlette.types import ASGIApp, Receive, Scope, Send

from libs.common.problems import Kind, Problem
from libs.common.web.access_log import PROBES
from libs.common.web.errors import render


class MetricsDoor:
    """Answers /metrics on one port only, and nothing but probes there."""

    def __init__(self, app: ASGIApp, port: int) -> None:
        self._app = app
        self._port = port

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or self._is_here(scope):
            await self._app(scope, receive, send)
        else:
            await render(Problem(Kind.NO_ROUTE, "Not Found"))(scope, receive, send)

    def _is_here(self, scope: Scope) -> bool:
        path: str = scope["path"]
        return path in PROBES if port_of(scope) == self._port else path != "/metrics"


class AdminDoor:
    """Answers /devices on one port only; whatever else is there, as on the others."""

    def __init__(self, app: ASGIApp, port: int) -> None:
        self._app = app
        self._port = port

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and _is_of_devices(scope["path"]) and port_of(scope) != self._port:
            await render(Problem(Kind.NO_ROUTE, "Not Found"))(scope, receive, send)
        else:
            await self._app(scope, receive, send)


def port_of(scope: Scope) -> int | None:
    """The port that the connection was made to; nothing that the client says of it counts."""
    _, port = scope.get("server") or ("", None)
    return port


def _is_of_devices(path: str) -> bool:
    return path == "/devices" or path.startswith("/devices/")
