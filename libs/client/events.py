"""Server-sent events, as the HTML standard defines their stream (section 9.2)."""

from typing import NamedTuple

MEDIA_TYPE = "text/event-stream"


class ServerEvent(NamedTuple):
    """One event. `id`: where a reader goes on after it. `kind`: empty where none is told."""

    id: str
    kind: str
    data: str


class EventParser:
    """Makes events of lines."""

    def __init__(self) -> None:
        self.retry: float | None = None  # seconds after which the server wants to be asked again
        self._id = self._kind = ""
        self._data = list[str]()

    def feed(self, line: bytes) -> ServerEvent | None:
        """The event that this line ends; None where it ends none."""
        text = line.decode(errors="replace").rstrip("\r\n")
        if not text:
            return self._ended()
        field, _, value = text.partition(":")
        self._take(field, value.removeprefix(" "))
        return None

    def _take(self, field: str, value: str) -> None:
        if field == "data":
            self._data.append(value)
        elif field == "event":
            self._kind = value
        elif field == "id" and "\0" not in value:
            self._id = value
        elif field == "retry" and value.isascii() and value.isdigit():
            self.retry = int(value) / 1000

    def _ended(self) -> ServerEvent | None:
        kind, data = self._kind, self._data
        self._kind, self._data = "", []
        return ServerEvent(self._id, kind, "\n".join(data)) if data else None
