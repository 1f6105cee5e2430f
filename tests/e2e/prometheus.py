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
    targets: Path  # the file that it finds its targets in, and watches

    def ask(self, path: str, **query: str) -> Any:
        """The `data` of an answer of its HTTP API."""
        address = f"{self.url}/api/v1/{path}?{urllib.parse.urlencode(query)}"
        with urllib.request.urlopen(address, timeout=10) as answer:
            return json.load(answer)["data"]

    def firing(self) -> set[str]:
        """The alerts that fire now: each by its name, and by its name and the service or the need that it is about."""
        firing = [alert["labels"] for alert in self.ask("alerts")["alerts"] if alert["state"] == "firing"]
        about = {
            f"{labels['alertname']} {labels[key]}" for labels in firing for key in ("service", "need") & labels.keys()
        }
        return about | {labels["alertname"] for labels in firing}

    def forget_targets(self) -> None:
        """As if all processes were gone from where Prometheus finds them: it has no series of theirs any more."""
        empty = self.targets.with_suffix(".new")
        empty.write_text("[]")
        empty.rename(self.targets)


@contextmanager
def prometheus(directory: Path, targets: Mapping[str, list[int]], rules: str = "") -> Iterator[Prometheus]:
    """Scrapes the ports of each service, on this machine, every second."""
    (directory / "rules.yaml").write_text(rules or "groups: []")
    found = [
        {"targets": [f"127.0.0.1:{port}" for port in ports], "labels": {"namespace": "hiper", "service": service}}
        for service, ports in targets.items()
    ]
    (directory / "targets.json").write_text(json.dumps(found))
    configuration = {
        "global": {"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "1s"},
        "rule_files": ["rules.yaml"],
        "scrape_configs": [{"job_name": "hiper", "file_sd_configs": [{"files": ["targets.json"]}]}],
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
        yield _ready(
            Prometheus(f"http://127.0.0.1:{port}", directory / "targets.json"), number, directory / "prometheus.log"
        )
    finally:
        server.terminate()
        server.wait(timeout=20)


def _ready(server: Prometheus, targets: int, log: Path) -> Prometheus:
    """Once it has tried to scrape each of so many targets, and no alert says any more that there are none."""
    deadline = time.monotonic() + START_TIMEOUT
    while True:
        with suppress(OSError):
            if server.ask("query", query=f"count(up) == {targets}")["result"] and not server.firing():
                return server
        assert time.monotonic() < deadline, log.read_text()
        time.sleep(0.2)
