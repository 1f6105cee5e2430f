"""Metrics are named by the conventions (https://prometheus.io/docs/practices/naming/)."""

import re

import pytest
from prometheus_client import REGISTRY

import services.embedded.app  # noqa: F401  # all that any service declares
from scripts.metrics import METRICS, Metric

UNITS = ("_seconds", "_bytes", "_total")
COUNTS = {
    "hiper_webhooks_failing",
    "hiper_uploads_open",
    "hiper_uploads_parked",
    "hiper_bus_waiting_events",
    "hiper_bus_links_down",
    "hiper_downloads_open",
    "hiper_streams_open",
    "hiper_bus_queue_messages",
}
STATES = {"hiper_ready"}


@pytest.mark.parametrize("metric", METRICS, ids=lambda metric: metric.name)
def test_a_name_says_whose_metric_it_is_and_in_which_unit(metric: Metric) -> None:
    assert re.fullmatch(r"hiper(_[a-z]+)+", metric.name)
    assert metric.name.endswith(UNITS) or metric.name in COUNTS | STATES
    assert metric.name.endswith("_total") == (metric.kind == "counter")


@pytest.mark.parametrize("metric", METRICS, ids=lambda metric: metric.name)
def test_a_metric_is_explained_in_a_sentence(metric: Metric) -> None:
    assert re.match(r"[A-Z].*\.$", metric.help)


def test_no_metric_of_a_whole_process_is_unknown_here() -> None:
    """If this fails: add the module to scripts/metrics.py, and its metrics appear in the documents."""
    declared = {name for name in REGISTRY._names_to_collectors if name.startswith("hiper_")}
    known = {metric.name.removesuffix("_total") for metric in METRICS}
    bare = {re.sub("_(total|created|bucket|count|sum)$", "", name) for name in declared}
    assert bare == known


def test_no_label_is_without_bound() -> None:
    """Owners, files, sessions and addresses are without number: no metric has one for each."""
    bounded = "bucket event manner method need operation outcome queue route status step type where"
    assert {label for metric in METRICS for label in metric.labels} <= set(bounded.split())
