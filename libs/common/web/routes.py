"""Routes that read their requests themselves."""

from starlette.routing import Match, Route
from starlette.types import Scope


class NamedRoute(Route):
    """A route that logs and metrics name: FastAPI's router tells them only the routes that FastAPI made."""

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        match, found = super().matches(scope)
        return match, {**found, "route": self}
