"""Write the Grafana dashboard: `python -m scripts.generate_dashboard`.

A panel is a line of this file: title, unit, meaning and query. Only Grafana reads the JSON.
"""

import json
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).parents[1]
DASHBOARD = ROOT / "deploy" / "helm" / "hiper" / "files" / "dashboard.json"
HERE = 'namespace=~"$namespace"'
WIDTH, HEIGHT = 8, 8  # of a panel, in Grafana's grid of 24 columns
DATASOURCE = {"type": "prometheus", "uid": "${datasource}"}


class Panel(NamedTuple):
    """`queries`: legend and expression; `HERE` chooses the deployment. `unit` is one of Grafana's."""

    title: str
    unit: str
    description: str
    queries: dict[str, str]


def rate(metric: str, by: str = "", **matchers: str) -> str:
    chosen = ",".join([HERE, *(f'{label}=~"{value}"' for label, value in matchers.items())])
    grouped = f"sum by ({by})" if by else "sum"
    return f"{grouped} (rate({metric}{{{chosen}}}[$__rate_interval]))"


def quantile(q: float, metric: str, by: str = "", **matchers: str) -> str:
    return f"histogram_quantile({q}, {rate(f'{metric}_bucket', f'le, {by}' if by else 'le', **matchers)})"


def gauge(how: str, metric: str, by: str = "") -> str:
    return f"{how}{f' by ({by})' if by else ''} ({metric}{{{HERE}}})"


NO_PROBES = "/upload|/files.*|/uploads|/feed|/webhooks.*|/token|/devices.*"
ROWS: dict[str, list[Panel]] = {
    "Processes": [
        Panel("Ready", "short", "1: every process of the service has what it needs. 0: one waits for it.",
              {"{{service}} {{need}}": gauge("min", "hiper_ready", "service, need")}),
        Panel("Age of the revocations", "s", "Since a replica last read which tokens are revoked; the oldest counts.",
              {"{{service}}": gauge("max", "hiper_revocations_age_seconds", "service")}),
    ],
    "Devices": [
        Panel("Chunks", "reqps", "Requests to /upload by status.",
              {"{{status}}": rate("hiper_http_requests_total", "status", route="/upload")}),
        Panel("Payload received", "Bps", "Payload bytes that arrived whole.",
              {"received": rate("hiper_chunk_received_bytes_total")}),
        Panel("Problems", "reqps", "What requests were refused for. Of 429, 503 and 507: turned away.",
              {"{{status}} {{type}}": rate("hiper_http_problems_total", "status, type")}),
        Panel("Chunk by step, 95 %", "s", "Where the time of a chunk goes. `receive` is the device's link.",
              {"{{step}}": quantile(0.95, "hiper_chunk_step_duration_seconds", "step")}),
        Panel("Requests by route, 95 %", "s", "From the headers to the last byte of the answer.",
              {"{{route}}": quantile(0.95, "hiper_http_request_duration_seconds", "route", route=NO_PROBES)}),
        Panel("Answers cut", "ops", "Connections that were ended because the client read its answer too slowly.",
              {"cut": rate("hiper_http_answers_cut_total")}),
        Panel("Audit trail", "ops", "Security events; `failure` of authentication_failed: refused logins.",
              {"{{event}} {{outcome}}": rate("hiper_audit_events_total", "event, outcome")}),
        Panel("Bodies under way", "bytes", "In memory up to the budget, the rest on disk.",
              {"{{where}}": gauge("sum", "hiper_ingest_buffered_bytes", "where"),
               "budget": gauge("sum", "hiper_ingest_memory_budget_bytes")}),
        Panel("Downloads under way", "short", "Each reads from the store, waits for a turn there, or for its client.",
              {"{{where}}": gauge("sum", "hiper_downloads_open", "where")}),
        Panel("Access log", "s", "Of each second, how much its lines held the processes up.",
              {"{{service}}": rate("hiper_access_log_seconds_total", "service")}),
    ],
    "Watchers": [
        Panel("Streams and waits", "short", "Answers that last: of a file's status, of the fleet, of the feed.",
              {"{{manner}}": gauge("sum", "hiper_streams_open", "manner")}),
        Panel("Posts to webhooks", "ops", "Each outcome to each address, with repeats.",
              {"{{outcome}}": rate("hiper_webhook_attempts_total", "outcome")}),
        Panel("Webhooks that fail", "short", "Addresses that refused or did not answer the last post.",
              {"failing": gauge("max", "hiper_webhooks_failing")}),
        Panel("Webhooks failing for", "s", "The longest of them.",
              {"oldest": gauge("max", "hiper_webhooks_failing_seconds")}),
    ],
    "Files": [
        Panel("Files", "ops", "What became of uploads.",
              {"completed": rate("hiper_files_completed_total"), "rejected": rate("hiper_files_rejected_total"),
               "parked": rate("hiper_files_moved_stale_total")}),
        Panel("From the last chunk to the file", "s", "By the store's clock, which may tell whole seconds.",
              {"half": quantile(0.5, "hiper_finalize_lag_seconds"),
               "95 %": quantile(0.95, "hiper_finalize_lag_seconds")}),
        Panel("Assembler by step, 95 %", "s", "`assemble` reads the whole file where a digest was declared.",
              {"{{step}}": quantile(0.95, "hiper_assembler_step_duration_seconds", "step")}),
        Panel("Uploads", "short", "As of the last sweep. Parked: stale, and can be resumed.",
              {"open": gauge("max", "hiper_uploads_open"), "parked": gauge("max", "hiper_uploads_parked")}),
        Panel("Ages", "s", "How long a full upload has waited to become a file; how long ago the last sweep was.",
              {"oldest full upload": gauge("max", "hiper_uploads_oldest_unassembled_seconds"),
               "last sweep": f"time() - {gauge('max', 'hiper_sweep_last_success_timestamp_seconds')}"}),
        Panel("Chunks in the bucket", "bytes", "As of the last sweep.",
              {"stored": gauge("max", "hiper_uploads_stored_bytes")}),
    ],
    "Object store": [
        Panel("Calls by outcome", "ops", "`missing`, `refused` (a condition) and `fenced` are answers.",
              {"{{outcome}}": rate("hiper_store_calls_total", "outcome")}),
        Panel("Calls by operation", "ops", "Of all buckets.",
              {"{{operation}}": rate("hiper_store_calls_total", "operation")}),
        Panel("Duration by operation, 95 %", "s", "Of a get, until its first byte.",
              {"{{operation}}": quantile(0.95, "hiper_store_call_duration_seconds", "operation")}),
    ],
    "Event bus": [
        Panel("Events", "ops", "On their way: published, confirmed, delivered.",
              {"published": rate("hiper_bus_events_published_total"),
               "confirmed": rate("hiper_bus_events_confirmed_total"),
               "delivered": rate("hiper_bus_events_delivered_total")}),
        Panel("Waiting for the broker", "short", "Events in the processes' buffers; connections that are missing.",
              {"events": gauge("sum", "hiper_bus_waiting_events"),
               "connections down": gauge("sum", "hiper_bus_links_down")}),
        Panel("Confirm, 95 %", "s", "From the sending of an event until it is on the broker's disk.",
              {"confirm": quantile(0.95, "hiper_bus_confirm_duration_seconds")}),
        Panel("Trouble", "ops", "Dead-lettered and dropped events; publishes and handlers that were repeated.",
              {"dead-lettered": rate("hiper_bus_events_dead_lettered_total"),
               "dropped": rate("hiper_bus_events_dropped_total"),
               "published again": rate("hiper_bus_events_republished_total"),
               "handler failed": rate("hiper_bus_handlers_failed_total")}),
        Panel("Handling, 95 %", "s", "Of an event by the assembler, waits for the store included.",
              {"{{type}}": quantile(0.95, "hiper_bus_handle_duration_seconds", "type")}),
        Panel("In the broker's queues", "short", "Messages that wait for an assembler; dead letters, at most 10,000.",
              {"{{queue}}": gauge("max", "hiper_bus_queue_messages", "queue")}),
        Panel("What sweeps find", "ops", "Files that need a look, by why.",
              {"{{need}}": rate("hiper_sweep_findings_total", "need")}),
    ],
}  # fmt: skip


