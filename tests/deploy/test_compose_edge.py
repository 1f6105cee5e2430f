"""The edge of deploy/compose.yaml, run for real: one address with TLS, as the hiper command uses it."""

import http.client
import json
import os
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from services.auth.app import build_app as build_auth
from services.ingest.app import build_app as build_ingest
from tests.deploy.chart import ROOT, require
from tests.e2e.processes import SECRETS, Process, running
from tests.ports import free_port
from tests.unit.keyrings import SECRET, plain_settings

CADDYFILE = (ROOT / "deploy" / "compose" / "Caddyfile").read_text(encoding="utf-8")
INSIDE = {"/livez", "/readyz", "/metrics"}


@dataclass
class Edge:
    port: int
    ca: Path
    services: dict[str, Process]

    @property
    def url(self) -> str:
        return f"https://localhost:{self.port}"

    def get(self, path: str, **headers: str) -> tuple[int, dict[str, Any]]:
        """Status of an answer and, if it is JSON, its document."""
        trusted = ssl.create_default_context(cafile=self.ca)
        connection = http.client.HTTPSConnection("localhost", self.port, timeout=10, context=trusted)
        try:
            connection.request("GET", path, headers=headers)
            answer = connection.getresponse()
            body = answer.read()
        finally:
            connection.close()
        return answer.status, json.loads(body) if "json" in answer.headers.get("Content-Type", "") else {}

    def hiper(self, *arguments: str, client: str, secret: str, cwd: Path) -> str:
        """What the command printed; it trusts the edge's CA alone."""
        names = {"HIPER_SERVER": self.url, "HIPER_DEVICE_ID": client, "HIPER_DEVICE_SECRET": secret}
        env = {"PATH": os.environ["PATH"], "HOME": str(cwd), "SSL_CERT_FILE": str(self.ca), **names}
        command = [str(Path(sys.executable).with_name("hiper")), *arguments]
        done = subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout


@contextmanager
def caddy(directory: Path, services: dict[str, Process]) -> Iterator[Edge]:
    """Caddy with the project's own file; only the addresses that compose would give are put in."""
    port, text = free_port(), CADDYFILE
    for name, process in services.items():
        text = text.replace(f"{name}:8000", f"127.0.0.1:{process.port}")
    (directory / "Caddyfile").write_text(text.replace("8443", str(port)).replace(":8081", f":{free_port()}"))
    env = {"PATH": os.environ["PATH"], "XDG_DATA_HOME": str(directory), "XDG_CONFIG_HOME": str(directory)}
    command = [require("caddy"), "run", "--config", str(directory / "Caddyfile"), "--adapter", "caddyfile"]
    with (directory / "caddy.log").open("wb") as log:
        proxy = subprocess.Popen(command, env=env, cwd=directory, stdout=log, stderr=log)
    edge = Edge(port, directory / "caddy/pki/authorities/local/root.crt", services)
    try:
        _wait_for(edge, proxy, directory / "caddy.log")
        yield edge
    finally:
        proxy.terminate()
        proxy.wait(20)


def _wait_for(edge: Edge, process: "subprocess.Popen[bytes]", log: Path) -> None:
    deadline = time.monotonic() + 30
    while True:
        assert process.poll() is None, log.read_text()[-3000:]
        try:
            edge.get("/")
            return
        except OSError:
            assert time.monotonic() < deadline, log.read_text()[-3000:]
            time.sleep(0.1)


@pytest.fixture(scope="module")
def edge(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Edge]:
    """Two servers that know each other's tokens and not each other's devices: a path at the wrong one fails."""
    require("caddy")
    services = {}
    for name in ("auth", "ingest"):
        place = tmp_path_factory.mktemp(name)
        env = {**SECRETS, "DOCS_ENABLED": "false", "AUDIT_LOG": str(place / "audit"), "LOG_FORMAT": "json"}
        services[name] = Process("services.embedded.serve", env, place / "log")
    with running(services), caddy(tmp_path_factory.mktemp("edge"), services) as found:
        yield found


def test_the_hiper_command_needs_no_more_than_the_one_address(edge: Edge, tmp_path: Path) -> None:
    admin = SECRETS["ADMIN_SECRET"]
    printed = edge.hiper("device", "add", "car-17", client="admin", secret=admin, cwd=tmp_path)
    secret = printed.splitlines()[-1]
    sent = os.urandom(3_000_000)
    (tmp_path / "drive.bin").write_bytes(sent)
    edge.hiper("upload", "drive.bin", client="car-17", secret=secret, cwd=tmp_path)
    edge.hiper("download", "drive.bin", "-o", "copy.bin", client="car-17", secret=secret, cwd=tmp_path)
    assert (tmp_path / "copy.bin").read_bytes() == sent


@pytest.mark.parametrize("path", [*sorted(INSIDE), "/docs", "/openapi.json", "/nothing"])
def test_strangers_reach_nothing_that_is_for_the_inside(edge: Edge, path: str) -> None:
    assert edge.get(path)[0] == 404


def test_a_path_of_each_service_is_answered_by_that_service() -> None:
    settings = plain_settings(secret_key=SECRET, admin_secret=SECRET)
    for name, app in (("auth", build_auth(settings)), ("ingest", build_ingest(settings))):
        routed = _paths(name)
        for path in app.openapi()["paths"].keys() - INSIDE:
            assert any(path == one or (one.endswith("*") and path.startswith(one[:-1])) for one in routed), path


def _paths(name: str) -> list[str]:
    """The paths that the Caddyfile hands to a service."""
    (line,) = (line for line in CADDYFILE.splitlines() if line.strip().startswith(f"@{name} path "))
    return line.split()[2:]


def test_no_client_can_say_which_address_it_has(edge: Edge) -> None:
    """The edge drops the client's own X-Forwarded-For; the services believe the edge."""
    assert edge.get("/files", **{"X-Forwarded-For": "203.0.113.9", "Authorization": "Bearer x"})[0] == 401
    lines = Path(edge.services["ingest"].env["AUDIT_LOG"]).read_text(encoding="utf-8").splitlines()
    assert {json.loads(line)["address"] for line in lines} <= {"127.0.0.1", "::1"}
    assert lines


def test_the_edge_offers_no_address_without_tls_to_clients(edge: Edge) -> None:
    connection = http.client.HTTPConnection("localhost", edge.port, timeout=10)
    connection.request("GET", "/files")
    assert connection.getresponse().status == 400
    connection.close()
