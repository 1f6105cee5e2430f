"""deploy/compose.yaml fits the services: every variable is a setting, every file is there, every service is scraped."""

import ipaddress
import re
import shutil
import stat
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml

from libs.common.settings import Settings
from libs.common.web.serving import load_settings
from tests.deploy.alert_rules import RULES
from tests.deploy.chart import COMPONENTS, ROOT

COMPOSE = ROOT / "deploy" / "compose.yaml"
SECRETS_SCRIPT = ROOT / "deploy" / "compose" / "secrets.sh"
TEXT = COMPOSE.read_text(encoding="utf-8")
DOCUMENT: dict[str, Any] = yaml.safe_load(TEXT)
SERVICES: dict[str, dict[str, Any]] = DOCUMENT["services"]


VARIABLE = re.compile(r"\$\{(?P<name>\w+)(?::-(?P<default>[^}]*)|:\?(?P<refusal>[^}]*))\}")
MADE = "0f" * 32  # as deploy/compose/secrets.sh makes them


def filled(value: str) -> str:
    """A value with the defaults of its variables, and with secrets where there are none."""
    return VARIABLE.sub(lambda found: MADE if found["default"] is None else found["default"], value)


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


def test_no_port_is_open_to_other_machines_unless_the_operator_says_so() -> None:
    for service in SERVICES.values():
        assert all(filled(port).startswith("127.0.0.1:") for port in service.get("ports", []))


def test_the_edge_alone_can_be_opened_to_others() -> None:
    open_by_a_variable = [name for name, service in SERVICES.items() if "HIPER_ADDRESS" in str(service.get("ports"))]
    assert open_by_a_variable == ["edge"]
    assert [name for name in ("ingest", "auth", "minio", "rabbitmq") if "ports" in SERVICES[name]] == []


def test_no_secret_is_known_to_whoever_reads_the_file() -> None:
    """A secret is a variable without a default: without deploy/.env compose refuses, and says what to run."""
    found = dict.fromkeys(match["name"] for match in VARIABLE.finditer(TEXT) if match["refusal"])
    assert found.keys() == written_by_the_script().keys()
    assert {match["refusal"] for match in VARIABLE.finditer(TEXT) if match["refusal"]} == {
        "is missing, run sh deploy/compose/secrets.sh"
    }
    for service in SERVICES.values():
        for name, value in service.get("environment", {}).items():
            if re.search(r"SECRET|PASS|ACCESS_KEY|ROOT_USER|RABBITMQ_URL", name):
                assert ":?" in value, name


def written_by_the_script() -> dict[str, str]:
    with tempfile.TemporaryDirectory() as directory:
        place = Path(directory) / "compose"
        place.mkdir()
        shutil.copy(SECRETS_SCRIPT, place)
        subprocess.run(["sh", str(place / SECRETS_SCRIPT.name)], check=True, capture_output=True)
        made = Path(directory) / ".env"
        assert stat.S_IMODE(made.stat().st_mode) == 0o600
        assert sorted(path.name for path in Path(directory).iterdir()) == [".env", "compose"]
        lines = made.read_text(encoding="utf-8").splitlines()
    return dict(line.split("=", 1) for line in lines if not line.startswith("#"))


def test_the_script_makes_secrets_that_are_long_and_never_the_same() -> None:
    first, second = written_by_the_script(), written_by_the_script()
    for name in first.keys() - {"MINIO_ACCESS_KEY"}:
        assert re.fullmatch("[0-9a-f]{64}", first[name])
        assert first[name] != second[name]
    assert len(set(first.values())) == len(first)


def test_the_script_never_overwrites_secrets_that_are_there(tmp_path: Path) -> None:
    (tmp_path / "compose").mkdir()
    (tmp_path / ".env").write_text("SECRET_KEY=mine\n", encoding="utf-8")
    shutil.copy(SECRETS_SCRIPT, tmp_path / "compose")
    command = ["sh", str(tmp_path / "compose" / SECRETS_SCRIPT.name)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, (tmp_path / ".env").read_text(encoding="utf-8")) == (1, "SECRET_KEY=mine\n")
    assert "is there already, and stays as it is" in done.stderr