def panel(number: int, shown: Panel, x: int, y: int) -> dict[str, Any]:
    targets = [
        {"refId": chr(ord("A") + n), "datasource": DATASOURCE, "expr": expression, "legendFormat": legend}
        for n, (legend, expression) in enumerate(shown.queries.items())
    ]
    return {
        "id": number,
        "type": "timeseries",
        "title": shown.title,
        "description": shown.description,
        "datasource": DATASOURCE,
        "gridPos": {"x": x, "y": y, "w": WIDTH, "h": HEIGHT},
        "fieldConfig": {
            "defaults": {"unit": shown.unit, "min": 0, "custom": {"fillOpacity": 10, "showPoints": "never"}},
            "overrides": [],
        },
        "options": {"legend": {"displayMode": "list", "placement": "bottom"}, "tooltip": {"mode": "multi"}},
        "targets": targets,
    }


def panels() -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    y = 0
    for title, row in ROWS.items():
        found.append({"id": len(found) + 1, "type": "row", "title": title, "collapsed": False, "panels": [],
                      "gridPos": {"x": 0, "y": y, "w": 24, "h": 1}})  # fmt: skip
        for n, shown in enumerate(row):
            found.append(panel(len(found) + 1, shown, n % 3 * WIDTH, y + 1 + n // 3 * HEIGHT))
        y += 1 + -(-len(row) // 3) * HEIGHT
    return found


def variables() -> list[dict[str, Any]]:
    return [
        {"name": "datasource", "label": "Prometheus", "type": "datasource", "query": "prometheus"},
        {
            "name": "namespace",
            "label": "Namespace",
            "type": "query",
            "datasource": DATASOURCE,
            "query": "label_values(hiper_http_requests_total, namespace)",
            "refresh": 2,
            "includeAll": True,
            "allValue": ".*",
            "current": {"text": "All", "value": "$__all"},
        },
    ]


def dashboard() -> str:
    """The JSON model (https://grafana.com/docs/grafana/latest/dashboards/build-dashboards/view-dashboard-json-model/)."""
    model = {
        "uid": "hiper",
        "title": "HiPER-Automotive",
        "tags": ["hiper"],
        "schemaVersion": 39,
        "editable": True,
        "refresh": "30s",
        "time": {"from": "now-1h", "to": "now"},
        "timezone": "browser",
        "templating": {"list": variables()},
        "panels": panels(),
    }
    return json.dumps(model, indent=2) + "\n"


def main() -> None:
    DASHBOARD.write_text(dashboard(), encoding="utf-8")


if __name__ == "__main__":
    main()
