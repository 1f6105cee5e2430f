"""Prometheus finds every pod, and alerts speak of metrics that exist."""

import re

import pytest

from scripts.metrics import SERIES
from tests.deploy.chart import COMPONENTS, DEV, Manifest, named, of_kind, render

MONITORED = {"serviceMonitor": {"enabled": True}, "prometheusRule": {"enabled": True}}


def _alerts() -> list[Manifest]:
    (group,) = named(render(DEV, MONITORED), "PrometheusRule", "r-hiper")["spec"]["groups"]
    rules: list[Manifest] = group["rules"]
    return rules


def test_the_monitor_finds_a_service_of_every_component_and_of_nothing_else() -> None:
    manifests = render(DEV, MONITORED)
    spec = named(manifests, "ServiceMonitor", "r-hiper")["spec"]
    (expression,) = spec["selector"]["matchExpressions"]
    for service in of_kind(manifests, "Service"):
        labels = service["metadata"]["labels"]
        assert spec["selector"]["matchLabels"].items() <= labels.items()
        found = labels[expression["key"]] in expression["values"]
        assert found == (labels["app.kubernetes.io/component"] in COMPONENTS)
        assert not found or spec["endpoints"][0]["port"] in {port["name"] for port in service["spec"]["ports"]}
    assert set(expression["values"]) == set(COMPONENTS)


@pytest.mark.parametrize("label", ["alert", "expr", "for"])
def test_every_alert_has_a_name_a_condition_and_a_time(label: str) -> None:
    assert all(alert[label] for alert in _alerts())


def test_alerts_are_about_metrics_that_exist() -> None:
    used = {name for alert in _alerts() for name in re.findall(r"\bhiper_\w+", alert["expr"])}
    assert used
    assert used <= SERIES


def test_alerts_are_about_this_release_only() -> None:
    for alert in _alerts():
        selectors = re.findall(r"(?:hiper_\w+|\bup)\{([^}]*)\}", alert["expr"])
        assert selectors
        assert all('namespace="ns",service=~"r-hiper-' in selector for selector in selectors)


def test_every_alert_says_how_bad_it_is_and_where_its_runbook_is() -> None:
    for alert in _alerts():
        assert alert["labels"]["severity"] in {"critical", "warning"}
        assert alert["annotations"]["summary"]
        assert alert["annotations"]["runbook_url"] == f"docs/runbooks/{alert['alert']}.md"