def test_every_service_has_bounds_on_memory_processes_and_logs() -> None:
    for name, service in SERVICES.items():
        assert re.fullmatch(r"[0-9]+[mg]", service["mem_limit"]), name
        assert service["pids_limit"] <= 1024, name
        assert service["logging"]["options"].keys() == {"max-size", "max-file"}, name
        assert service["security_opt"] == ["no-new-privileges:true"], name


def test_the_spool_is_on_disk_and_its_size_has_a_bound() -> None:
    ingest = SERVICES["ingest"]
    assert (ingest["volumes"], ingest["tmpfs"]) == (["spool:/tmp"], [])
    settings = environment("ingest")
    assert int(settings["MAX_REQUESTS_IN_FLIGHT"]) * int(settings["MAX_CHUNK_SIZE"]) == 4 * 2**30
    for name in ("auth", "assembler", "janitor"):
        assert all("size=" in mount for mount in SERVICES[name]["tmpfs"])


def test_every_service_says_whether_it_is_healthy() -> None:
    assert [name for name, service in SERVICES.items() if "healthcheck" not in service] == ["minio"]


@contextmanager
def answering(status: int) -> Iterator[int]:
    """The port of a server that answers /readyz with this status, and everything else with 404."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status if self.path == "/readyz" else 404)
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_port
        server.shutdown()


@pytest.mark.parametrize(("status", "code"), [(200, 0), (503, 1)])
def test_a_service_is_healthy_while_it_is_ready(status: int, code: int) -> None:
    for name in COMPONENTS:
        probe = SERVICES[name]["healthcheck"]["test"]
        assert probe == SERVICES["ingest"]["healthcheck"]["test"]
    with answering(status) as port:
        command = [sys.executable, *(word.replace("9000", str(port)) for word in probe[2:])]
        assert (probe[:2], subprocess.run(command, check=False).returncode) == (["CMD", "python"], code)


def test_the_edge_waits_until_the_services_are_ready_and_they_wait_for_the_store_themselves() -> None:
    assert SERVICES["edge"]["depends_on"] == {name: {"condition": "service_healthy"} for name in ("ingest", "auth")}
    for name in COMPONENTS:
        conditions = SERVICES[name]["depends_on"]
        assert conditions == {key: {"condition": "service_started"} for key in ("minio", "rabbitmq")}


def test_the_address_of_a_client_is_believed_from_the_edge_alone() -> None:
    edge = filled(SERVICES["edge"]["networks"]["front"]["ipv4_address"])
    (config,) = DOCUMENT["networks"]["front"]["ipam"]["config"]
    assert ipaddress.ip_address(edge) in ipaddress.ip_network(filled(config["subnet"]))
    for name in COMPONENTS:
        assert environment(name)["FORWARDED_ALLOW_IPS"] == edge


def test_store_and_broker_are_not_on_the_network_of_the_edge() -> None:
    on_it = [name for name, service in SERVICES.items() if "front" in service["networks"]]
    assert on_it == ["edge", "ingest", "auth"]
    assert list(SERVICES["edge"]["networks"]) == ["front"]


def test_prometheus_scrapes_every_service_by_the_labels_of_alerts_and_dashboard() -> None:
    scraping = yaml.safe_load((ROOT / "deploy" / "compose" / "prometheus.yaml").read_text(encoding="utf-8"))
    (job,) = scraping["scrape_configs"]
    assert {target: group["labels"] for group in job["static_configs"] for target in group["targets"]} == {
        f"{name}:9000": {"namespace": "hiper", "service": f"hiper-{name}"} for name in COMPONENTS
    }
    assert {environment(name)["METRICS_PORT"] for name in COMPONENTS} == {"9000"}
    assert scraping["rule_files"] == ["alerts.yaml"]
    mounts = SERVICES["prometheus"]["volumes"]
    assert f"./{RULES.relative_to(COMPOSE.parent)}:/etc/prometheus/alerts.yaml:ro" in mounts
