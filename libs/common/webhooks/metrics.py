"""What a notifier tells Prometheus."""

from prometheus_client import Counter, Gauge

ATTEMPTS = Counter(
    "hiper_webhook_attempts", "Events posted to webhooks, by how it ended: accepted, failed.", ["outcome"]
)
FAILING = Gauge("hiper_webhooks_failing", "Webhooks whose last attempts failed, at the process that delivers.")
OLDEST = Gauge("hiper_webhooks_failing_seconds", "For how long a webhook has been failing: the longest.")
