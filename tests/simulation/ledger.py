"""Which outcomes became true, by what the buckets say, and which of them the feed tells."""

from collections.abc import Callable
from dataclasses import dataclass, field

from libs.common.uploads.layout import file_key, parse_entry_key, parse_file_key, parse_record_key, record_key
from libs.common.uploads.outcomes import session_of
from libs.common.uploads.record import NOTHING, Record, parse
from tests.simulation.bucket import Bucket

Outcome = tuple[str, str]  # its name, and the session


@dataclass
class Ledger:
    """It reads the buckets itself, without the code under test. `became`: outcomes that became true. `owed`: those that
    the feed must tell in the end; a whole file that was put at once, and never acknowledged, only may be told."""

    temp: Bucket
    perm: Bucket
    violated: Callable[[str], None]
    became: set[Outcome] = field(default_factory=set)
    owed: set[Outcome] = field(default_factory=set)
    told: set[Outcome] = field(default_factory=set)
    records: dict[str, Record] = field(default_factory=dict)

    def changed(self, key: str) -> None:
        """An object came or went."""
        if key.startswith("uploads/"):
            self._record_changed(key)
        elif key.startswith("files/"):
            self._file_changed(key)
        elif key.startswith("feed/") and key in self.perm.objects:
            entry = parse_entry_key(key)
            self.told.add((entry.outcome, entry.session))
            if (entry.outcome, entry.session) not in self.became:
                self.violated(f"the feed tells what is not so: {entry}")

    def owe(self, outcome: str, session: str) -> None:
        self.owed.add((outcome, session))

    def untold(self) -> set[Outcome]:
        return self.owed - self.told

    def _record_changed(self, key: str) -> None:
        before, stored = self.records.pop(key, NOTHING), self.temp.objects.get(key)
        if not stored:
            self._file_changed(file_key(parse_record_key(key)))
            return
        now = self.records[key] = parse(key, stored.data)
        outcomes = set[Outcome]()
        if now.state == "closed" and now.file not in ("", before.file):
            outcomes.add(("complete", now.file))
        if now.parked_at is not None and (before.parked_at is None or now.runs != before.runs):
            outcomes.add(("parked", now.session))
        outcomes |= {("rejected", session) for session in now.kept if session not in before.kept}
        if now.ended != before.ended:
            outcomes |= {("deleted", session) for session in now.ended.split(",") if session}
        self.became |= outcomes
        self.owed |= outcomes

    def _file_changed(self, key: str) -> None:
        """A file counts where no record says otherwise."""
        done = self.perm.objects.get(key)
        if done and record_key(parse_file_key(key)) not in self.temp.objects:
            self.became.add(("complete", session_of(done.info)))
