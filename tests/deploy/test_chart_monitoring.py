"""Prometheus finds every pod, and its alerts are about this release."""

import json
import re

from scripts.generate_dashboard import dashboard
from tests.deploy.alert_rules import rules
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


def test_the_dashboard_is_where_the_sidecar_of_grafana_finds_it() -> None:
    found = named(render(DEV, {"dashboards": {"enabled": True}}), "ConfigMap", "r-hiper-dashboard")
    assert found["metadata"]["labels"]["grafana_dashboard"] == "1"
    assert json.loads(found["data"]["hiper.json"]) == json.loads(dashboard())


def test_the_release_has_every_alert_of_the_rules_file() -> None:
    assert [alert["alert"] for alert in _alerts()] == [rule["alert"] for rule in rules()]


def test_alerts_are_about_this_release_only() -> None:
    for alert in _alerts():
        selectors = re.findall(r"(?:hiper_\w+|\bup)\{([^}]*)\}", alert["expr"])
        assert selectors
        assert all('namespace="ns",service=~"r-hiper-' in selector for selector in selectors)


def test_the_address_of_the_runbooks_is_a_value() -> None:
    base = {"prometheusRule": {"runbookBase": "https://runbooks.example.com"}}
    (group,) = named(render(DEV, MONITORED, base), "PrometheusRule", "r-hiper")["spec"]["groups"]
    for alert in group["rules"]:
        assert alert["annotations"]["runbook_url"] == f"https://runbooks.example.com/{alert['alert']}.md"
