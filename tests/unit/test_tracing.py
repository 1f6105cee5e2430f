"""Traces follow a chunk from the request through the bus to the file; they are off unless somebody asks for them."""

from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
import structlog
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind
from structlog.testing import capture_logs

from libs.common.observability.tracing import current_traceparent, record_with, span, wanted
from libs.common.settings import ConfigurationError, Settings
from services.embedded.app import build_app
from tests.unit.ingest.conftest import app, device, http
from tests.unit.ingest.running import make_settings
from tests.unit.ingest.talk import Device, accepted, until
from tests.unit.test_web import talking_to

__all__ = ["app", "device", "http"]  # fixtures

TRACE, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
TRACEPARENT = {"traceparent": f"00-{TRACE}-{PARENT}-01"}


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return make_settings(tmp_path, trust_traceparent=True)


@pytest.fixture
def recorded() -> Iterator[InMemorySpanExporter]:
    exporter, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    record_with(provider)
    yield exporter
    record_with(None)


def below(spans: Mapping[int, ReadableSpan], one: ReadableSpan) -> list[str]:
    """The names on the way up from a span, up to what came from outside."""
    names = [one.name]
    while one.parent and one.parent.span_id in spans:
        one = spans[one.parent.span_id]
        names.append(one.name)
    return names


async def sent_in_two_chunks(device: Device, recorded: InMemorySpanExporter) -> None:
    """Send a file whose second chunk makes the assembler work; wait until it did."""
    accepted(await device.chunk("drive.bin", b"hello", 0, 2))
    accepted(await device.chunk("drive.bin", b"hello", 2, headers=TRACEPARENT))
    await until(lambda: "process hiper.ChunkReceived.v1" in {one.name for one in recorded.get_finished_spans()})


async def test_one_trace_leads_from_the_request_through_the_bus_to_the_file(
    device: Device, recorded: InMemorySpanExporter
) -> None:
    await sent_in_two_chunks(device, recorded)
    mine = [one for one in recorded.get_finished_spans() if one.context and f"{one.context.trace_id:032x}" == TRACE]
    spans = {one.context.span_id: one for one in mine if one.context}
    ways = {one.name: below(spans, one)[1:] for one in mine}
    request, publish = "POST /upload", "publish hiper.ChunkReceived.v1"
    steps = ("receive", "turn", "look", "compare", "store", "acknowledge")
    assert [ways[f"chunk {name}"] for name in steps] == [[request]] * len(steps)
    assert ways[publish] == ["chunk acknowledge", request]
    handled = ["process hiper.ChunkReceived.v1", publish, "chunk acknowledge", request]
    assert ways["file advance"] == handled
    assert ways["file assemble"] == ["file advance", *handled]
    for step in ("finish", "clean_up"):
        assert ways[f"file {step}"] == ["file assemble", "file advance", *handled]
    assert ways["publish hiper.FileCompleted.v1"] == ["file assemble", "file advance", *handled]


async def test_a_stranger_does_not_choose_the_trace(tmp_path: Path, recorded: InMemorySpanExporter) -> None:
    async with talking_to(build_app(make_settings(tmp_path))) as client:
        await client.get("/nowhere", headers=TRACEPARENT)
    (one,) = recorded.get_finished_spans()
    assert one.parent is None
    assert one.context
    assert f"{one.context.trace_id:032x}" != TRACE


async def test_spans_say_what_they_are_about(device: Device, recorded: InMemorySpanExporter) -> None:
    await sent_in_two_chunks(device, recorded)
    named = {one.name: one for one in recorded.get_finished_spans()}
    request, process = named["POST /upload"], named["process hiper.ChunkReceived.v1"]
    assert request.kind is SpanKind.SERVER
    assert request.parent
    assert f"{request.parent.span_id:016x}" == PARENT
    assert process.kind is SpanKind.CONSUMER
    about = {"hiper.owner": "car-7", "hiper.file": "drive.bin"}
    assert request.attributes
    assert process.attributes
    assert request.attributes.items() >= {"http.response.status_code": 200, "http.route": "/upload", **about}.items()
    assert process.attributes.items() >= about.items()


async def test_log_lines_name_their_trace(device: Device, recorded: InMemorySpanExporter) -> None:
    with capture_logs([structlog.contextvars.merge_contextvars]) as lines:
        accepted(await device.chunk("drive.bin", b"hel", 0, 2, headers=TRACEPARENT))
    (line,) = [line for line in lines if line["event"] == "request"]
    assert line["trace_id"] == TRACE


async def test_a_request_without_a_trace_begins_one_and_probes_do_not(
    device: Device, recorded: InMemorySpanExporter
) -> None:
    await device.ask("GET", "/livez")
    await device.status("nothing")
    (one,) = recorded.get_finished_spans()
    assert one.name == "GET /files/{filename:path}/status"
    assert one.parent is None


def test_without_a_provider_nothing_is_recorded_and_events_stay_as_they_are() -> None:
    with span("anything") as one:
        assert not one.is_recording()
        assert current_traceparent() is None


@pytest.mark.parametrize(
    ("environment", "on"),
    [
        ({}, False),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://collector:4318"}, True),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://collector:4318/v1/traces"}, True),
        ({"OTEL_TRACES_EXPORTER": "otlp"}, True),
        ({"OTEL_TRACES_EXPORTER": "none", "OTEL_EXPORTER_OTLP_ENDPOINT": "http://collector:4318"}, False),
        ({"OTEL_SDK_DISABLED": "true", "OTEL_TRACES_EXPORTER": "otlp"}, False),
    ],
)
def test_the_standard_environment_turns_traces_on(environment: dict[str, str], on: bool) -> None:
    assert wanted(environment) is on


@pytest.mark.parametrize(
    "environment",
    [
        {"OTEL_TRACES_EXPORTER": "zipkin"},
        {"OTEL_TRACES_EXPORTER": "otlp", "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"},
    ],
)
def test_what_this_program_cannot_do_is_refused_by_name(environment: dict[str, str]) -> None:
    with pytest.raises(ConfigurationError, match=list(environment)[-1]):
        wanted(environment)
