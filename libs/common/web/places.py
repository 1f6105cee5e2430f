"""Places that a request holds among those under way. A stream lasts for hours, and gives them back when it begins."""

from collections.abc import Callable

from starlette.types import Scope

_PLACES = "hiper.places"  # in a request's scope
_LEFT = "hiper.places_left"


def hold(scope: Scope, leave: Callable[[], None]) -> None:
    """Remember how a place is given back. `leave` may be called twice."""
    scope.setdefault(_PLACES, []).append(leave)


def leave_all(scope: Scope) -> None:
    """Give every place back: the request goes on as a stream, or waits."""
    for leave in scope.pop(_PLACES, ()):
        leave()
    scope[_LEFT] = True


def has_left(scope: Scope) -> bool:
    return _LEFT in scope
