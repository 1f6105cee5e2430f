"""The chart renders what Kubernetes takes, for every combination of its switches, and refuses what cannot work."""

import itertools
import json
from collections.abc import Iterator
from typing import Any

import pytest

from libs.common.security.allowance import Allowance, Share
from libs.common.settings import Settings
from tests.deploy import schemas
from tests.deploy.chart import (
    CHART,
    COMPONENTS,
    DEV,
    EXTERNAL,
    Manifest,
    environment,
    helm,
    named,
    of_kind,
    pods,
    render,
)
from tests.deploy.pairs import Row
from tests.deploy.switches import EVERYTHING, ROWS, SWITCHES, values_of

SETTINGS = {name.upper() for name in Settings.model_fields}
STANDARD = {"TZ"}  # what EVERYTHING adds


def _name(row: Row) -> str:
    return "-".join(row.values())


every_combination = pytest.mark.parametrize("row", ROWS, ids=_name)


def test_every_pair_of_positions_is_in_some_combination() -> None:
    for one, other in itertools.combinations(SWITCHES, 2):
        together = {(row[one], row[other]) for row in ROWS}
        assert together == set(itertools.product(SWITCHES[one], SWITCHES[other]))


@pytest.mark.parametrize("values", [DEV, EXTERNAL], ids=["dev", "external"])
def test_lint_finds_nothing(values: dict[str, Any]) -> None:
    report = helm("lint", "--strict", str(CHART), values=values)
    assert "[WARNING]" not in report
    assert "[ERROR]" not in report


@every_combination
def test_kubernetes_takes_every_manifest(row: Row) -> None:
    manifests = render(values_of(row))
    assert [problem for manifest in manifests for problem in schemas.problems(manifest)] == []


def test_the_strict_schemas_see_a_typo_and_a_wrong_type() -> None:
    deployment = named(render(DEV), "Deployment", "r-hiper-ingest")
    spec = {**deployment["spec"], "replica": 2, "revisionHistoryLimit": "3"}
    found = schemas.problems({**deployment, "spec": spec})
    assert len(found) == 2


@every_combination
def test_no_two_manifests_have_one_name(row: Row) -> None:
    names = [(manifest["kind"], manifest["metadata"]["name"]) for manifest in render(values_of(row))]
    assert len(names) == len(set(names))


@every_combination
def test_everything_is_in_the_namespace_of_the_release(row: Row) -> None:
    assert {manifest["metadata"]["namespace"] for manifest in render(values_of(row))} == {"ns"}


@every_combination
def test_every_selector_finds_the_pods_of_one_component(row: Row) -> None:
    manifests = render(values_of(row))
    for manifest, selector in _selectors(manifests):
        found = {component for component, pod in pods(manifests).items() if _selects(selector, pod)}
        assert found == {manifest["metadata"]["labels"]["app.kubernetes.io/component"]}


def _selectors(manifests: list[Manifest]) -> Iterator[tuple[Manifest, dict[str, str]]]:
    for manifest in of_kind(manifests, "Deployment", "StatefulSet", "PodDisruptionBudget"):
        yield manifest, manifest["spec"]["selector"]["matchLabels"]
    for manifest in of_kind(manifests, "Service"):
        yield manifest, manifest["spec"]["selector"]
    for manifest in of_kind(manifests, "NetworkPolicy"):
        yield manifest, manifest["spec"]["podSelector"]["matchLabels"]


def _selects(selector: dict[str, str], pod: Manifest) -> bool:
    return bool(selector.items() <= pod["metadata"]["labels"].items())


@every_combination
def test_every_variable_is_a_setting(row: Row) -> None:
    manifests = render(values_of(row))
    names = set(itertools.chain.from_iterable(environment(manifests, component) for component in COMPONENTS))
    assert names - STANDARD <= SETTINGS


