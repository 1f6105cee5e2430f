"""What the protocol shows of its work to whoever watches. It names the step or the outcome, and knows of no metric."""

from contextlib import AbstractContextManager, nullcontext

from libs.common.bus.events import Event
from libs.common.uploads.layout import FileId
from libs.common.uploads.sweeping import Tally

_NOTHING = nullcontext()


class Watch:
    """Watches nothing. The shells of the services pass one that counts, measures and traces.

    Nothing here may raise or wait: it is called in the middle of the protocol.
    """

    def step(self, name: str) -> AbstractContextManager[object]:
        """Entered when a step begins, left when it has ended, well or not."""
        return _NOTHING

    def told(self, event: Event) -> None:
        """The outcome of an upload was published. One that is repeated after a crash is told again."""

    def deleted(self, file: FileId, session: str, size: int | None) -> None:
        """A file or an upload was deleted, because a device or an operator asked for it. `size` in bytes, where it is
        known."""

    def finalized(self, lag: float) -> None:
        """A file became complete `lag` seconds after its last chunk was stored, by the store's clock."""

    def swept(self, tally: Tally) -> None:
        """A sweep saw everything."""


UNWATCHED = Watch()
