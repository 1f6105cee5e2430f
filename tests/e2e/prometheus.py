"""A real Prometheus that scrapes real processes."""

import json
import shutil
import subprocess
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from tests.ports import free_port

START_TIMEOUT = 30  # seconds


@dataclass
class Prometheus:
    url: str

    def ask(self, path: str, **query: str) -> Any:
        """The `data` of an answer of its HTTP API."""
        address = f"{self.url}/api/v1/{path}?{urllib.parse.urlencode(query)}"
        with urllib.request.urlopen(address, timeout=10) as answer:
            return json.load(answer)["data"]

    def firing(self) -> set[str]:
        """The names of the alerts that fire now."""
        alerts = self.ask("alerts")["alerts"]
        return {alert["labels"]["alertname"] for alert in alerts if alert["state"] == "firing"}


@contextmanager
def prometheus(directory: Path, targets: Mapping[str, list[int]], rules: str = "") -> Iterator[Prometheus]:
    """Scrapes the ports of each service, on this machine, every second."""
    (directory / "rules.yaml").write_text(rules or "groups: []")
    jobs = [
        {"targets": [f"127.0.0.1:{port}" for port in ports], "labels": {"namespace": "hiper", "service": service}}
        for service, ports in targets.items()
    ]
    configuration = {
        "global": {"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "1s"},
        "rule_files": ["rules.yaml"],
        "scrape_configs": [{"job_name": "hiper", "static_configs": jobs}],
    }
    (directory / "prometheus.yaml").write_text(yaml.safe_dump(configuration))
    port, binary = free_port(), shutil.which("prometheus")
    assert binary, "needs prometheus on the PATH (Debian: apt-get install prometheus)"
    command = [
        binary,
        f"--config.file={directory / 'prometheus.yaml'}",
        f"--storage.tsdb.path={directory / 'tsdb'}",
        f"--web.listen-address=127.0.0.1:{port}",
        "--log.level=warn",
    ]
    with (directory / "prometheus.log").open("wb") as log:
        server = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        number = sum(map(len, targets.values()))
        yield _ready(Prometheus(f"http://127.0.0.1:{port}"), number, directory / "prometheus.log")
    finally:
        server.terminate()
        server.wait(timeout=20)


def _ready(server: Prometheus, targets: int, log: Path) -> Prometheus:
    """Once it has tried to scrape each of so many targets."""
    deadline = time.monotonic() + START_TIMEOUT
    while True:
        with suppress(OSError):
            if server.ask("query", query=f"count(up) == {targets}")["result"]:
                return server
        assert time.monotonic() < deadline, log.read_text()
        time.sleep(0.2)
