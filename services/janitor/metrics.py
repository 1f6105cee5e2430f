"""What the janitor tells Prometheus: the state of the whole bucket, as of its last sweep."""

from prometheus_client import Counter, Histogram

from libs.common.observability.measuring import LateGauge
from libs.common.uploads.sweeping import Tally
from libs.common.uploads.watch import Watch

OPEN = LateGauge("hiper_uploads_open", "Uploads in progress.")
PARKED = LateGauge("hiper_uploads_parked", "Uploads that went stale; they can be resumed.")
TEMPORARY = LateGauge("hiper_uploads_stored_bytes", "Bytes in chunk objects.")
OLDEST = LateGauge("hiper_uploads_oldest_seconds", "Age of the upload that was opened first.")
UNASSEMBLED = LateGauge(
    "hiper_uploads_oldest_unassembled_seconds",
    "For how long an upload has been waiting to become a file whose bytes are all there: the longest.",
)
FINDINGS = Counter("hiper_sweep_findings", "What sweeps found to need a look, by why.", ["need"])
DURATION = Histogram(
    "hiper_sweep_duration_seconds",
    "Duration of a sweep.",
    buckets=(0.01, 0.05, 0.1, 0.5, 1, 5, 10, 30, 60, 300, 900),
)
SWEPT_AT = LateGauge("hiper_sweep_last_success_timestamp_seconds", "When a sweep last saw everything.")


class SweepWatch(Watch):
    """Shows what the last sweep saw."""

    def swept(self, tally: Tally) -> None:
        OPEN.set(tally.open)
        PARKED.set(tally.parked)
        TEMPORARY.set(tally.stored)
        OLDEST.set(tally.oldest)
        UNASSEMBLED.set(tally.unassembled)
        SWEPT_AT.set_to_current_time()
        for need, count in tally.findings.items():
            FINDINGS.labels(need.replace(" ", "_")).inc(count)
