"""The end of a process, as its requests learn of it: a body that would take longer than the drain ends before,
and a stream at once."""

import asyncio
from math import inf

MARGIN = 5.0  # seconds of a drain that are left for what follows a body: its last bytes are stored, the answer is sent


class Drain:
    """Begun once, by the server that gets SIGTERM."""

    def __init__(self) -> None:
        self._bodies_end = inf  # seconds of the event loop's clock
        self.begun = asyncio.Event()

    def begin(self, seconds: float) -> None:
        """`seconds`: how long the server waits for requests under way, before it cancels them."""
        self._bodies_end = asyncio.get_running_loop().time() + seconds - MARGIN
        self.begun.set()

    def left(self) -> float:
        """Seconds that a body may still take."""
        return max(0.0, self._bodies_end - asyncio.get_running_loop().time())


NEVER = Drain()
