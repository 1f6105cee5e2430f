"""Acting on a sweep: nudge the assembler, delete garbage."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import structlog

from libs.common.bus import EventBus
from libs.common.bus.events import subject
from libs.common.clock import Clock
from libs.common.feed.expiry import expire
from libs.common.storage import Buckets
from libs.common.uploads.sweeping import Ages, Finding, Need, Sweep, SweptName, Tally, findings
from libs.common.uploads.tidying import tidy, with_leftovers
from libs.common.uploads.tools import Tools
from libs.common.uploads.watch import UNWATCHED, Watch

Saw = Callable[[SweptName], None]
log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class Janitor:
    """Finds what stopped half-way and what was left behind. Any number of them may run: each only repeats."""

    buckets: Buckets
    bus: EventBus
    clock: Clock
    ages: Ages
    watch: Watch = UNWATCHED
    feed_days: int = 7

    @cached_property
    def _sweep(self) -> Sweep:
        return Sweep(self.buckets.temp)

    @cached_property
    def _tools(self) -> Tools:
        return Tools(self.buckets, self.bus, self.clock)

    async def sweep(
        self, now: float, *, needs: frozenset[Need] = frozenset(Need), dry_run: bool, saw: Saw | None = None
    ) -> list[Finding]:
        """One sweep at `now` (seconds since the epoch by the store's clock); what was found of `needs`, and unless
        `dry_run`, acted on. `saw` is shown every name. Raises StoreUnavailable."""
        found, tally = [], Tally(now)
        async for swept in self._sweep.names(now):
            tally.add(swept)
            if saw:
                saw(swept)
            for finding in findings(swept, now, self.ages):
                if finding.need in needs:
                    found.append(finding)
                    tally.findings[finding.need] += 1
                    if not dry_run:
                        await self._act(finding)
        if Need.GARBAGE in needs:
            async for file in with_leftovers(self._tools, self._sweep.records):
                finding = Finding(Need.GARBAGE, file, "", 0.0, "bytes in permanent storage that no record names")
                found.append(finding)
                if not dry_run:
                    await self._act(finding)
            if expired := await expire(self.buckets.perm, now, self.feed_days, dry_run=dry_run):
                log.info("entries of the feed are too old", days=self.feed_days, entries=expired, deleted=not dry_run)
        self.watch.swept(tally)
        return found

    async def _act(self, finding: Finding) -> None:
        log.info(
            "needs a look", need=finding.need, file=subject(finding.file), session=finding.session, why=finding.why
        )
        if finding.need is Need.GARBAGE:
            await tidy(self._tools, finding.file)
        else:
            self.bus.publish(finding.event("/hiper/janitor"))
