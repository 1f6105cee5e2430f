"""Acting on a sweep: nudge the assembler, delete garbage that no reader could want."""

from dataclasses import dataclass

import structlog

from libs.common.bus import EventBus
from libs.common.clock import Clock
from libs.common.events import subject
from libs.common.layout import FileId, chunks_prefix, fact_key, file_key
from libs.common.look import Look, look
from libs.common.store import Buckets, list_all
from libs.common.sweep import Ages, Finding, Need, Tally, findings, swept_files
from libs.common.watch import UNWATCHED, Watch

log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class Janitor:
    """Finds what stopped half-way and what was left behind. Any number of them may run: each only repeats."""

    buckets: Buckets
    bus: EventBus
    clock: Clock
    ages: Ages
    watch: Watch = UNWATCHED

    async def sweep(self, now: float, *, needs: frozenset[Need] = frozenset(Need), dry_run: bool) -> list[Finding]:
        """One sweep at `now` (seconds since the epoch by the store's clock); what was found of `needs`, and unless
        `dry_run`, acted on. Raises StoreUnavailable."""
        found, tally = [], Tally(now)
        async for swept in swept_files(self.buckets.temp):
            tally.add(swept)
            for finding in findings(swept, now, self.ages):
                if finding.need in needs:
                    found.append(finding)
                    tally.findings[finding.need] += 1
                    if not dry_run:
                        await self._act(finding, now)
        self.watch.swept(tally)
        return found

    async def _act(self, finding: Finding, now: float) -> None:
        log.info(
            "needs a look", need=finding.need, file=subject(finding.file), session=finding.session, why=finding.why
        )
        match finding.need:
            case Need.CLOSING | Need.STALLED | Need.STALE:
                self.bus.publish(finding.event("/hiper/janitor"))
            case Need.DEAD_FACTS:
                await self._delete_facts(finding.file, finding.session)
            case Need.ORPHANS:
                await self._delete_chunks(finding.file, finding.session, now)

    async def _delete_facts(self, file: FileId, session: str) -> None:
        seen = await look(self.buckets.temp, file, self.clock)
        if session not in seen.sessions or not is_gone(seen, session):
            return
        for upload in seen.sessions[session].assemblies:
            await self.buckets.perm.abort_multipart(file_key(file), upload)
        await self.buckets.temp.delete_many([fact_key(file, session, fact) for fact in seen.sessions[session].facts])

    async def _delete_chunks(self, file: FileId, session: str, now: float) -> None:
        """Chunks of a session that is gone. Looked at again after listing them: a session that is not open then was
        either ended, or is not open yet and has no chunk in that list that was acknowledged."""
        chunks = await list_all(self.buckets.temp, chunks_prefix(file, session))
        if is_gone(await look(self.buckets.temp, file, self.clock), session):
            old = [info.key for info in chunks if now - info.modified > self.ages.stale]
            await self.buckets.temp.delete_many(old)


def is_gone(seen: Look, session: str) -> bool:
    """Whether a session ended, and no closing of the file may still need what lies under it."""
    return not seen.closing and not (session in seen.sessions and seen.sessions[session].is_open)
