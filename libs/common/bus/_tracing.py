"""Events carry the trace that they belong to, as CloudEvents' distributed tracing extension says:
https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/extensions/distributed-tracing.md"""

from contextlib import AbstractContextManager

from opentelemetry.trace import Span, SpanKind

from libs.common.bus.events import Event
from libs.common.observability.tracing import continued, current_traceparent, span


def publishing(event: Event) -> AbstractContextManager[Span]:
    """The span of handing an event over."""
    return span(f"publish {event.type}", SpanKind.PRODUCER, _attributes(event))


def carrying(event: Event) -> Event:
    """The event with the current span as its origin; the event itself while traces are off."""
    traceparent = current_traceparent()
    return event.model_copy(update={"traceparent": traceparent}) if traceparent else event


def handling(event: Event) -> AbstractContextManager[Span]:
    """The span of handling an event, below that of its publishing, wherever that was."""
    return continued(f"process {event.type}", SpanKind.CONSUMER, event.traceparent, _attributes(event))


def _attributes(event: Event) -> dict[str, str]:
    return {"cloudevents.event_id": event.id, "hiper.owner": event.data.owner, "hiper.file": event.data.filename}
