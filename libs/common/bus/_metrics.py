"""What happens to events, counted. One set per process: buses made later in the process add to it.

Until it is in a queue an event counts as its routing key, from then on as its type: so that what is delivered can be
compared with what the queue got."""

from prometheus_client import Counter, Gauge, Histogram

PUBLISHED = Counter("hiper_bus_events_published", "Events handed to the bus.", ["type"])
CONFIRMED = Counter("hiper_bus_events_confirmed", "Events that the broker has on disk, or has no queue for.", ["type"])
REPUBLISHED = Counter("hiper_bus_events_republished", "Publishes that were not confirmed and made again.", ["type"])
DROPPED = Counter("hiper_bus_events_dropped", "Events given up before publishing: buffer full or closed.", ["type"])
DELIVERED = Counter("hiper_bus_events_delivered", "Events given to a handler, redeliveries included.", ["type"])
DEAD_LETTERED = Counter("hiper_bus_events_dead_lettered", "Events given up after delivery.", ["type"])
FAILED = Counter("hiper_bus_handlers_failed", "Deliveries whose handler failed and that come again.", ["type"])
CONFIRM_DURATION = Histogram(
    "hiper_bus_confirm_duration_seconds",
    "From the sending of an event to the broker's word that it is on disk.",
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10),
)
HANDLE_DURATION = Histogram(
    "hiper_bus_handle_duration_seconds",
    "Duration of the handling of an event, waits for an unavailable store included.",
    ["type"],
    buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300),
)
WAITING = Gauge("hiper_bus_waiting_events", "Events that wait for the broker, those under way included.")
QUEUE_MESSAGES = Gauge(
    "hiper_bus_queue_messages",
    "Messages that wait in a queue of the broker, as this process last saw it; none while it has no connection.",
    ["queue"],
)
LINKS_DOWN = Gauge("hiper_bus_links_down", "Connections to the broker that are wanted and not there.")
