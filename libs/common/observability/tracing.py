"""OpenTelemetry traces: off unless the standard environment variables ask for them.

OTEL_EXPORTER_OTLP_ENDPOINT (or OTEL_TRACES_EXPORTER=otlp) turns them on; the rest of what the SDK reads from the
environment holds too (https://opentelemetry.io/docs/specs/otel/configuration/sdk-environment-variables/).
"""

import os
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.trace import INVALID_SPAN, Span, SpanKind, Tracer, TracerProvider
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from libs.common.settings import ConfigurationError

TRACEPARENT = "traceparent"  # https://www.w3.org/TR/trace-context/
_ENDPOINTS = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
_PROTOCOLS = ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")
_TIMEOUTS = ("OTEL_EXPORTER_OTLP_TIMEOUT", "OTEL_EXPORTER_OTLP_TRACES_TIMEOUT")
EXPORT_TIMEOUT = 2.0  # seconds; the end of a process waits for the last export, and the SDK's own default is 10
_OFF: AbstractContextManager[Span] = nullcontext(INVALID_SPAN)
_propagator = TraceContextTextMapPropagator()
_tracer: Tracer | None = None


def wanted(environment: Mapping[str, str]) -> bool:
    """Whether the environment asks for traces. Raises ConfigurationError for what this program cannot do."""
    if environment.get("OTEL_SDK_DISABLED", "").lower() == "true":
        return False
    default = "otlp" if any(environment.get(name) for name in _ENDPOINTS) else "none"
    exporter = environment.get("OTEL_TRACES_EXPORTER") or default
    if exporter not in ("otlp", "none"):
        raise ConfigurationError(f"OTEL_TRACES_EXPORTER is {exporter!r}; it must be otlp or none")
    protocol = next((environment[name] for name in _PROTOCOLS if environment.get(name)), "http/protobuf")
    if exporter == "otlp" and protocol != "http/protobuf":
        raise ConfigurationError(f"OTEL_EXPORTER_OTLP_PROTOCOL is {protocol!r}; it must be http/protobuf")
    return exporter == "otlp"


def configure_tracing(service: str, version: str) -> None:
    """Record and export spans from here on, if the environment asks for it. What is left at the end of the process
    is sent then. Raises ConfigurationError."""
    if not wanted(os.environ):
        return
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider as SdkTracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    name = os.environ.get("OTEL_SERVICE_NAME") or service
    provider = SdkTracerProvider(resource=Resource.create({"service.name": name, "service.version": version}))
    timeout = None if any(map(os.environ.get, _TIMEOUTS)) else EXPORT_TIMEOUT
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(timeout=timeout)))
    record_with(provider)


def record_with(provider: TracerProvider | None) -> None:
    """Record spans with this provider; with none, no more."""
    global _tracer
    _tracer = provider.get_tracer("hiper") if provider else None


def span(
    name: str, kind: SpanKind = SpanKind.INTERNAL, attributes: Mapping[str, str] | None = None
) -> AbstractContextManager[Span]:
    """A span below the current one, for the time of the context; costs next to nothing while traces are off."""
    if _tracer is None:
        return _OFF
    return _tracer.start_as_current_span(name, kind=kind, attributes=attributes)


def continued(
    name: str, kind: SpanKind, traceparent: str | None, attributes: Mapping[str, str] | None = None
) -> AbstractContextManager[Span]:
    """A span below the one that a traceparent names, which came from elsewhere; without one it begins a trace."""
    if _tracer is None:
        return _OFF
    parent = _propagator.extract({TRACEPARENT: traceparent} if traceparent else {}, Context())
    return _tracer.start_as_current_span(name, context=parent, kind=kind, attributes=attributes)


def current_traceparent() -> str | None:
    """What names the current span elsewhere; None while traces are off, or outside of any."""
    if _tracer is None:
        return None
    carrier: dict[str, str] = {}
    _propagator.inject(carrier)
    return carrier.get(TRACEPARENT)


def annotate(**attributes: str) -> None:
    """Attributes of the current span that were not known when it began."""
    trace.get_current_span().set_attributes({f"hiper.{name}": value for name, value in attributes.items()})


def trace_ids() -> dict[str, str]:
    """What log lines say of the current trace: `trace_id` in hex, or nothing while traces are off."""
    context = trace.get_current_span().get_span_context()
    return {"trace_id": f"{context.trace_id:032x}"} if context.is_valid else {}
