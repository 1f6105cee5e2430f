"""HTTP/1.1 as strangers send it: each message read in one way only, bounds on what comes before the application hears
of a request, and connections that end so that the client reads the last answer."""

from libs.common.settings import Settings
from libs.common.web.answers import Pace
from libs.common.web.http1.heads import BoundedProtocol

__all__ = ["BoundedProtocol", "protocol_of"]

BODIES_DISCARDED = 4  # of the largest size, after an answer: some clients read an answer only when all is sent


def protocol_of(settings: Settings) -> type[BoundedProtocol]:
    """The protocol with these bounds: uvicorn takes a class."""
    bounds = {
        "header_timeout": settings.header_timeout,
        "max_header_bytes": settings.max_header_bytes,
        "body_timeout": settings.body_timeout,
        "body_idle_timeout": settings.body_idle_timeout,
        "pace": Pace(settings.answer_least_rate, settings.answer_idle_timeout),
        "most_discarded": BODIES_DISCARDED * settings.max_chunk_size,
    }
    return type("BoundedProtocol", (BoundedProtocol,), bounds)
