"""What happens to events, counted. One set per process: buses made later in the process add to it."""

from prometheus_client import Counter

PUBLISHED = Counter("hiper_bus_events_published", "Events handed to the bus", ["type"])
CONFIRMED = Counter("hiper_bus_events_confirmed", "Events that the broker has on disk", ["type"])
REPUBLISHED = Counter("hiper_bus_events_republished", "Publishes that were not confirmed and made again", ["type"])
DROPPED = Counter("hiper_bus_events_dropped", "Events given up before publishing: buffer full or closed", ["type"])
DELIVERED = Counter("hiper_bus_events_delivered", "Events given to a handler, redeliveries included", ["type"])
DEAD_LETTERED = Counter("hiper_bus_events_dead_lettered", "Events given up after delivery", ["type"])
