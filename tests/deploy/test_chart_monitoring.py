"""Prometheus finds every pod, and its alerts are about this release."""

import json
import re

from scripts.generate_dashboard import dashboard
from tests.deploy.alert_rules import RUNBOOKS, rules
from tests.deploy.chart import COMPONENTS, DEV, Manifest, named, of_kind, render

MONITORED = {"serviceMonitor": {"enabled": True}, "prometheusRule": {"enabled": True}}


def _alerts() -> list[Manifest]:
    (group,) = named(render(DEV, MONITORED), "PrometheusRule", "r-hiper")["spec"]["groups"]
    rules: list[Manifest] = group["rules"]
    return rules


def test_the_monitor_finds_a_service_of_every_component_and_of_nothing_else() -> None:
    manifests = render(DEV, MONITORED)
    assert sorted(_scraped(manifests).values()) == sorted(COMPONENTS)


def _scraped(manifests: list[Manifest]) -> dict[str, str]:
    """The Services that have what the ServiceMonitor asks for: name to component."""
    spec = named(manifests, "ServiceMonitor", "r-hiper")["spec"]
    (expression,), (endpoint,) = spec["selector"]["matchExpressions"], spec["endpoints"]
    found = {}
    for service in of_kind(manifests, "Service"):
        labels = service["metadata"]["labels"]
        assert spec["selector"]["matchLabels"].items() <= labels.items()
        ports = {port["name"] for port in service["spec"]["ports"]}
        if labels[expression["key"]] in expression["values"] and endpoint["port"] in ports:
            found[service["metadata"]["name"]] = labels[expression["key"]]
    return found


def test_no_service_for_clients_has_the_port_of_the_metrics() -> None:
    for service in of_kind(render(DEV, MONITORED), "Service"):
        ports = {port["name"] for port in service["spec"]["ports"]}
        assert "metrics" not in ports or (ports == {"metrics"} and service["spec"]["clusterIP"] == "None")


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
        for selector in selectors:
            assert re.match(
                r'namespace="ns",service(=~"r-hiper-\(|="r-hiper-(ingest|assembler|janitor|auth)"$)', selector
            )


def test_an_alert_says_which_command_prints_its_page_and_the_release_brings_the_page() -> None:
    manifests = render(DEV, MONITORED)
    pages = named(manifests, "ConfigMap", "r-hiper-runbooks")["data"]
    assert pages.keys() == {page.stem for page in RUNBOOKS.glob("*.md")}
    for alert in _alerts():
        name = alert["alert"]
        command = f"kubectl -n ns get configmap r-hiper-runbooks -o jsonpath='{{.data.{name}}}'"
        assert alert["annotations"]["runbook"] == command
        assert "runbook_url" not in alert["annotations"], "it would lead nowhere"
        assert pages[name].startswith(f"# {name}\n")


def test_the_pages_of_a_release_name_its_own_workloads() -> None:
    manifests = render(DEV, MONITORED)
    workloads = {each["metadata"]["name"] for each in of_kind(manifests, "Deployment", "StatefulSet")}
    pages = "".join(named(manifests, "ConfigMap", "r-hiper-runbooks")["data"].values())
    operators = "r-hiper-rabbitmq-server"  # of the RabbitMQ Cluster Operator
    assert set(re.findall(r"[ `](?:deploy|sts)/([\w-]+)(?=[\s`])", pages)) <= {*workloads, operators}
    assert set(re.findall(r"(?:kubectl|helm) -n (\S+)", pages)) == {"ns"}
    assert set(re.findall(r"instance=(\S+)", pages)) == {"r"}
    assert set(re.findall(r"helm -n ns \w+ (\S+)", pages)) == {"r"}


def test_series_are_named_like_the_component_whatever_the_service_of_its_metrics_is_called() -> None:
    manifests = render(DEV, MONITORED)
    (endpoint,) = named(manifests, "ServiceMonitor", "r-hiper")["spec"]["endpoints"]
    (rule,) = endpoint["relabelings"]
    assert (rule["sourceLabels"], rule["targetLabel"]) == (["service"], "service")
    for service, component in _scraped(manifests).items():
        found = re.fullmatch(rule["regex"], service)
        assert (found[1] if found else service) == f"r-hiper-{component}"


def test_the_address_of_the_runbooks_is_a_value() -> None:
    base = {"prometheusRule": {"runbookBase": "https://runbooks.example.com"}}
    (group,) = named(render(DEV, MONITORED, base), "PrometheusRule", "r-hiper")["spec"]["groups"]
    for alert in group["rules"]:
        assert alert["annotations"]["runbook_url"] == f"https://runbooks.example.com/{alert['alert']}.md"
