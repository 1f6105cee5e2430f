"""A real server sends its spans to a collector that speaks OTLP over HTTP."""

import gzip
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from tests.e2e.device import new_device
from tests.e2e.processes import embedded


class Collector(ThreadingHTTPServer):
    """Keeps what it is sent to /v1/traces."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Post)
        self.exports: list[ExportTraceServiceRequest] = []

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def spans(self) -> dict[str, str]:
        """Span names to trace ids in hex."""
        resources = [spans for export in self.exports for spans in export.resource_spans]
        scopes = [scope for resource in resources for scope in resource.scope_spans]
        return {span.name: span.trace_id.hex() for scope in scopes for span in scope.spans}

    def services(self) -> set[str]:
        resources = [spans.resource for export in self.exports for spans in export.resource_spans]
        attributes = [attribute for resource in resources for attribute in resource.attributes]
        return {attribute.value.string_value for attribute in attributes if attribute.key == "service.name"}


class _Post(BaseHTTPRequestHandler):
    server: Collector

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.headers.get("Content-Encoding") == "gzip":
            body = gzip.decompress(body)
        assert self.path == "/v1/traces"
        self.server.exports.append(ExportTraceServiceRequest.FromString(body))
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def collecting() -> Iterator[Collector]:
    with Collector() as collector:
        thread = threading.Thread(target=collector.serve_forever)
        thread.start()
        yield collector
        collector.shutdown()
        thread.join()


async def test_a_server_sends_its_spans_and_at_its_end_those_that_are_left(tmp_path: Path) -> None:
    with collecting() as collector:
        with embedded(tmp_path, OTEL_EXPORTER_OTLP_ENDPOINT=collector.endpoint) as deployment:
            async with new_device(deployment, "car-1") as device:
                await device.send("a.bin", 5, 0, b"he")
                await device.send("a.bin", 5, 2, b"llo")  # this one wakes the assembler
                await device.wait_for("a.bin", "complete")
            assert deployment.processes["serve"].stop() == 0
        spans = collector.spans()
    assert collector.services() == {"hiper-automotive"}
    assert spans["POST /upload"] == spans["process hiper.ChunkReceived.v1"] == spans["file finish"]


async def test_a_collector_that_is_away_holds_up_nothing(tmp_path: Path) -> None:
    with embedded(tmp_path, OTEL_EXPORTER_OTLP_ENDPOINT="http://127.0.0.1:9") as deployment:
        async with new_device(deployment, "car-1") as device:
            await device.send("a.bin", 5, 0, b"hello")
            await device.wait_for("a.bin", "complete")
        assert deployment.processes["serve"].stop() == 0
