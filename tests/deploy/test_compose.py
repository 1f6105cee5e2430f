"""deploy/compose.yaml fits the services: every variable is a setting, every file is there, every service is scraped."""

import re
from typing import Any

import pytest
import yaml

from libs.common.serving import load_settings
from libs.common.settings import Settings
from tests.deploy.alert_rules import RULES
from tests.deploy.chart import COMPONENTS, ROOT

COMPOSE = ROOT / "deploy" / "compose.yaml"
DOCUMENT: dict[str, Any] = yaml.safe_load(COMPOSE.read_text(encoding="utf-8"))
SERVICES: dict[str, dict[str, Any]] = DOCUMENT["services"]


def filled(value: str) -> str:
    """A value with the defaults of its variables."""
    return re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", value)


def environment(service: str) -> dict[str, str]:
    return {name: filled(value) for name, value in SERVICES[service]["environment"].items()}


@pytest.mark.parametrize("service", COMPONENTS)
def test_a_variable_of_a_service_is_a_setting_or_one_of_opentelemetry(service: str) -> None:
    ours = {name.lower() for name in environment(service) if not name.startswith("OTEL_")}
    assert ours <= Settings.model_fields.keys()


@pytest.mark.parametrize("service", COMPONENTS)
def test_a_service_starts_with_its_environment(service: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in environment(service).items():
        monkeypatch.setenv(name, value)
    settings = load_settings()
    assert (settings.object_store, settings.event_bus) == ("minio", "rabbitmq")
    assert SERVICES[service]["command"] == [f"services.{service}"]


def test_only_auth_knows_the_secret_of_the_admin() -> None:
    assert [service for service in COMPONENTS if "ADMIN_SECRET" in environment(service)] == ["auth"]


def test_every_file_that_is_mounted_is_there() -> None:
    for service in SERVICES.values():
        for mount in service.get("volumes", []):
            source = mount.partition(":")[0]
            assert source in DOCUMENT["volumes"] or (COMPOSE.parent / source).is_file(), source


def test_every_image_can_be_named_from_outside() -> None:
    assert all(service["image"].startswith("${") for service in SERVICES.values())


def test_no_port_is_open_to_other_machines() -> None:
    for service in SERVICES.values():
        assert all(filled(port).startswith("127.0.0.1:") for port in service.get("ports", []))


def test_prometheus_scrapes_every_service_by_the_labels_of_alerts_and_dashboard() -> None:
    scraping = yaml.safe_load((ROOT / "deploy" / "compose" / "prometheus.yaml").read_text(encoding="utf-8"))
    (job,) = scraping["scrape_configs"]
    ports = {"ingest": 8000, "auth": 8000, "assembler": 9000, "janitor": 9000}
    assert {target: group["labels"] for group in job["static_configs"] for target in group["targets"]} == {
        f"{name}:{port}": {"namespace": "hiper", "service": f"hiper-{name}"} for name, port in ports.items()
    }
    assert scraping["rule_files"] == ["alerts.yaml"]
    mounts = SERVICES["prometheus"]["volumes"]
    assert f"./{RULES.relative_to(COMPOSE.parent)}:/etc/prometheus/alerts.yaml:ro" in mounts