def test_the_services_accept_the_configuration(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in named(render(DEV), "ConfigMap", "r-hiper")["data"].items():
        monkeypatch.setenv(name, value)
    settings = Settings(_env_file=None)
    assert settings.max_file_size == 2**40  # through YAML and Go's floats
    assert (settings.object_store, settings.event_bus) == ("minio", "rabbitmq")


def test_limits_reach_the_services_as_they_are_in_the_values(monkeypatch: pytest.MonkeyPatch) -> None:
    allowance = {"requests_per_second": 0.5, "stored_bytes": 2**40}
    values = {**DEV, "settings": {"limitsClasses": {"default": {}, "truck": allowance}}}
    for name, value in named(render(values), "ConfigMap", "r-hiper")["data"].items():
        monkeypatch.setenv(name, value)
    assert Settings(_env_file=None).limits_classes["truck"] == Allowance.model_validate(allowance)


def test_a_device_has_limits_unless_the_operator_lifts_them(monkeypatch: pytest.MonkeyPatch) -> None:
    data = named(render(DEV), "ConfigMap", "r-hiper")["data"]
    for name in ("LIMITS_CLASSES", "MAX_REQUESTS_IN_FLIGHT", "MAX_FILE_SIZE"):
        monkeypatch.setenv(name, data[name])
    settings = Settings(_env_file=None)
    limits = settings.limits_classes["default"].model_dump()
    assert min(limits.values()) > 0
    assert settings.max_requests_in_flight > 0
    assert limits["stored_bytes"] >= settings.max_file_size  # the largest file that is allowed has room


def test_the_schema_knows_every_limit_of_the_services() -> None:
    properties = json.loads((CHART / "values.schema.json").read_text(encoding="utf-8"))["properties"]["settings"]
    for value, model in (("limitsClasses", Allowance), ("limitsFleet", Share)):
        schema = properties["properties"][value]
        known = schema["additionalProperties"] if value == "limitsClasses" else schema
        assert known["properties"].keys() == model.model_fields.keys()


def test_the_scheduler_keeps_disk_free_for_the_spool() -> None:
    for component in COMPONENTS:
        (container,) = pods(render(DEV))[component]["spec"]["containers"]
        assert "ephemeral-storage" in container["resources"]["requests"]


def test_more_volumes_reach_the_pods_of_their_component() -> None:
    more = {
        "extraVolumes": [{"name": "vault", "emptyDir": {}}],
        "extraVolumeMounts": [{"name": "vault", "mountPath": "/v"}],
    }
    found = pods(render(DEV, {"ingest": more}))
    having = {name for name, pod in found.items() if "vault" in {each["name"] for each in pod["spec"]["volumes"]}}
    assert having == {"ingest"}
    (container,) = found["ingest"]["spec"]["containers"]
    assert {"name": "vault", "mountPath": "/v"} in container["volumeMounts"]


def test_the_defaults_of_the_chart_are_those_of_the_services(monkeypatch: pytest.MonkeyPatch) -> None:
    data = named(render(DEV), "ConfigMap", "r-hiper")["data"]
    ours = {
        "LOG_FORMAT",
        "OBJECT_STORE",
        "EVENT_BUS",
        "HOST",
        "MINIO_ENDPOINT",
        "SHUTDOWN_DELAY",
        # A cluster is for a fleet: its devices have limits, and ingest verifies without being able to sign.
        "LIMITS_CLASSES",
        "MAX_REQUESTS_IN_FLIGHT",
        "ALGORITHM",
        # What is for operators is not on the port for clients.
        "METRICS_PORT",
        "DOCS_ENABLED",
    }  # what a cluster has to have otherwise
    for name in data.keys() - ours:
        monkeypatch.setenv(name, data[name])
    settings, names = Settings(_env_file=None), {name.lower() for name in data.keys() - ours}
    defaults = {name: field.default for name, field in Settings.model_fields.items() if name in names}
    assert {name: getattr(settings, name) for name in defaults} == defaults


@every_combination
def test_probes_and_services_use_ports_that_the_pod_has(row: Row) -> None:
    manifests = render(values_of(row))
    ports = {component: _ports(pod) for component, pod in pods(manifests).items()}
    for component, pod in pods(manifests).items():
        container = pod["spec"]["containers"][0]
        probes = [container[name] for name in ("startupProbe", "livenessProbe", "readinessProbe") if name in container]
        asked = {(probe.get("httpGet") or probe["tcpSocket"])["port"] for probe in probes}
        assert asked <= ports[component].keys()
    for service in of_kind(manifests, "Service"):
        component = service["metadata"]["labels"]["app.kubernetes.io/component"]
        assert {port["targetPort"] for port in service["spec"]["ports"]} <= ports[component].keys()


def _ports(pod: Manifest) -> dict[str, int]:
    return {port["name"]: port["containerPort"] for c in pod["spec"]["containers"] for port in c.get("ports", [])}


@pytest.mark.parametrize("component", COMPONENTS)
def test_services_listen_where_they_are_told_to(component: str) -> None:
    manifests = render(DEV)
    settings = environment(manifests, component)
    serves = component in {"ingest", "auth"}
    ports = {"metrics": int(settings["METRICS_PORT"])} | ({"http": int(settings["PORT"])} if serves else {})
    assert _ports(pods(manifests)[component]) == ports


def test_the_services_listen_on_every_address_of_both_families() -> None:
    assert named(render(DEV), "ConfigMap", "r-hiper")["data"]["HOST"] == "::"


@pytest.mark.parametrize("component", COMPONENTS)
def test_a_container_that_ends_leaves_its_last_words(component: str) -> None:
    """In `kubectl describe pod`, where the operator looks first."""
    (container,) = pods(render(DEV))[component]["spec"]["containers"]
    assert container["terminationMessagePolicy"] == "FallbackToLogsOnError"


@pytest.mark.parametrize("component", COMPONENTS)
def test_a_pod_has_time_to_drain_before_it_is_killed(component: str) -> None:
    manifests = render(DEV, {"shutdown": {"preStopSeconds": 7, "drainSeconds": 90}})
    spec = pods(manifests)[component]["spec"]
    (container,) = spec["containers"]
    assert container["lifecycle"]["preStop"]["sleep"]["seconds"] == 7
    assert environment(manifests, component)["DRAIN_TIMEOUT"] == "90"
    assert spec["terminationGracePeriodSeconds"] > 7 + 90


@pytest.mark.parametrize("component", COMPONENTS)
def test_an_upgrade_takes_no_pod_before_its_successor_is_ready(component: str) -> None:
    strategy = named(render(DEV), "Deployment", f"r-hiper-{component}")["spec"]["strategy"]
    assert strategy["rollingUpdate"]["maxUnavailable"] == 0


def test_pods_start_anew_when_the_configuration_changes_and_only_then() -> None:
    def checksum(values: dict[str, Any]) -> str:
        annotations = pods(render(DEV, values))["ingest"]["metadata"]["annotations"]
        return str(annotations["checksum/config"])

    assert checksum({"settings": {"staleThreshold": 60}}) != checksum({})
    assert checksum({"tokens": {"issuer": "another"}}) != checksum({})
    assert checksum({"ingest": {"replicas": 3}}) == checksum({})  # although the generated secrets differ


def test_whoever_scales_owns_the_number_of_pods() -> None:
    scaling = {"autoscaling": {"enabled": True}}
    manifests = render(DEV, {"ingest": scaling, "assembler": scaling})
    for component, kind in (("ingest", "HorizontalPodAutoscaler"), ("assembler", "ScaledObject")):
        deployment = named(manifests, "Deployment", f"r-hiper-{component}")
        assert "replicas" not in deployment["spec"]
        target = named(manifests, kind, f"r-hiper-{component}")["spec"]["scaleTargetRef"]
        assert target["name"] == deployment["metadata"]["name"]


def test_a_variable_of_the_operator_wins_and_stands_once() -> None:
    manifests = render(EXTERNAL, EVERYTHING, {"ingest": {"extraEnv": [{"name": "LOG_LEVEL", "value": "ERROR"}]}})
    (container,) = pods(manifests)["ingest"]["spec"]["containers"]
    assert [entry for entry in container["env"] if entry["name"] == "LOG_LEVEL"] == [
        {"name": "LOG_LEVEL", "value": "ERROR"}
    ]
