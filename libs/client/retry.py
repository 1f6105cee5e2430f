"""When to try again: exponential back-off with full jitter, the server's Retry-After, and an end to patience.

Not `stamina`, although the rest of the project would use it: an upload's chunks are sent in parallel and share
one patience, which begins anew with every chunk that gets through.
"""

import random
from collections.abc import Callable

from libs.client.errors import HiperError
from libs.common.clock import Clock, SystemClock

FIRST_WAIT = 0.5  # seconds: upper bound of the first wait; doubles with each failure
LONGEST_WAIT = 30.0  # seconds
FEW = 3  # attempts where the server says that it is broken (500)

Notify = Callable[[HiperError, float], None]  # what failed, and the seconds until the next attempt


class Patience:
    """How long one transfer goes on without progress, however many requests it has in flight."""

    def __init__(
        self,
        retry_for: float,
        *,
        notify: Notify | None = None,
        clock: Clock | None = None,
        rng: random.Random | None = None,
    ) -> None:
        self.retry_for = retry_for
        self._notify = notify
        self.clock = clock or SystemClock()
        self.rng = rng or random.Random()  # noqa: S311  # spreads load; keeps no secret
        self.progress()

    def progress(self) -> None:
        """Something got through: patience is whole again."""
        self._since = self.clock.monotonic()

    def left(self) -> float:
        """Seconds until patience ends."""
        return self._since + self.retry_for - self.clock.monotonic()

    def backoff(self) -> "Backoff":
        return Backoff(self)

    async def wait(self, error: HiperError, seconds: float) -> None:
        """Wait, unless patience would end before; then raise the error."""
        if seconds >= self.left():
            raise error
        if self._notify:
            self._notify(error, seconds)
        await self.clock.sleep(seconds)


class Backoff:
    """Counts the failures of one request (or of one worker since its last success)."""

    def __init__(self, patience: Patience) -> None:
        self._patience = patience
        self._failures = 0

    def reset(self) -> None:
        self._failures = 0

    async def pause(self, error: HiperError) -> None:
        """Wait before the next attempt. Raises the error where no attempt is left or none can help."""
        self._failures += 1
        if error.retry == "no" or (error.retry == "few" and self._failures >= FEW):
            raise error
        bound = min(LONGEST_WAIT, FIRST_WAIT * 2.0 ** min(self._failures - 1, 30))
        # On top of Retry-After, so that a fleet that was told the same second does not come back in it.
        await self._patience.wait(error, error.retry_after + self._patience.rng.uniform(0, bound))
